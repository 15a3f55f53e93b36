#include "backend/lite_runtime/lite_library.h"

#include <dlfcn.h>

#include <filesystem>
#include <string_view>
#include <vector>

#include "backend/lite_runtime/lite_locate.h"
#include "backend/lite_runtime/lite_log.h"
#include "backend/lite_runtime/session_entry.h"
#include "skywork_rt/error.h"
#include "support/float_environment.h"
#include "support/format.h"
#include "support/log.h"

namespace skywork_rt::lite_runtime {
namespace {

namespace fs = std::filesystem;

// Handles of Lite's libraries. Never closed, hence never destroyed.
std::vector<void*>& Handles() {
  static auto* handles = new std::vector<void*>;
  return *handles;
}

LogHooks& Hooks() {
  static auto* hooks = new LogHooks;
  return *hooks;
}

void* Lookup(const char* name) {
  for (void* handle : Handles()) {
    if (void* address = dlsym(handle, name)) return address;
  }
  return nullptr;
}

/// The library's name in "libx.so: cannot open shared object file: No such file or directory"; empty for other texts.
std::string MissingLibrary(const std::string& message) {
  const auto colon = message.find(": cannot open shared object file");
  return colon == std::string::npos ? std::string() : message.substr(0, colon);
}

/// Opens `path`, and before it whatever it misses and `folders` have: Lite's libraries carry no run path of their own.
void OpenLibrary(const std::string& path, const std::vector<std::string>& folders, int depth = 0) {
  const FloatEnvironmentKept kept;  // Lite's libraries flush the smallest numbers to zero when they are loaded
  constexpr int kMostNested = 64;
  for (std::string previous;;) {
    if (void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) {
      Handles().push_back(handle);
      return;
    }
    const char* said = dlerror();
    const std::string message = said == nullptr ? "no reason given" : said;
    const std::string missing = MissingLibrary(message);
    std::string found;
    for (const std::string& folder : folders) {
      const fs::path candidate = fs::path(folder) / missing;
      if (!missing.empty() && candidate != path && fs::exists(candidate)) {
        found = candidate;
        break;
      }
    }
    if (found.empty() || missing == previous || depth > kMostNested) {
      throw Error(ErrorCode::kBackendUnavailable, StrCat("MindSpore Lite does not load: ", message));
    }
    OpenLibrary(found, folders, depth + 1);
    previous = missing;
  }
}

void OpenIfPossible(const std::string& path, const std::vector<std::string>& folders) {
  try {
    OpenLibrary(path, folders);
  } catch (const Error& error) {
    Log(LogLevel::kDebug, error.what());
  }
}

/// The session modules lie beside the plugin that this code is part of.
fs::path FolderOfThisModule() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<const void*>(&FolderOfThisModule), &info) == 0 || info.dli_fname == nullptr) {
    throw Error(ErrorCode::kInternal, "the plugin cannot find its own folder");
  }
  return fs::absolute(info.dli_fname).parent_path();
}

const SessionEntry* OpenSessionModule(const fs::path& path, const LiteLocation& location) {
  const FloatEnvironmentKept kept;
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* said = dlerror();
    throw Error(ErrorCode::kBackendUnavailable,
                StrCat("MindSpore Lite in ", location.home,
                       " does not fit this build: ", said == nullptr ? "no reason given" : said,
                       ". Build skywork_rt from source with LITE_HOME set, or unset LITE_HOME to use the Lite that ",
                       "'skywork-rt lite install' prepares."));
  }
  using EntryFunction = const SessionEntry* (*)();
  const auto function = reinterpret_cast<EntryFunction>(dlsym(handle, kSessionSymbol));
  const SessionEntry* entry = function == nullptr ? nullptr : function();
  if (entry == nullptr || entry->abi != kSessionAbi) {
    throw Error(ErrorCode::kBackendUnavailable,
                StrCat(path.string(), " is of another build of skywork_rt (interface ",
                       entry == nullptr ? 0 : entry->abi, ", wanted ", kSessionAbi, "). Install skywork_rt again."));
  }
  return entry;
}

}  // namespace

const LiteLibrary& LiteLibrary::Get() {
  static const auto* library = new LiteLibrary;  // a throwing constructor leaves it to the next call
  return *library;
}

LiteLibrary::LiteLibrary() {
  const LiteLocation location = LocateLite();
  for (const std::string& path : location.libraries) OpenLibrary(path, location.folders);
  for (const std::string& path : location.optional) OpenIfPossible(path, location.folders);
  Hooks() = RouteLiteLog(&Lookup);
  entry_ = OpenSessionModule(FolderOfThisModule() / location.session_module, location);
  description_ = StrCat("MindSpore Lite in ", location.home, " (", location.origin, "), used through the headers of ",
                        entry_->built_for);
  Log(LogLevel::kInfo, description_);
}

std::unique_ptr<GraphSession> LiteLibrary::Open(const std::string& path, int threads,
                                                const std::vector<int>& affinity) const {
  return entry_->open(path, threads, affinity, Hooks());
}

std::vector<std::unique_ptr<GraphSession>> LiteLibrary::OpenOnAscend(const std::vector<std::string>& paths,
                                                                     const AscendPlace& place) const {
  return entry_->open_on_ascend(paths, place, Hooks());
}

}  // namespace skywork_rt::lite_runtime
