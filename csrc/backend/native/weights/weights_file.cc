#include "backend/native/weights/weights_file.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "skywork_rt/error.h"
#include "support/format.h"

namespace skywork_rt::native {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kMostHeaderBytes = std::size_t{16} << 20;
constexpr std::size_t kMostDimensions = 4;
constexpr std::size_t kAlignment = 64;
constexpr int kVersion = 1;
constexpr int kMostDepth = 4;

/// Throws on behalf of one file.
class Complaint {
 public:
  explicit Complaint(const std::string& file) : file_(file) {}

  template <typename... Args>
  [[noreturn]] void Throw(const Args&... what) const {
    throw Error(ErrorCode::kCorruptBundle,
                StrCat("The weights file ", file_, " is damaged: ", what..., ". Export the bundle again."));
  }

 private:
  const std::string& file_;
};

std::size_t HeaderBytes(Span<const std::uint8_t> file, const Complaint& complain) {
  if (file.size() < 8) complain.Throw("it has ", file.size(), " bytes, and its first 8 hold the header's length");
  std::uint64_t length = 0;
  for (std::size_t i = 0; i < 8; ++i) length |= static_cast<std::uint64_t>(file[i]) << (8 * i);
  if (length > kMostHeaderBytes) complain.Throw("its header claims ", length, " bytes; the most is ", kMostHeaderBytes);
  if (length > file.size() - 8) {
    complain.Throw("its header claims ", length, " bytes, and ", file.size() - 8, " follow");
  }
  return static_cast<std::size_t>(length);
}

/// JSON with a limit on depth and no key twice in one object.
Json ParseHeader(const char* text, std::size_t size, const Complaint& complain) {
  std::vector<std::set<std::string>> keys;
  std::string repeated;
  bool deep = false;
  const auto watch = [&](int depth, Json::parse_event_t event, Json& value) {
    if (depth > kMostDepth) deep = true;
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key && !keys.back().insert(value.get<std::string>()).second) {
      repeated = value.get<std::string>();
    }
    return !deep;
  };
  Json header = Json::parse(text, text + size, watch, /*allow_exceptions=*/false);
  if (deep) complain.Throw("its header nests deeper than ", kMostDepth, " levels");
  if (!header.is_object()) complain.Throw("its header is not a JSON object");
  if (!repeated.empty()) complain.Throw("its header names \"", repeated, "\" twice");
  return header;
}

void CheckMetadata(const Json& header, const std::string& file, const Complaint& complain) {
  const auto found = header.find("__metadata__");
  if (found == header.end() || !found->is_object()) complain.Throw("its header has no __metadata__");
  const auto text = [&](const char* key) {
    const auto value = found->find(key);
    if (value == found->end() || !value->is_string()) complain.Throw("its __metadata__ has no text \"", key, "\"");
    return value->get<std::string>();
  };
  if (text("format") != "skywork_rt.weights") {
    complain.Throw("its format is \"", text("format"), "\", not \"skywork_rt.weights\"");
  }
  if (text("version") != std::to_string(kVersion)) {
    throw Error(ErrorCode::kUnsupported, StrCat("The weights file ", file, " has layout version ", text("version"),
                                                "; this build reads ", kVersion, ". Export the bundle again."));
  }
}

std::uint64_t Number(const Json& value, const std::string& tensor, const char* what, const Complaint& complain) {
  if (!value.is_number_unsigned()) complain.Throw("the tensor ", tensor, " has a ", what, " that is no whole number");
  return value.get<std::uint64_t>();
}

/// Bytes that dtype and shape imply.
std::uint64_t ImpliedBytes(const std::string& tensor, const StoredTensor& stored, const Complaint& complain) {
  std::uint64_t bytes = stored.dtype == "F32" ? 4 : 1;
  for (const std::uint64_t extent : stored.shape) {
    if (extent != 0 && bytes > std::numeric_limits<std::uint64_t>::max() / extent) {
      complain.Throw("the tensor ", tensor, " has a shape whose size overflows 64 bits");
    }
    bytes *= extent;
  }
  return bytes;
}

