#pragma once

#include <cstdlib>
#include <optional>
#include <string>

namespace skywork_rt {

/// An environment variable that the library reads, and what it does; empty counts as not set.
struct EnvironmentVariable {
  const char* name;
  const char* text;

  std::optional<std::string> Value() const {
    const char* value = std::getenv(name);
    if (value == nullptr || *value == '\0') return std::nullopt;
    return value;
  }
};

/// All of them: nothing else in the core or its backends calls getenv.
namespace environment {

constexpr EnvironmentVariable kInstructionSet{
    "SKYWORK_RT_NATIVE_ISA",
    "Instruction set that the core computes with: scalar, avx2, avx512 or avx512vnni. Unset: the best of the "
    "processor. For comparing sets, and for equal bits on machines of different kinds."};
constexpr EnvironmentVariable kBackends{
    "SKYWORK_RT_BACKENDS",
    "Folders, separated by colons, in which backends (skywork_rt_NAME.so) are looked for after the folder `backends` "
    "beside libskywork_rt.so."};
constexpr EnvironmentVariable kLiteHome{
    "LITE_HOME", "Folder of an unpacked MindSpore Lite 2.2 or later to use instead of the prepared one."};
constexpr EnvironmentVariable kCache{"SKYWORK_RT_CACHE",
                                     "Folder of what is downloaded and prepared. Unset: ~/.cache/skywork_rt."};
constexpr EnvironmentVariable kHome{"HOME", "The user's folder, in which ~/.cache/skywork_rt lies."};

constexpr EnvironmentVariable kAscendHome{"ASCEND_HOME_PATH",
                                          "Folder of the Ascend toolkit (CANN), which its set_env.sh sets; the backend "
                                          "ascend looks for CANN's libraries below "
                                          "it."};
constexpr EnvironmentVariable kLibraryPath{
    "LD_LIBRARY_PATH",
    "Where the system's loader looks for libraries first; the backend ascend needs CANN's and the driver's there."};

constexpr const EnvironmentVariable* kAll[] = {&kInstructionSet, &kBackends,   &kLiteHome,   &kCache,
                                               &kHome,           &kAscendHome, &kLibraryPath};

}  // namespace environment
}  // namespace skywork_rt
