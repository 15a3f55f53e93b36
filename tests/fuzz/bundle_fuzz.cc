// Whatever model.json says, reading it gives a checked description or a typed Error.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "bundle/model_json.h"
#include "skywork_rt/error.h"

using skywork_rt::BundleFile;
using skywork_rt::Error;
using skywork_rt::ErrorCode;
using skywork_rt::ModelJson;

namespace {

/// What every later reader relies on without asking again.
void Require(bool holds) {
  if (!holds) std::abort();
}

void CheckPromises(const ModelJson& json) {
  Require(json.model.vocab_size > 0 && json.model.max_length > 0 && json.model.layers > 0);
  Require(json.model.heads > 0 && json.model.kv_heads > 0 && json.model.heads % json.model.kv_heads == 0);
  Require(json.model.rope.inverse_frequencies.size() * 2 == static_cast<std::size_t>(json.model.head_dim));
  for (const auto id : json.model.eos_ids) Require(id >= 0 && id < json.model.vocab_size);
  for (const BundleFile& file : json.files) {
    Require(!file.name.empty() && file.name != "." && file.name != "..");
    Require(file.name.find('/') == std::string::npos && file.name.find('\0') == std::string::npos);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    CheckPromises(skywork_rt::ParseModelJson(std::string(reinterpret_cast<const char*>(data), size), "model.json"));
  } catch (const Error& error) {
    Require(error.code() == ErrorCode::kCorruptBundle || error.code() == ErrorCode::kUnsupported ||
            error.code() == ErrorCode::kNotFound);  // well-formed, but no bundle's
  }
  return 0;
}
