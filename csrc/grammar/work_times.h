#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace skywork_rt::grammar {

/// How long one kind of work took, each time: a count, a sum, and classes whose bounds grow by a quarter. Any thread
/// may add.
class WorkTimes {
 public:
  static constexpr std::size_t kClasses = 96;
  static constexpr double kFirstSeconds = 1e-7;
  static constexpr double kGrowth = 1.25;

  void Add(std::chrono::steady_clock::duration took) {
    const double seconds = std::chrono::duration<double>(took).count();
    nanoseconds_ += static_cast<std::uint64_t>(seconds * 1e9);
    std::size_t i = 0;
    for (double bound = kFirstSeconds; i + 1 < kClasses && seconds > bound; bound *= kGrowth) ++i;
    ++classes_[i];
  }

  std::uint64_t count() const {
    std::uint64_t sum = 0;
    for (const auto& each : classes_) sum += each;
    return sum;
  }
  double seconds() const { return static_cast<double>(nanoseconds_) * 1e-9; }
  /// The upper bound of the class in which the share `share` of all times is reached; 0 when there are none.
  double Quantile(double share) const {
    const auto wanted = share * static_cast<double>(count());
    std::uint64_t sum = 0;
    double bound = kFirstSeconds;
    for (const auto& each : classes_) {
      sum += each;
      if (sum > 0 && static_cast<double>(sum) >= wanted) return bound;
      bound *= kGrowth;
    }
    return 0.0;
  }

 private:
  std::atomic<std::uint64_t> nanoseconds_{0};
  std::array<std::atomic<std::uint64_t>, kClasses> classes_{};
};

}  // namespace skywork_rt::grammar
