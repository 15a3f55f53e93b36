#include "backend/lite_runtime/lite_locate.h"

#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "skywork_rt/error.h"
#include "support/environment.h"
#include "support/format.h"

namespace skywork_rt::lite_runtime {
namespace {

namespace fs = std::filesystem;

// The release that this build's headers are from; Python's release.py is where it is decided, CMake passes it on.
constexpr const char* kRelease = SKYWORK_RT_LITE_RELEASE;
constexpr const char* kLoadOrder =
    "load_order.txt";  // written last but the manifest, so a whole list is a whole folder

fs::path HomeDirectory() {
  if (const auto home = environment::kHome.Value()) return *home;
  const passwd* entry = getpwuid(getuid());
  if (entry == nullptr) {
    throw Error(ErrorCode::kBackendUnavailable,
                "MindSpore Lite's folder cannot be guessed: HOME is not set. Set SKYWORK_RT_CACHE or LITE_HOME.");
  }
  return entry->pw_dir;
}

fs::path CacheRoot() {
  const auto configured = environment::kCache.Value();
  return configured.has_value() ? fs::absolute(*configured) : HomeDirectory() / ".cache" / "skywork_rt";
}

LiteLocation Prepared() {
  if (*kRelease == '\0') {
    throw Error(
        ErrorCode::kBackendUnavailable,
        "This build of skywork_rt was linked against the Lite of its builder's LITE_HOME: set LITE_HOME to it.");
  }
  const fs::path home = CacheRoot() / "lite" / kRelease;
  const fs::path folder = home / "lib";
  LiteLocation location{home, {}, {}, {folder}, "skywork_rt_lite_session.so", "cache"};
  std::ifstream order(folder / kLoadOrder);
  for (std::string name; std::getline(order, name);) {
    if (!name.empty()) location.libraries.push_back(folder / name);
  }
  if (location.libraries.empty()) {
    throw Error(ErrorCode::kBackendUnavailable,
                StrCat("MindSpore Lite is not prepared in ", home.string(), ". Run 'skywork-rt lite install', or set ",
                       "LITE_HOME to an unpacked MindSpore Lite 2.2 or later."));
  }
  return location;
}

/// Folders of an official tree that hold shared libraries, the runtime's own first.
std::vector<std::string> LibraryFolders(const fs::path& home) {
  std::vector<std::string> folders{home / "runtime" / "lib", home / "tools" / "converter" / "lib"};
  std::error_code ignored;
  for (const auto& entry : fs::recursive_directory_iterator(home / "runtime" / "third_party", ignored)) {
    const std::string folder = entry.path().parent_path();
    const bool library = entry.path().filename().string().find(".so") != std::string::npos;
    if (library && std::find(folders.begin(), folders.end(), folder) == folders.end()) folders.push_back(folder);
  }
  return folders;
}

LiteLocation Official(const fs::path& home) {
  const fs::path library = home / "runtime" / "lib" / "libmindspore-lite.so";
  if (!fs::exists(library)) {
    throw Error(
        ErrorCode::kBackendUnavailable,
        StrCat("LITE_HOME=", home.string(), ": ", library.string(), " does not exist. LITE_HOME must be the ",
               "directory of an unpacked mindspore-lite-<version>-linux-<machine>.tar.gz (2.2 or later, the one ",
               "with runtime/ and tools/); unset it to use the Lite that 'skywork-rt lite install' prepares."));
  }
  // Lite opens these itself and resets its log then; opened beforehand, they do not.
  const std::vector<std::string> optional{library.parent_path() / "libruntime_convert_plugin.so",
                                          library.parent_path() / "libmsplugin-ge-litert.so"};
  return {home, {library}, optional, LibraryFolders(home), "skywork_rt_lite_session_official.so", "LITE_HOME"};
}

}  // namespace

LiteLocation LocateLite() {
  const auto official = environment::kLiteHome.Value();
  return official.has_value() ? Official(fs::absolute(*official)) : Prepared();
}

}  // namespace skywork_rt::lite_runtime
