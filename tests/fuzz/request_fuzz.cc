// Whatever a request says, it is refused by a typed Error, or it runs to an end that its own parameters explain.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "engine/engine.h"
#include "predictable/predictable_backend.h"
#include "skywork_rt/generator.h"

using skywork_rt::Engine;
using skywork_rt::EngineConfig;
using skywork_rt::Error;
using skywork_rt::ErrorCode;
using skywork_rt::PredictableBackend;
using skywork_rt::PredictableOptions;
using skywork_rt::Request;
using skywork_rt::Result;
using skywork_rt::SamplingParams;

namespace {

void Require(bool holds) {
  if (!holds) std::abort();
}

/// Takes values off the front of the input; zeros when it is used up.
class Reader {
 public:
  Reader(const std::uint8_t* data, std::size_t size) : data_(data), left_(size) {}

  template <typename T>
  T Take() {
    T value{};
    const std::size_t count = left_ < sizeof value ? left_ : sizeof value;
    if (count > 0) std::memcpy(&value, data_, count);
    data_ += count;
    left_ -= count;
    return value;
  }
  bool Flip() { return (Take<std::uint8_t>() & 1) != 0; }
  /// Mostly a small number, sometimes any at all.
  int Int() { return Flip() ? Take<std::int8_t>() : Take<std::int32_t>(); }
  /// Mostly a usual number, sometimes any bits, NaN and infinities included.
  float Float() { return Flip() ? static_cast<float>(Take<std::int8_t>()) / 32.0f : Take<float>(); }
  std::size_t Count() { return Take<std::uint8_t>() % 8U; }

 private:
  const std::uint8_t* data_;
  std::size_t left_;
};

void ReadLists(Reader* in, SamplingParams* params) {
  for (std::size_t i = in->Count(); i > 0; --i) params->logit_bias.emplace_back(in->Int(), in->Float());
  for (std::size_t i = in->Count(); i > 0; --i) {
    params->bad_words_ids.emplace_back();
    for (std::size_t j = in->Count(); j > 0; --j) params->bad_words_ids.back().push_back(in->Int());
  }
  for (std::size_t i = in->Count(); i > 0; --i) params->stop_token_ids.push_back(in->Int());
  if (in->Flip()) params->stop.emplace_back(in->Count(), static_cast<char>(in->Int()));
}

SamplingParams ReadParams(Reader* in) {
  SamplingParams params;
  if (in->Flip()) params.max_tokens.reset();
  if (in->Flip()) params.max_tokens = in->Int();
  if (in->Flip()) params.temperature = in->Float();
  if (in->Flip()) params.top_k = in->Int();
  if (in->Flip()) params.top_p = in->Float();
  if (in->Flip()) params.min_p = in->Float();
  if (in->Flip()) params.typical_p = in->Float();
  if (in->Flip()) params.repetition_penalty = in->Float();
  if (in->Flip()) params.presence_penalty = in->Float();
  if (in->Flip()) params.frequency_penalty = in->Float();
  if (in->Flip()) params.no_repeat_ngram_size = in->Int();
  if (in->Flip()) params.min_tokens = in->Int();
  if (in->Flip()) params.n = in->Int();
  if (in->Flip()) params.num_beams = in->Int();
  if (in->Flip()) params.length_penalty = in->Float();
  if (in->Flip()) params.logprobs = in->Int();
  if (in->Flip()) params.prompt_logprobs = in->Int();
  if (in->Flip()) ReadLists(in, &params);
  params.early_stopping = in->Flip();
  params.ignore_eos = in->Flip();
  params.seed = in->Take<std::uint16_t>();
  return params;
}

Request ReadRequest(Reader* in) {
  Request request;
  request.sampling = ReadParams(in);
  if (in->Flip()) request.deadline = std::chrono::milliseconds(in->Take<std::int64_t>());
  if (in->Flip()) request.prompt_logprobs_from = in->Take<std::size_t>();
  request.priority = in->Int();
  for (std::size_t i = in->Take<std::uint8_t>() % 80U; i > 0; --i) request.prompt.push_back(in->Int());
  return request;
}

void CheckResult(const Request& request, const Result& result) {
  const SamplingParams& params = request.sampling;
  Require(result.samples.size() <= static_cast<std::size_t>(params.n));
  for (const auto& sample : result.samples) {
    Require(!sample.token_ids.empty() && sample.token_ids.size() + request.prompt.size() <= 64);
    Require(!params.max_tokens || sample.token_ids.size() <= static_cast<std::size_t>(*params.max_tokens));
    for (const auto id : sample.token_ids) Require(id >= 0 && id < 97);
  }
}

Engine& SharedEngine() {
  static Engine* engine = [] {  // never destroyed: libFuzzer leaves by _exit
    PredictableOptions backend;
    backend.max_length = 64;
    EngineConfig config;
    config.options.max_batch = 8;
    config.min_prefix = 4;
    config.check_invariants = true;
    return new Engine(std::make_unique<PredictableBackend>(backend), config);
  }();
  return *engine;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Reader in(data, size);
  const Request request = ReadRequest(&in);
  try {
    CheckResult(request, SharedEngine().Submit(request, {})->Get());
  } catch (const Error& error) {
    const bool expected = error.code() != ErrorCode::kInternal && error.code() != ErrorCode::kClosed &&
                          error.code() != ErrorCode::kBackend;
    if (!expected) std::fprintf(stderr, "%s: %s\n", ErrorCodeName(error.code()), error.what());
    Require(expected);
  }
  return 0;
}
