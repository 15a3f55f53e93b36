#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
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

/// A backend whose steps take a while, for tests that catch a request halfway.
inline PredictableOptions Slow(std::chrono::milliseconds step = std::chrono::milliseconds(1)) {
  PredictableOptions options;
  options.hook = [step](BackendOp op, std::uint64_t) {
    if (op == BackendOp::kForward) std::this_thread::sleep_for(step);
  };
  return options;
}

/// A backend that throws at the given call of one operation.
inline PredictableOptions FailingAt(BackendOp op, std::uint64_t call, ErrorCode code = ErrorCode::kBackend) {
  PredictableOptions options;
  options.hook = [=](BackendOp now, std::uint64_t count) {
    if (now == op && count == call) throw Error(code, "the device is on fire");
  };
  return options;
}

inline GeneratorOptions NoPrefixCache() {
  GeneratorOptions options;
  options.prefix_cache = false;
  return options;
}

inline std::vector<TokenId> Greedy(const std::vector<TokenId>& prompt, std::size_t max_tokens) {
  return PredictableBackend({}).Greedy(prompt, max_tokens);
}

inline Result RunOne(Engine* engine, Request request) {
  return engine->Submit(std::move(request), {})->Get();
}

inline Request Drawn(std::vector<TokenId> prompt, int max_tokens, std::uint64_t seed, int n = 1) {
  Request request = GreedyRequest(std::move(prompt), max_tokens);
  request.sampling.temperature = 1.0f;
  request.sampling.seed = seed;
  request.sampling.n = n;
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

/// An engine whose tokens are the bytes of its text.
inline std::unique_ptr<Engine> TextEngine() {
  EngineConfig config = CheckedConfig();
  config.vocabulary = ByteVocabulary(97);
  return std::make_unique<Engine>(std::make_unique<PredictableBackend>(PredictableOptions{}), config);
}

}  // namespace skywork_rt
