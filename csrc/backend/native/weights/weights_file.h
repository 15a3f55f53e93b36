#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "backend/native/memory.h"
#include "skywork_rt/span.h"

namespace skywork_rt::native {

/// One tensor of a safetensors file.
struct StoredTensor {
  std::string dtype;  // "F32" or "U8"
  std::vector<std::uint64_t> shape;
  const std::uint8_t* data = nullptr;
  std::size_t bytes = 0;
};

/// Checks a safetensors file of ours and lists its tensors, which point into `file`. Allocates nothing whose size the
/// file names. `name` is for messages.
///
/// Throws Error kCorruptBundle, naming what is wrong, when the header's length, JSON, a dtype, a shape or an offset
/// is not what it must be, tensors overlap or leave a hole, or the data ends early or late; kUnsupported for a newer
/// version of our layout.
std::map<std::string, StoredTensor> ParseWeights(Span<const std::uint8_t> file, const std::string& name);

/// A weights file, opened and checked.
class WeightsFile {
 public:
  WeightsFile(const std::filesystem::path& path, FileContents contents);

  const std::map<std::string, StoredTensor>& tensors() const { return tensors_; }
  const std::string& name() const { return name_; }

 private:
  std::string name_;
  FileContents contents_;
  std::map<std::string, StoredTensor> tensors_;
};

}  // namespace skywork_rt::native
