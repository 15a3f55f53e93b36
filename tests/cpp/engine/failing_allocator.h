#pragma once

#include <cstdint>

namespace skywork_rt {

/// This program's operator new, which fails when it is told to. Only threads that are exposed are counted and can
/// fail; a thread is exposed unless it holds a Shelter.
class FailingAllocator {
 public:
  static constexpr std::int64_t kForEver = INT64_MAX;

  /// From the `first`-th allocation on (counted from 0), `count` of them fail.
  static void Arm(std::int64_t first, std::int64_t count);
  /// Nothing fails any more. Returns how many allocations were counted since Arm.
  static std::int64_t Disarm();
  /// What operator new has given out and not got back, of all threads.
  static std::int64_t LiveBytes();
};

/// While it lives, allocations of the calling thread neither count nor fail.
class Shelter {
 public:
  Shelter();
  ~Shelter();
  Shelter(const Shelter&) = delete;
  Shelter& operator=(const Shelter&) = delete;
};

/// Ends the effect of the Shelters around it, while it lives.
class Exposure {
 public:
  Exposure();
  ~Exposure();
  Exposure(const Exposure&) = delete;
  Exposure& operator=(const Exposure&) = delete;

 private:
  int depth_;
};

}  // namespace skywork_rt
