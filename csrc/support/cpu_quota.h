#pragma once

#include <optional>

#include "skywork_rt/export.h"
#include "support/control_groups.h"

namespace skywork_rt {

/// Processors' worth of time that the control groups of this process allow, such as 1.5: the least of all levels, of
/// cpu.max (version 2) and cpu.cfs_quota_us (version 1). Nothing where there is no bound. Never throws.
SKYWORK_RT_API std::optional<double> ReadCpuQuota(const HostFolders& folders = {}) noexcept;

/// `threads`, but never more than `quota` rounded up; at least 1. More threads than that are all stopped for the rest
/// of a period as soon as they have spent it together.
SKYWORK_RT_API int WithinQuota(int threads, std::optional<double> quota);

}  // namespace skywork_rt
