#include "backend/lite/tools/tensor_file.h"

#include <cstring>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace skywork_rt::lite_tools {
namespace {

constexpr std::uint64_t kMaxHeader = 100U << 20U;  // bytes; the format's own limit
constexpr std::uint64_t kElementSize = 4;

[[noreturn]] void Refuse(const std::string& path, const std::string& why) {
  throw std::runtime_error(path + ": " + why);
}

std::vector<char> ReadHeader(std::ifstream& file, const std::string& path, std::uint64_t file_size) {
  std::uint64_t size = 0;
  file.read(reinterpret_cast<char*>(&size), sizeof(size));
  if (!file || size > kMaxHeader || size > file_size - sizeof(size)) {
    Refuse(path, "is no safetensors file or is cut short");
  }
  std::vector<char> header(static_cast<std::size_t>(size));
  file.read(header.data(), static_cast<std::streamsize>(size));
  return header;
}

std::uint64_t ByteSize(const std::string& path, const NamedTensor& tensor) {
  std::uint64_t size = kElementSize;
  for (const std::int64_t dimension : tensor.shape) {
    const bool fits =
        dimension > 0 && size <= std::numeric_limits<std::uint64_t>::max() / static_cast<std::uint64_t>(dimension);
    if (!fits) {
      Refuse(path, "tensor " + tensor.name + " has a dimension of " + std::to_string(dimension));
    }
    size *= static_cast<std::uint64_t>(dimension);
  }
  return size;
}

NamedTensor ReadTensor(std::ifstream& file, const std::string& path, const std::string& name,
                       const nlohmann::json& entry, std::uint64_t data_start, std::uint64_t file_size) {
  NamedTensor tensor{
      name, entry.at("dtype").get<std::string>(), entry.at("shape").get<std::vector<std::int64_t>>(), {}};
  const auto offsets = entry.at("data_offsets").get<std::vector<std::uint64_t>>();
  const bool known = tensor.dtype == "F32" || tensor.dtype == "I32";
  const bool inside = offsets.size() == 2 && offsets[0] <= offsets[1] && offsets[1] <= file_size - data_start;
  if (!known || !inside || offsets[1] - offsets[0] != ByteSize(path, tensor)) {
    Refuse(path, "tensor " + name + " (" + tensor.dtype + ") is damaged or of an unknown type");
  }
  tensor.data.resize(static_cast<std::size_t>(offsets[1] - offsets[0]));
  file.seekg(static_cast<std::streamoff>(data_start + offsets[0]));
  file.read(reinterpret_cast<char*>(tensor.data.data()), static_cast<std::streamsize>(tensor.data.size()));
  if (!file) {
    Refuse(path, "tensor " + name + " could not be read");
  }
  return tensor;
}

}  // namespace

std::vector<NamedTensor> ReadTensors(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  const std::streamoff end = file ? static_cast<std::streamoff>(file.tellg()) : -1;
  if (end < static_cast<std::streamoff>(sizeof(std::uint64_t))) {
    Refuse(path, "cannot be read");
  }
  file.seekg(0);
  const auto file_size = static_cast<std::uint64_t>(end);
  const std::vector<char> header = ReadHeader(file, path, file_size);
  const std::uint64_t data_start = sizeof(std::uint64_t) + header.size();
  std::vector<NamedTensor> tensors;
  const nlohmann::json entries = nlohmann::json::parse(header.begin(), header.end());
  for (const auto& [name, entry] : entries.items()) {
    if (name != "__metadata__") {
      tensors.push_back(ReadTensor(file, path, name, entry, data_start, file_size));
    }
  }
  return tensors;
}

void WriteTensors(const std::string& path, const std::vector<NamedTensor>& tensors) {
  nlohmann::json entries = nlohmann::json::object();
  std::uint64_t offset = 0;
  for (const NamedTensor& tensor : tensors) {
    const std::uint64_t end = offset + tensor.data.size();
    entries[tensor.name] = {{"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  const std::string header = entries.dump();
  const std::uint64_t size = header.size();
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(&size), sizeof(size));
  file.write(header.data(), static_cast<std::streamsize>(header.size()));
  for (const NamedTensor& tensor : tensors) {
    file.write(reinterpret_cast<const char*>(tensor.data.data()), static_cast<std::streamsize>(tensor.data.size()));
  }
  file.flush();
  if (!file) {
    Refuse(path, "could not be written in full");
  }
}

}  // namespace skywork_rt::lite_tools
