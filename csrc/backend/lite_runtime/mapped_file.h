#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string>

#include "skywork_rt/error.h"
#include "support/format.h"

namespace skywork_rt::lite_runtime {

/// A whole file, read-only, whose pages the operating system may drop and read again.
class MappedFile {
 public:
  /// Throws Error(kCorruptBundle) when the file cannot be read or is empty.
  explicit MappedFile(const std::string& path) {
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    struct stat status {};
    if (file >= 0 && fstat(file, &status) == 0 && status.st_size > 0) {
      size_ = static_cast<std::size_t>(status.st_size);
      data_ = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file, 0);
    }
    const int reason = errno;
    if (file >= 0) close(file);
    if (data_ == MAP_FAILED) {
      throw Error(ErrorCode::kCorruptBundle,
                  StrCat(path, " cannot be read: ", size_ == 0 && file >= 0 ? "it is empty" : std::strerror(reason)));
    }
  }

  ~MappedFile() { munmap(data_, size_); }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const void* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }

 private:
  void* data_ = MAP_FAILED;
  std::size_t size_ = 0;
};

}  // namespace skywork_rt::lite_runtime
