#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace skywork_rt::lite_tools {

/// One tensor of a safetensors file.
struct NamedTensor {
  std::string name;
  std::string dtype;  // "F32" or "I32"
  std::vector<std::int64_t> shape;
  std::vector<std::byte> data;
};

/// Reads a safetensors file whose tensors are F32 or I32. Throws std::runtime_error that names what is wrong with it.
std::vector<NamedTensor> ReadTensors(const std::string& path);

/// Writes one, in the order given. Throws std::runtime_error when the file cannot be written in full.
void WriteTensors(const std::string& path, const std::vector<NamedTensor>& tensors);

}  // namespace skywork_rt::lite_tools
