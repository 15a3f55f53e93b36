#include "support/memory_limits.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>

namespace skywork_rt {
namespace {

namespace fs = std::filesystem;

/// Files of one version's memory controller.
struct MemoryFiles {
  const char* bounds[2];  // any may be missing
  const char* taken;
  const char* pages_of_files[2];  // fields of memory.stat, which count the group and those below it
};

MemoryFiles FilesOf(ControlGroupVersion version) {
  if (version == ControlGroupVersion::kV2)
    return {{"memory.max", "memory.high"}, "memory.current", {"inactive_file", "active_file"}};
  // The soft limit is none: the kernel only prefers to reclaim from groups above it.
  return {{"memory.limit_in_bytes", nullptr}, "memory.usage_in_bytes", {"total_inactive_file", "total_active_file"}};
}

/// The bound of one group alone, in bytes. Version 1 writes "none" as the largest multiple of a page.
std::optional<std::size_t> BoundOf(const ControlGroup& group, const MemoryFiles& files) {
  constexpr long long kNone = 1LL << 60;
  std::optional<std::size_t> least;
  for (const char* name : files.bounds) {
    if (name == nullptr) continue;
    const std::optional<long long> bound = ReadGroupNumber(group.folder / name);
    if (!bound.has_value() || *bound < 0 || *bound >= kNone) continue;
    least = std::min(least.value_or(static_cast<std::size_t>(*bound)), static_cast<std::size_t>(*bound));
  }
  return least;
}

std::size_t Bytes(std::optional<long long> number) {
  return number.has_value() && *number > 0 ? static_cast<std::size_t>(*number) : 0;
}

void Apply(const ControlGroup& group, MemoryLimits* limits) {
  const MemoryFiles files = FilesOf(group.version);
  const std::optional<std::size_t> bound = BoundOf(group, files);
  if (!bound.has_value()) return;
  const std::size_t taken = Bytes(ReadGroupNumber(group.folder / files.taken));
  std::size_t held = taken;
  for (const char* field : files.pages_of_files) {
    held -= std::min(held, Bytes(ReadGroupField(group.folder / "memory.stat", field)));
  }
  limits->limit = std::min(limits->limit.value_or(*bound), *bound);
  limits->available = std::min(limits->available, *bound > held ? *bound - held : 0);
}

/// A field of /proc/meminfo in bytes; 0 where the system does not say.
std::size_t MemInfo(const fs::path& proc, const char* name) {
  std::ifstream lines(proc / "meminfo");
  const std::string field = std::string(name) + ":";
  for (std::string line; std::getline(lines, line);) {
    if (line.compare(0, field.size(), field) == 0) return std::stoull(line.substr(field.size())) << 10;
  }
  return 0;
}

std::size_t SystemPages(int name) {
  return static_cast<std::size_t>(std::max(0L, sysconf(name))) *
         static_cast<std::size_t>(std::max(0L, sysconf(_SC_PAGESIZE)));
}

/// `read()`, or `otherwise` when memory or a file's content is not what it should be.
template <typename T, typename Read>
T Attempt(Read&& read, T otherwise) noexcept {
  try {
    return read();
  } catch (...) {
    return otherwise;
  }
}

}  // namespace

MemoryLimits ReadMemoryLimits(const HostFolders& folders) noexcept {
  MemoryLimits limits;
  limits.total = Attempt([&] { return MemInfo(folders.proc, "MemTotal"); }, std::size_t{0});
  limits.available = Attempt([&] { return MemInfo(folders.proc, "MemAvailable"); }, std::size_t{0});
  if (limits.total == 0) limits.total = SystemPages(_SC_PHYS_PAGES);
  if (limits.available == 0) limits.available = SystemPages(_SC_AVPHYS_PAGES);
  return Attempt(
      [&] {
        MemoryLimits bounded = limits;
        for (const ControlGroup& group : ControlGroupsOf("memory", folders)) Apply(group, &bounded);
        return bounded;
      },
      limits);
}

}  // namespace skywork_rt
