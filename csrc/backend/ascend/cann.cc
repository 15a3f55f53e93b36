#include "backend/ascend/cann.h"

#include <dlfcn.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <system_error>
#include <vector>

#include "skywork_rt/error.h"
#include "support/environment.h"
#include "support/format.h"

namespace skywork_rt::ascend {
namespace {

namespace fs = std::filesystem;

/// What Lite's provider ge is linked against: the runtime of the card, and the graph engine.
constexpr const char* kLibraries[] = {"libascendcl.so", "libge_runner.so"};
constexpr const char* kUsualHome = "/usr/local/Ascend/ascend-toolkit/latest";
constexpr const char* kDriver = "/dev/davinci_manager";

std::vector<std::string> LoaderFolders() {
  const std::string list = environment::kLibraryPath.Value().value_or("");
  std::vector<std::string> folders;
  for (std::size_t begin = 0; begin < list.size();) {
    const std::size_t end = std::min(list.find(':', begin), list.size());
    if (end > begin) folders.push_back(list.substr(begin, end - begin));
    begin = end + 1;
  }
  return folders;
}

std::optional<fs::path> FindIn(const std::vector<std::string>& folders, const std::string& library) {
  std::error_code error;
  for (const std::string& folder : folders) {
    if (fs::exists(fs::path(folder) / library, error)) return fs::path(folder);
  }
  return std::nullopt;
}

/// Where toolkits keep their libraries.
std::vector<std::string> ToolkitFolders(const std::string& home) {
  std::vector<std::string> folders;
  for (const char* folder : {"lib64", "runtime/lib64", "compiler/lib64", "fwkacllib/lib64"}) {
    folders.push_back((fs::path(home) / folder).string());
  }
  return folders;
}

std::string Said(const EnvironmentVariable& variable) {
  const auto value = variable.Value();
  return StrCat(variable.name, value ? StrCat("=", *value) : std::string(" is not set"));
}

[[noreturn]] void Refuse(const std::string& complaint) {
  throw Error(ErrorCode::kBackendUnavailable, StrCat("The device \"ascend\" cannot be used: ", complaint));
}

/// All that is known of libraries which the loader does not find.
[[noreturn]] void RefuseMissing(const std::vector<std::string>& missing) {
  std::string names;
  for (const std::string& name : missing) names += (names.empty() ? "" : " and ") + name;
  const std::string home = environment::kAscendHome.Value().value_or(kUsualHome);
  const std::optional<fs::path> unused = FindIn(ToolkitFolders(home), missing[0]);
  const char* verb = missing.size() > 1 ? "are" : "is";
  const std::string where = StrCat(Said(environment::kLibraryPath), ", ", Said(environment::kAscendHome));
  if (unused) {
    Refuse(StrCat(names, " of CANN ", verb, " not where the loader looks (", where, "), but in ", unused->string(),
                  ". Run 'source ", home,
                  "/../set_env.sh' (or bin/setenv.bash of the toolkit) before this program: "
                  "LD_LIBRARY_PATH must be set when it starts."));
  }
  Refuse(StrCat(names, " of CANN ", verb, " missing (", where, ", and ", kUsualHome,
                " has none). Install the Ascend driver and "
                "the CANN toolkit on a machine with a card, run 'source set_env.sh' of the toolkit, which sets both "
                "variables, and see 'skywork-rt doctor'. On this machine use backend=\"native\" or \"lite\"."));
}

}  // namespace

void RequireCann() {
  std::vector<std::string> missing;
  std::string broken;
  for (const char* library : kLibraries) {
    if (dlopen(library, RTLD_LAZY | RTLD_LOCAL) != nullptr) continue;  // never closed: Lite loads it next
    const char* said = dlerror();
    if (!FindIn(LoaderFolders(), library)) {
      missing.emplace_back(library);
    } else if (broken.empty()) {
      broken = StrCat(library, " does not load: ", said == nullptr ? "no reason given" : said);
    }
  }
  if (!missing.empty()) RefuseMissing(missing);
  if (!broken.empty()) {
    Refuse(StrCat(broken, ". Driver and CANN must be of one release; ", Said(environment::kLibraryPath)));
  }
  std::error_code error;
  if (!fs::exists(kDriver, error)) {
    Refuse(StrCat(kDriver,
                  " does not exist: the Ascend driver is not installed, or this container was started without "
                  "its devices. 'npu-smi info' must list the card."));
  }
}

}  // namespace skywork_rt::ascend
