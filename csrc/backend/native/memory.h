#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>

#include "support/core_set.h"

namespace skywork_rt::native {

/// kHuge: huge ones where the system gives them.
enum class Pages { kSmall, kHuge };

/// Zeroed memory of our own, page by page as it is first touched.
class AnonymousMemory {
 public:
  AnonymousMemory() = default;
  /// Throws Error kCapacity with the size and `purpose`.
  AnonymousMemory(std::size_t bytes, const char* purpose, Pages pages = Pages::kHuge);
  ~AnonymousMemory();
  AnonymousMemory(AnonymousMemory&& other) noexcept;
  AnonymousMemory& operator=(AnonymousMemory&& other) noexcept;

  std::uint8_t* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  std::uint8_t* data_ = nullptr;
  std::size_t size_ = 0;
};

/// A whole file, read-only: mapped (shared with other processes, read when first touched) or copied into huge pages.
class FileContents {
 public:
  /// Throws Error kNotFound (cannot be opened or read), kCapacity (no memory).
  static FileContents Map(const std::filesystem::path& path);
  /// `threads` of the pool, on `cores` if there are any, read it together. Also throws kCorruptBundle for a file that
  /// becomes shorter meanwhile.
  static FileContents Copy(const std::filesystem::path& path, int threads = 1, const CoreSet& cores = {});
  /// The largest file that is copied: half a second of copying, or less.
  static constexpr std::size_t kMostCopied = std::size_t{1} << 30;
  /// Whether copying suits a file better than mapping it: reading the copy is faster, as no file comes in huge pages
  /// on most systems; but it must neither crowd out others nor make opening long.
  static bool BetterCopied(const std::filesystem::path& path);
  ~FileContents();
  FileContents(FileContents&& other) noexcept;
  FileContents& operator=(FileContents&&) = delete;

  const std::uint8_t* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  FileContents() = default;

  const std::uint8_t* data_ = nullptr;
  std::size_t size_ = 0;
  bool mapped_ = false;
  AnonymousMemory copy_;
};

}  // namespace skywork_rt::native
