#pragma once

#include <sched.h>

#include <string>
#include <vector>

#include "skywork_rt/export.h"

namespace skywork_rt {

/// A set of cores that threads can be confined to, by the numbers that the system gives them.
class SKYWORK_RT_API CoreSet {
 public:
  CoreSet();
  /// Throws Error(kInvalidArgument), with the set of allowed cores, for a core that the calling thread may not run on
  /// and for one that is named twice.
  explicit CoreSet(const std::vector<int>& cores);
  /// Where the calling thread may run.
  static CoreSet OfThisThread();

  int size() const { return CPU_COUNT(&set_); }
  bool empty() const { return size() == 0; }
  bool operator==(const CoreSet& other) const { return CPU_EQUAL(&set_, &other.set_) != 0; }
  /// Whether threads on either may want the same core. An empty set leaves its threads anywhere.
  bool Overlaps(const CoreSet& other) const;
  /// "0, 2-5"
  std::string ToString() const;

  /// Moves the calling thread onto these cores. False when the system refuses, as it does for cores that are gone.
  bool Confine() const noexcept;

 private:
  cpu_set_t set_;
};

/// How many threads to compute with: `threads` if there are any, else one a core of `affinity`, else as many as the
/// cores that the calling thread may run on, but then never more than the CPU quota of its control groups, rounded up;
/// at least 1.
SKYWORK_RT_API int ThreadsToUse(int threads, const std::vector<int>& affinity);

/// Keeps the calling thread on some cores until the end of the scope, then it may run where it could before. Does
/// nothing for an empty set. Throws Error(kCapacity) when the system refuses the cores.
class SKYWORK_RT_API CoreScope {
 public:
  explicit CoreScope(const CoreSet& cores);
  ~CoreScope();
  CoreScope(const CoreScope&) = delete;
  CoreScope& operator=(const CoreScope&) = delete;

 private:
  CoreSet own_;  // empty if the thread was left where it is
};

}  // namespace skywork_rt