StoredTensor ParseTensor(const std::string& tensor, const Json& entry, Span<const std::uint8_t> data,
                         const Complaint& complain) {
  if (!entry.is_object()) complain.Throw("the tensor ", tensor, " is not described by a JSON object");
  const auto dtype = entry.find("dtype");
  const auto shape = entry.find("shape");
  const auto offsets = entry.find("data_offsets");
  if (dtype == entry.end() || !dtype->is_string() || shape == entry.end() || !shape->is_array() ||
      offsets == entry.end() || !offsets->is_array() || offsets->size() != 2) {
    complain.Throw("the tensor ", tensor, " lacks a dtype, a shape or two data_offsets");
  }
  StoredTensor stored;
  stored.dtype = dtype->get<std::string>();
  if (stored.dtype != "F32" && stored.dtype != "U8") {
    complain.Throw("the tensor ", tensor, " has dtype ", stored.dtype, "; only F32 and U8 occur");
  }
  if (shape->size() > kMostDimensions) complain.Throw("the tensor ", tensor, " has ", shape->size(), " dimensions");
  for (const Json& extent : *shape) stored.shape.push_back(Number(extent, tensor, "shape", complain));
  const std::uint64_t begin = Number((*offsets)[0], tensor, "offset", complain);
  const std::uint64_t end = Number((*offsets)[1], tensor, "offset", complain);
  if (begin > end || end > data.size()) {
    complain.Throw("the tensor ", tensor, " claims bytes ", begin, " to ", end, " of ", data.size());
  }
  const std::uint64_t implied = ImpliedBytes(tensor, stored, complain);
  if (implied != end - begin) {
    complain.Throw("the tensor ", tensor, " has ", end - begin, " bytes, and its shape needs ", implied);
  }
  const std::size_t alignment = stored.dtype == "U8" ? kAlignment : 4;
  if (begin % alignment != 0)
    complain.Throw("the tensor ", tensor, " begins at ", begin, ", no multiple of ", alignment);
  stored.data = data.data() + begin;
  stored.bytes = static_cast<std::size_t>(end - begin);
  return stored;
}

void CheckNoHoles(const std::map<std::string, StoredTensor>& tensors, Span<const std::uint8_t> data,
                  const Complaint& complain) {
  std::vector<std::pair<const StoredTensor*, const std::string*>> order;
  order.reserve(tensors.size());
  for (const auto& [name, stored] : tensors) order.emplace_back(&stored, &name);
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return std::make_pair(a.first->data, a.first->bytes) < std::make_pair(b.first->data, b.first->bytes);
  });
  const std::uint8_t* end = data.data();
  for (const auto& [stored, name] : order) {
    if (stored->data != end) {
      complain.Throw("the tensor ", *name, " begins at ", stored->data - data.data(),
                     ", and the one before it ends at ", end - data.data());
    }
    end += stored->bytes;
  }
  if (end != data.end()) complain.Throw(data.end() - end, " bytes follow the last tensor");
}

}  // namespace

std::map<std::string, StoredTensor> ParseWeights(Span<const std::uint8_t> file, const std::string& name) {
  const Complaint complain(name);
  const std::size_t header_bytes = HeaderBytes(file, complain);
  const Json header = ParseHeader(reinterpret_cast<const char*>(file.data()) + 8, header_bytes, complain);
  CheckMetadata(header, name, complain);
  if ((8 + header_bytes) % kAlignment != 0) {
    complain.Throw("its data begins at ", 8 + header_bytes, ", no multiple of ", kAlignment);
  }
  const Span<const std::uint8_t> data = file.subspan(8 + header_bytes, file.size() - 8 - header_bytes);
  std::map<std::string, StoredTensor> tensors;
  for (const auto& [tensor, entry] : header.items()) {
    if (tensor != "__metadata__") tensors.emplace(tensor, ParseTensor(tensor, entry, data, complain));
  }
  CheckNoHoles(tensors, data, complain);
  return tensors;
}

WeightsFile::WeightsFile(const std::filesystem::path& path, FileContents contents)
    : name_(path.filename().string()),
      contents_(std::move(contents)),
      tensors_(ParseWeights({contents_.data(), contents_.size()}, name_)) {}

}  // namespace skywork_rt::native
