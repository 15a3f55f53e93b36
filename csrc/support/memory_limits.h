#pragma once

#include <cstddef>
#include <optional>

#include "skywork_rt/export.h"
#include "support/control_groups.h"

namespace skywork_rt {

/// Memory in bytes, as this process may use it.
struct MemoryLimits {
  std::size_t total = 0;             // of the machine
  std::optional<std::size_t> limit;  // the least of the bounds of our control groups; nothing: unbounded
  std::size_t available = 0;         // what can still be taken without swapping, within those bounds
};

/// Reads the kernel's estimate (MemAvailable) and every control group that this process is in, of either version, and
/// takes the least. Pages of files (inactive_file and active_file) count as available, as in the kernel's estimate: it
/// drops them, and weights that were mapped before are among them. What cannot be read bounds nothing; without
/// /proc/meminfo the C library is asked. Never throws.
SKYWORK_RT_API MemoryLimits ReadMemoryLimits(const HostFolders& folders = {}) noexcept;

}  // namespace skywork_rt
