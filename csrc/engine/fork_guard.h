#pragma once

#include <cstdint>

namespace skywork_rt {

/// Knows whether the process has forked since the guard was made. A child of fork() has no engine thread and may have
/// inherited a locked mutex, so everything that could wait asks first.
class ForkGuard {
 public:
  ForkGuard();

  bool forked() const noexcept;
  /// Throws Error(kClosed) in a child.
  void Check() const;

 private:
  std::uint64_t generation_;
};

}  // namespace skywork_rt
