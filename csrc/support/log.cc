#include "support/log.h"

#include <memory>
#include <mutex>
#include <utility>

namespace skywork_rt {
namespace {

struct Receiver {
  LogCallback callback;
  LogLevel least = LogLevel::kWarning;
};

// Neither object is ever destroyed: a thread of a library of ours may log while the process exits.
std::mutex& ReceiverMutex() {
  static auto* mutex = new std::mutex;
  return *mutex;
}

std::shared_ptr<const Receiver>& CurrentReceiver() {
  static auto* receiver = new std::shared_ptr<const Receiver>;
  return *receiver;
}

}  // namespace

void SetLogCallback(LogCallback callback, LogLevel least) {
  auto receiver = callback ? std::make_shared<const Receiver>(Receiver{std::move(callback), least}) : nullptr;
  const std::lock_guard<std::mutex> lock(ReceiverMutex());
  CurrentReceiver() = std::move(receiver);
}

void Log(LogLevel level, std::string_view message) noexcept {
  std::shared_ptr<const Receiver> receiver;
  {
    const std::lock_guard<std::mutex> lock(ReceiverMutex());
    receiver = CurrentReceiver();
  }
  if (receiver == nullptr || level < receiver->least) return;
  try {
    receiver->callback(level, message);
  } catch (...) {  // a logger's failure must not become ours
  }
}

}  // namespace skywork_rt
