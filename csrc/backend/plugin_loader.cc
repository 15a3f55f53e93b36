#include "backend/plugin_loader.h"

#include <dlfcn.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <string_view>
#include <system_error>

#include "skywork_rt/error.h"
#include "support/environment.h"
#include "support/format.h"

namespace skywork_rt {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void Unavailable(const std::string& message) {
  throw Error(ErrorCode::kBackendUnavailable, message);
}

fs::path FolderOfThisLibrary() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<const void*>(&PluginFolders), &info) == 0 || info.dli_fname == nullptr) return {};
  std::error_code error;
  const fs::path resolved = fs::canonical(info.dli_fname, error);
  return error ? fs::path{} : resolved.parent_path();
}

std::string JoinFolders(const std::vector<fs::path>& folders) {
  std::string joined;
  for (const fs::path& folder : folders) joined += (joined.empty() ? "" : ", ") + folder.string();
  return joined;
}

fs::path FindPlugin(const std::string& name) {
  const std::string file_name = "skywork_rt_" + name + ".so";
  const std::vector<fs::path> folders = PluginFolders();
  std::error_code error;
  for (const fs::path& folder : folders) {
    if (fs::is_regular_file(folder / file_name, error)) return folder / file_name;
  }
  Unavailable(StrCat("The backend \"", name, "\" is not part of this installation: no ", file_name, " in ",
                     JoinFolders(folders), ". Install skywork_rt with it, or set SKYWORK_RT_BACKENDS to its folder."));
}

}  // namespace

std::vector<fs::path> PluginFolders() {
  std::vector<fs::path> folders;
  const fs::path own = FolderOfThisLibrary();
  if (!own.empty()) folders.push_back(own / "backends");
  const std::string list = environment::kBackends.Value().value_or("");
  for (std::size_t begin = 0; begin < list.size();) {
    const std::size_t end = std::min(list.find(':', begin), list.size());
    if (end > begin) folders.emplace_back(list.substr(begin, end - begin));
    begin = end + 1;
  }
  return folders;
}

std::vector<std::string> InstalledPlugins() {
  constexpr std::string_view kBefore = "skywork_rt_";
  constexpr std::string_view kAfter = ".so";
  std::vector<std::string> names;
  for (const fs::path& folder : PluginFolders()) {
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(folder, error)) {
      const std::string file = entry.path().filename().string();
      if (file.size() <= kBefore.size() + kAfter.size() || file.compare(0, kBefore.size(), kBefore) != 0) continue;
      if (file.compare(file.size() - kAfter.size(), kAfter.size(), kAfter) != 0) continue;
      const std::string name = file.substr(kBefore.size(), file.size() - kBefore.size() - kAfter.size());
      const bool plugin = name.find("_session") == std::string::npos;
      if (plugin && std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

const PluginEntry& LoadPluginFile(const fs::path& file) {
  void* library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) Unavailable(StrCat(file.string(), " does not load: ", dlerror()));
  using EntryFunction = const PluginEntry* (*)();
  const auto function = reinterpret_cast<EntryFunction>(dlsym(library, kPluginSymbol));
  if (function == nullptr) Unavailable(StrCat(file.string(), " is no skywork_rt backend: it has no ", kPluginSymbol));
  const PluginEntry* entry = function();
  if (entry == nullptr || entry->abi != kPluginAbi) {
    Unavailable(StrCat(file.string(), " was built for plugin ABI ", entry == nullptr ? 0 : entry->abi,
                       ", but this libskywork_rt has ", kPluginAbi, ". Install both from one build."));
  }
  return *entry;
}

const PluginEntry& LoadPlugin(const std::string& name) {
  // Never destroyed, like the plugins themselves: a backend may still be in use while statics go.
  static auto* mutex = new std::mutex;
  static auto* loaded = new std::map<std::string, const PluginEntry*>;
  const std::lock_guard<std::mutex> lock(*mutex);
  const auto found = loaded->find(name);
  if (found != loaded->end()) return *found->second;
  const PluginEntry& entry = LoadPluginFile(FindPlugin(name));
  loaded->emplace(name, &entry);
  return entry;
}

}  // namespace skywork_rt
