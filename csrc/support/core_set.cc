#include "support/core_set.h"

#include <thread>

#include "skywork_rt/error.h"
#include "support/cpu_quota.h"
#include "support/format.h"

namespace skywork_rt {

CoreSet::CoreSet() {
  CPU_ZERO(&set_);
}

CoreSet::CoreSet(const std::vector<int>& cores) : CoreSet() {
  const CoreSet allowed = OfThisThread();
  for (const int core : cores) {
    if (core < 0 || core >= CPU_SETSIZE || !CPU_ISSET(core, &allowed.set_)) {
      throw Error(ErrorCode::kInvalidArgument,
                  StrCat("affinity names core ", core, ", but this process may run on ", allowed.ToString(), " only"));
    }
    if (CPU_ISSET(core, &set_))
      throw Error(ErrorCode::kInvalidArgument, StrCat("affinity names core ", core, " twice"));
    CPU_SET(core, &set_);
  }
}

CoreSet CoreSet::OfThisThread() {
  CoreSet cores;
  if (sched_getaffinity(0, sizeof(cores.set_), &cores.set_) != 0) CPU_ZERO(&cores.set_);
  return cores;
}

bool CoreSet::Overlaps(const CoreSet& other) const {
  if (empty() || other.empty()) return true;
  cpu_set_t both;
  CPU_AND(&both, &set_, &other.set_);
  return CPU_COUNT(&both) != 0;
}

std::string CoreSet::ToString() const {
  std::string text;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (!CPU_ISSET(core, &set_)) continue;
    const int first = core;
    while (core + 1 < CPU_SETSIZE && CPU_ISSET(core + 1, &set_)) ++core;
    text += StrCat(text.empty() ? "" : ", ", first);
    if (core > first) text += StrCat("-", core);
  }
  return text;
}

bool CoreSet::Confine() const noexcept {
  return sched_setaffinity(0, sizeof(set_), &set_) == 0;
}

int ThreadsToUse(int threads, const std::vector<int>& affinity) {
  if (threads > 0) return threads;
  if (!affinity.empty()) return WithinQuota(static_cast<int>(affinity.size()), ReadCpuQuota());
  const int cores = CoreSet::OfThisThread().size();
  return WithinQuota(cores > 0 ? cores : static_cast<int>(std::thread::hardware_concurrency()), ReadCpuQuota());
}

CoreScope::CoreScope(const CoreSet& cores) {
  if (cores.empty()) return;
  const CoreSet own = CoreSet::OfThisThread();
  if (!cores.Confine()) {
    throw Error(ErrorCode::kCapacity, StrCat("The system no longer lets this process run on the cores ",
                                             cores.ToString(), " of its affinity. Open the model on others."));
  }
  own_ = own;
}

CoreScope::~CoreScope() {
  if (!own_.empty()) own_.Confine();
}

}  // namespace skywork_rt
