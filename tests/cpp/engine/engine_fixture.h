#pragma once

#include <cstdint>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "engine/engine.h"
#include "predictable/predictable_backend.h"
#include "skywork_rt/generator.h"

namespace skywork_rt {

/// An engine on a predictable backend that checks its invariants after every step.
inline EngineConfig CheckedConfig(GeneratorOptions options = {}) {
  EngineConfig config;
  config.options = std::move(options);
  config.check_invariants = true;
  config.min_prefix = 4;
  return config;
}

inline std::unique_ptr<Engine> MakeEngine(GeneratorOptions options = {}, PredictableOptions backend = {}) {
  return std::make_unique<Engine>(std::make_unique<PredictableBackend>(std::move(backend)),
                                  CheckedConfig(std::move(options)));
}

inline std::vector<TokenId> Counting(std::size_t count, TokenId first = 10) {
  std::vector<TokenId> tokens(count);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

inline Request GreedyRequest(std::vector<TokenId> prompt, int max_tokens) {
  Request request;
  request.prompt = std::move(prompt);
  request.sampling.temperature = 0.0f;
  request.sampling.max_tokens = max_tokens;
  return request;
}

/// A request that ends by length only.
inline Request LongRequest(std::vector<TokenId> prompt, int max_tokens) {
  Request request = GreedyRequest(std::move(prompt), max_tokens);
  request.sampling.ignore_eos = true;
  return request;
}

/// The id of an Error thrown by `call`, or 0 when it throws nothing.
template <typename Call>
ErrorCode CodeOf(const Call& call, std::string* message = nullptr) {
  try {
    call();
  } catch (const Error& error) {
    if (message != nullptr) *message = error.what();
    return error.code();
  }
  return static_cast<ErrorCode>(0);
}

/// A vocabulary of one-byte tokens: id i stands for the byte i.
std::shared_ptr<const Vocabulary> ByteVocabulary(std::size_t size);

}  // namespace skywork_rt
