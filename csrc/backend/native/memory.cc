#include "backend/native/memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "skywork_rt/error.h"
#include "support/format.h"
#include "support/memory_limits.h"
#include "support/thread_pool.h"

namespace skywork_rt::native {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr std::size_t kReadBytes = std::size_t{4} << 20;  // of one task
constexpr std::size_t kShareOfMemory = 4;                 // a copy takes at most one part in so many of what is free

[[noreturn]] void ThrowUnreadable(const std::filesystem::path& path) {
  throw Error(ErrorCode::kNotFound, StrCat(path.string(), " cannot be read: ", std::strerror(errno)));
}

/// An open file descriptor.
class File {
 public:
  explicit File(const std::filesystem::path& path) : path_(path), fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (fd_ < 0) ThrowUnreadable(path);
  }
  ~File() { close(fd_); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  int fd() const { return fd_; }

  std::size_t Size() const {
    struct stat status = {};
    if (fstat(fd_, &status) != 0) ThrowUnreadable(path_);
    if (!S_ISREG(status.st_mode)) throw Error(ErrorCode::kNotFound, StrCat(path_.string(), " is not a regular file"));
    return static_cast<std::size_t>(status.st_size);
  }

  void Read(std::uint8_t* out, std::size_t size, ThreadPool::Lease& lease) const {
    std::atomic<int> failure{0};
    const std::size_t tasks = (size + kReadBytes - 1) / kReadBytes;
    lease.Run(static_cast<int>(tasks), [&](int task, int) {
      const std::size_t begin = static_cast<std::size_t>(task) * kReadBytes;
      const int result = ReadPart(out, begin, std::min(size, begin + kReadBytes));
      if (result != 0) failure.store(result, std::memory_order_relaxed);
    });
    if (failure == kEndedEarly) {
      throw Error(ErrorCode::kCorruptBundle,
                  StrCat(path_.string(), " ended before its ", size, " bytes: it changed while it was read"));
    }
    errno = failure;
    if (failure != 0) ThrowUnreadable(path_);
  }

 private:
  static constexpr int kEndedEarly = -1;

  /// 0, an errno or kEndedEarly.
  int ReadPart(std::uint8_t* out, std::size_t begin, std::size_t end) const noexcept {
    while (begin < end) {
      const ssize_t n = pread(fd_, out + begin, end - begin, static_cast<off_t>(begin));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return errno;
      if (n == 0) return kEndedEarly;
      begin += static_cast<std::size_t>(n);
    }
    return 0;
  }

  const std::filesystem::path path_;
  const int fd_;
};

}  // namespace

AnonymousMemory::AnonymousMemory(std::size_t bytes, const char* purpose, Pages pages) {
  if (bytes == 0) return;
  // An exact multiple at an aligned address, or the kernel gives small pages at both ends.
  const std::size_t size = (bytes + kHugePage - 1) / kHugePage * kHugePage;
  void* raw =
      mmap(nullptr, size + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (raw == MAP_FAILED) {
    throw Error(ErrorCode::kCapacity,
                StrCat("The system refused ", bytes, " bytes for ", purpose, " (", std::strerror(errno),
                       "). Lower max_length, max_cached_tokens or max_batch."));
  }
  auto* begin = static_cast<std::uint8_t*>(raw);
  const std::size_t beyond = reinterpret_cast<std::uintptr_t>(raw) % kHugePage;
  auto* aligned = begin + (beyond == 0 ? 0 : kHugePage - beyond);
  if (aligned != begin) munmap(begin, static_cast<std::size_t>(aligned - begin));
  const auto tail = static_cast<std::size_t>(begin + kHugePage - aligned);
  if (tail != 0) munmap(aligned + size, tail);
  // A wish: without huge pages all works, slower.
  madvise(aligned, size, pages == Pages::kHuge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  data_ = aligned;
  size_ = size;
}

AnonymousMemory::~AnonymousMemory() {
  if (data_ != nullptr) munmap(data_, size_);
}

AnonymousMemory::AnonymousMemory(AnonymousMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

AnonymousMemory& AnonymousMemory::operator=(AnonymousMemory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

FileContents FileContents::Map(const std::filesystem::path& path) {
  const File file(path);
  FileContents contents;
  contents.size_ = file.Size();
  if (contents.size_ == 0) return contents;
  void* data = mmap(nullptr, contents.size_, PROT_READ, MAP_SHARED, file.fd(), 0);
  if (data == MAP_FAILED) {
    throw Error(ErrorCode::kCapacity, StrCat("The system refused to map the ", contents.size_, " bytes of ",
                                             path.string(), " (", std::strerror(errno), "). Try mmap=false."));
  }
  contents.data_ = static_cast<const std::uint8_t*>(data);
  contents.mapped_ = true;
  madvise(data, contents.size_, MADV_WILLNEED);
  return contents;
}

FileContents FileContents::Copy(const std::filesystem::path& path, int threads, const CoreSet& cores) {
  const File file(path);
  FileContents contents;
  contents.size_ = file.Size();
  contents.copy_ = AnonymousMemory(contents.size_, "the weights");
  ThreadPool::Lease lease(threads, cores);
  file.Read(contents.copy_.data(), contents.size_, lease);
  contents.data_ = contents.copy_.data();
  return contents;
}

bool FileContents::BetterCopied(const std::filesystem::path& path) {
  const std::size_t size = File(path).Size();
  return size <= kMostCopied && size <= ReadMemoryLimits().available / kShareOfMemory;
}

FileContents::~FileContents() {
  if (mapped_) munmap(const_cast<std::uint8_t*>(data_), size_);
}

FileContents::FileContents(FileContents&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      mapped_(std::exchange(other.mapped_, false)),
      copy_(std::move(other.copy_)) {}

}  // namespace skywork_rt::native
