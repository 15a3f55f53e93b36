#include "support/control_groups.h"

#include <fstream>
#include <sstream>
#include <system_error>

namespace skywork_rt {
namespace {

namespace fs = std::filesystem;

bool IsFolder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

bool Names(const std::string& controllers, const std::string& controller) {
  std::istringstream names(controllers);
  for (std::string name; std::getline(names, name, ',');) {
    if (name == controller) return true;
  }
  return false;
}

/// The parts of a group's path. What lies above the root of a namespace is written as ".." and cannot be seen.
std::vector<std::string> PartsOf(const std::string& path) {
  std::vector<std::string> parts;
  std::istringstream names(path);
  for (std::string name; std::getline(names, name, '/');) {
    if (!name.empty() && name != "..") parts.push_back(name);
  }
  return parts;
}

/// The group itself and those above it, the root last. A mount that shows only a part of the tree begins somewhere in
/// the path: the longest end of it that is there is what we can see.
void AddLevels(ControlGroupVersion version, const fs::path& root, const std::string& path,
               std::vector<ControlGroup>* groups) {
  const std::vector<std::string> parts = PartsOf(path);
  fs::path own = root;
  for (std::size_t first = 0; first < parts.size(); ++first) {
    fs::path candidate = root;
    for (std::size_t i = first; i < parts.size(); ++i) candidate /= parts[i];
    if (!IsFolder(candidate)) continue;
    own = candidate;
    break;
  }
  for (fs::path level = own; level != root; level = level.parent_path()) groups->push_back({version, level});
  groups->push_back({version, root});
}

/// The root of version 2: the mount itself, or a folder of it where version 1 has the others.
fs::path UnifiedRoot(const fs::path& mount) {
  const fs::path hybrid = mount / "unified";
  return IsFolder(hybrid) ? hybrid : mount;
}

/// The root of a hierarchy of version 1, a folder named like all its controllers or, by a link, like this one.
fs::path LegacyRoot(const fs::path& mount, const std::string& controllers, const std::string& controller) {
  const fs::path together = mount / controllers;
  return IsFolder(together) ? together : mount / controller;
}

}  // namespace

std::vector<ControlGroup> ControlGroupsOf(const std::string& controller, const HostFolders& folders) {
  std::vector<ControlGroup> groups;
  std::ifstream lines(folders.proc / "self" / "cgroup");
  for (std::string line; std::getline(lines, line);) {  // hierarchy:controllers:path
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 1);
    if (controllers.empty()) {
      AddLevels(ControlGroupVersion::kV2, UnifiedRoot(folders.control_groups), path, &groups);
    } else if (Names(controllers, controller)) {
      AddLevels(ControlGroupVersion::kV1, LegacyRoot(folders.control_groups, controllers, controller), path, &groups);
    }
  }
  return groups;
}

std::optional<long long> ReadGroupNumber(const fs::path& file) {
  std::ifstream in(file);
  long long number = 0;
  if (in >> number) return number;
  return std::nullopt;
}

std::optional<long long> ReadGroupField(const fs::path& file, const std::string& name) {
  std::ifstream in(file);
  long long number = 0;
  for (std::string found; in >> found >> number;) {
    if (found == name) return number;
  }
  return std::nullopt;
}

}  // namespace skywork_rt
