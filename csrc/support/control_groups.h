#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "skywork_rt/export.h"

namespace skywork_rt {

/// Where the kernel tells about the machine and about control groups. Others than its own are for tests.
struct HostFolders {
  std::filesystem::path proc = "/proc";
  std::filesystem::path control_groups = "/sys/fs/cgroup";
};

/// Which of the kernel's two interfaces a group's files follow.
enum class ControlGroupVersion { kV1, kV2 };

/// One level of the groups that this process is in.
struct ControlGroup {
  ControlGroupVersion version;
  std::filesystem::path folder;
};

/// The groups that may bound this process by `controller` ("memory" or "cpu"): its own and every one above it, of both
/// versions, as far as they can be seen. A group bounds all groups below it, so all of them count. Where a container
/// shows only a part of the tree, as its root, the path of /proc/self/cgroup is read from there.
SKYWORK_RT_API std::vector<ControlGroup> ControlGroupsOf(const std::string& controller, const HostFolders& folders);

/// The whole number that a file of a group holds. Nothing for a file that is missing, cannot be read, or holds a word,
/// such as "max", which is no bound.
SKYWORK_RT_API std::optional<long long> ReadGroupNumber(const std::filesystem::path& file);

/// The number behind `name` in a file of lines "name number", such as memory.stat. Nothing where there is none.
SKYWORK_RT_API std::optional<long long> ReadGroupField(const std::filesystem::path& file, const std::string& name);

}  // namespace skywork_rt
