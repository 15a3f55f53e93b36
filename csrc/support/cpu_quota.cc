#include "support/cpu_quota.h"

#include <algorithm>
#include <cmath>
#include <fstream>

namespace skywork_rt {
namespace {

std::optional<double> Share(long long quota, long long period) {
  if (quota <= 0 || period <= 0) return std::nullopt;  // -1: no bound
  return static_cast<double>(quota) / static_cast<double>(period);
}

std::optional<double> QuotaOf(const ControlGroup& group) {
  if (group.version == ControlGroupVersion::kV1) {
    const auto quota = ReadGroupNumber(group.folder / "cpu.cfs_quota_us");
    const auto period = ReadGroupNumber(group.folder / "cpu.cfs_period_us");
    return Share(quota.value_or(-1), period.value_or(-1));
  }
  std::ifstream in(group.folder / "cpu.max");  // "quota period", where "max" is no bound
  long long quota = -1;
  long long period = -1;
  if (!(in >> quota >> period)) return std::nullopt;
  return Share(quota, period);
}

}  // namespace

std::optional<double> ReadCpuQuota(const HostFolders& folders) noexcept {
  std::optional<double> least;
  try {
    for (const ControlGroup& group : ControlGroupsOf("cpu", folders)) {
      const std::optional<double> quota = QuotaOf(group);
      if (quota.has_value()) least = std::min(least.value_or(*quota), *quota);
    }
  } catch (...) {  // no memory for a path: as if nothing could be read
  }
  return least;
}

int WithinQuota(int threads, std::optional<double> quota) {
  if (!quota.has_value() || *quota >= static_cast<double>(threads)) return std::max(1, threads);
  return std::max(1, static_cast<int>(std::ceil(*quota)));
}

}  // namespace skywork_rt
