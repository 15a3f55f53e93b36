#include "backend/lite_runtime/lite_log.h"

#include <ctime>
#include <mutex>
#include <string>
#include <string_view>

#include "support/log.h"

namespace skywork_rt::lite_runtime {
namespace {

/// The interface of glog's LogSink (google/glog, logging.h): Lite's copy of the library calls its virtual members in
/// this order. Its header is not part of the wheel.
class GlogSink {
 public:
  virtual ~GlogSink() = default;
  virtual void Send(int severity, const char* full_filename, const char* base_filename, int line, const std::tm* time,
                    const char* message, std::size_t size) = 0;
  virtual void WaitTillSent() = 0;
};

constexpr int kGlogSeverities = 4;  // info, warning, error, fatal
constexpr int kGlogError = 2;
constexpr std::size_t kKeptErrorBytes = 4096;

/// "[ERROR] ME(pid,thread,program):time [file:line] Function] text" -> "text".
std::string_view TextOf(std::string_view message) {
  const auto file = message.find(" [");
  const auto function = file == std::string_view::npos ? file : message.find("] ", file);
  const auto text = function == std::string_view::npos ? function : message.find("] ", function + 2);
  std::string_view result = text == std::string_view::npos ? message : message.substr(text + 2);
  while (!result.empty() && (result.back() == '\n' || result.back() == ' ')) result.remove_suffix(1);
  return result;
}

struct Glog {
  bool* log_to_stderr = nullptr;
  int* stderr_threshold = nullptr;
  int* least_severity = nullptr;
  void (*set_destination)(int severity, const char* base_filename) = nullptr;
};

// Never destroyed: threads of Lite may log while the process exits.
Glog& TheGlog() {
  static auto* glog = new Glog;
  return *glog;
}

void ClearStderrFlags() {
  if (TheGlog().stderr_threshold != nullptr) *TheGlog().stderr_threshold = kGlogSeverities;
  if (TheGlog().log_to_stderr != nullptr) *TheGlog().log_to_stderr = false;
}

/// Lite turns its log to stderr on whenever it makes a model or a session.
void LeaveStderr() {
  if (TheGlog().set_destination == nullptr) return;  // what is not on stderr would go to files
  for (int severity = 0; severity < kGlogSeverities; ++severity) TheGlog().set_destination(severity, "");
  ClearStderrFlags();
}

class Router final : public GlogSink {
 public:
  void Send(int severity, const char*, const char*, int, const std::tm*, const char* message,
            std::size_t size) override {
    if (TheGlog().set_destination != nullptr) ClearStderrFlags();  // not more: glog holds its lock
    const std::string_view text = TextOf({message, size});
    const bool error = severity >= kGlogError;
    if (error) Keep(text);
    // What Lite calls an error often is none for its caller (a plugin that is not there): the Status decides.
    Log(error ? LogLevel::kWarning : LogLevel::kDebug, "MindSpore Lite: " + std::string(text));
  }

  void WaitTillSent() override {}

  std::string TakeErrors() {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::string taken;
    taken.swap(errors_);
    return taken;
  }

 private:
  void Keep(std::string_view text) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (errors_.size() + text.size() > kKeptErrorBytes) return;  // the first ones are nearest to the cause
    errors_.append(errors_.empty() ? "" : "\n").append(text);
  }

  std::mutex mutex_;
  std::string errors_;
};

// Never destroyed, like TheGlog().
Router& TheRouter() {
  static auto* router = new Router;
  return *router;
}

void BeginLoad() {
  if (TheGlog().least_severity != nullptr) *TheGlog().least_severity = kGlogError;
  LeaveStderr();
}

void EndLoad() {
  if (TheGlog().least_severity != nullptr) *TheGlog().least_severity = 0;
  LeaveStderr();
}

std::string TakeErrors() {
  return TheRouter().TakeErrors();
}

}  // namespace

LogHooks RouteLiteLog(void* (*lookup)(const char* name)) {
  using AddSink = void (*)(GlogSink*);
  using SetDestination = void (*)(int, const char*);
  Glog& glog = TheGlog();
  glog.log_to_stderr = static_cast<bool*>(lookup("_ZN3fLB17FLAGS_logtostderrE"));
  glog.stderr_threshold = static_cast<int*>(lookup("_ZN3fLI21FLAGS_stderrthresholdE"));
  glog.least_severity = static_cast<int*>(lookup("_ZN3fLI17FLAGS_minloglevelE"));
  glog.set_destination = reinterpret_cast<SetDestination>(lookup("_ZN17mindspore_private17SetLogDestinationEiPKc"));
  const auto add_sink = reinterpret_cast<AddSink>(lookup("_ZN17mindspore_private10AddLogSinkEPNS_7LogSinkE"));
  static const bool added = add_sink != nullptr && (add_sink(&TheRouter()), true);  // once, however often Lite is tried
  static_cast<void>(added);
  LeaveStderr();
  return {&BeginLoad, &EndLoad, &TakeErrors};
}

}  // namespace skywork_rt::lite_runtime
