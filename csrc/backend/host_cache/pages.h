#pragma once

#include <cstddef>

namespace skywork_rt::host_cache {

/// Zeroed memory from the operating system, page by page as it is written: reading a page that was never written
/// costs no memory, and `Release` gives pages back.
class Pages {
 public:
  Pages() = default;
  /// Throws Error(kCapacity) when the address space, or the limit that the process runs under, does not hold `bytes`.
  explicit Pages(std::size_t bytes);
  ~Pages();
  Pages(Pages&& other) noexcept;
  Pages& operator=(Pages&& other) noexcept;
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;

  float* floats() const noexcept { return static_cast<float*>(data_); }
  std::size_t bytes() const noexcept { return bytes_; }
  /// Whole pages inside of the range become zeros that take no memory.
  void Release(std::size_t offset, std::size_t size) noexcept;

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace skywork_rt::host_cache
