#include "engine/request_check.h"

#include <algorithm>
#include <chrono>
#include <optional>

#include "engine/cache/block_cache.h"
#include "skywork_rt/error.h"
#include "support/format.h"

namespace skywork_rt {
namespace {

template <typename... Args>
[[noreturn]] void Refuse(ErrorCode code, const Args&... args) {
  throw Error(code, StrCat(args...));
}

void CheckPrompt(const Request& request, const RequestLimits& limits) {
  const std::vector<TokenId>& prompt = request.prompt;
  if (prompt.empty())
    Refuse(ErrorCode::kInvalidArgument, "the prompt is empty: give at least one token, such as the bos id");
  if (prompt.size() > limits.options->max_length) {
    Refuse(ErrorCode::kInvalidArgument, "the prompt has ", prompt.size(), " tokens, but max_length is ",
           limits.options->max_length, ": shorten it, or open the generator with a larger max_length");
  }
  for (std::size_t i = 0; i < prompt.size(); ++i) {
    if (prompt[i] < 0 || prompt[i] >= limits.model->vocab_size) {
      Refuse(ErrorCode::kInvalidArgument, "prompt[", i, "] is ", prompt[i], ", but token ids of this model are 0 to ",
             limits.model->vocab_size - 1);
    }
  }
}

/// Tokens of the cache that a request takes. Rows share the full blocks of their prompt, where blocks are shared.
std::size_t CacheTokens(const Request& request, std::size_t reserve, const RequestLimits& limits) {
  const auto rows = static_cast<std::size_t>(RowsOf(request.sampling));  // as reserve below 2^31
  const std::size_t block = limits.block_tokens;
  if (block == 0 || rows == 1) return rows * reserve;
  return block * BlockCache::BlocksOf(block, request.prompt.size(), reserve, rows);
}

/// Tokens of the cache that requests may take.
std::size_t Capacity(const RequestLimits& limits, int rows) {
  const std::size_t most = limits.options->max_cached_tokens;
  const std::size_t block = limits.block_tokens;
  return block == 0 || rows == 1 ? most : most + (block - most % block) % block;
}

// Tokens of prompt and output that a request, whose prompt is shorter, can have at most.
std::size_t WhatFits(const Request& request, const RequestLimits& limits) {
  const int rows = RowsOf(request.sampling);
  const std::size_t most = Capacity(limits, rows);
  const std::size_t prompt = request.prompt.size();
  const std::size_t shared = limits.block_tokens == 0 ? 0 : prompt / limits.block_tokens * limits.block_tokens;
  if (CacheTokens(request, prompt + 1, limits) > most) return 0;
  std::size_t own = (most - shared) / static_cast<std::size_t>(rows);
  if (limits.block_tokens != 0 && rows > 1) own -= own % limits.block_tokens;
  return std::min(limits.options->max_length, shared + own);
}

std::size_t Reservation(const Request& request, const RequestLimits& limits) {
  const std::size_t prompt = request.prompt.size();
  if (!request.sampling.max_tokens.has_value() || request.clip_max_tokens) {
    if (prompt == limits.options->max_length) {
      Refuse(ErrorCode::kInvalidArgument, "the prompt has ", prompt,
             " tokens, which is all of max_length: nothing is left "
             "for the output");
    }
  }
  if (!request.sampling.max_tokens.has_value()) return limits.options->max_length;
  const auto max_tokens = static_cast<std::size_t>(*request.sampling.max_tokens);
  if (request.clip_max_tokens && prompt < WhatFits(request, limits)) {
    return std::min(prompt + max_tokens, WhatFits(request, limits));
  }
  if (max_tokens > limits.options->max_length - prompt) {
    Refuse(ErrorCode::kInvalidArgument, "prompt + max_tokens is ", prompt, " + ", max_tokens, " = ",
           prompt + max_tokens, " tokens, but max_length is ", limits.options->max_length,
           ": set max_tokens to at most ", limits.options->max_length - prompt, ", or to nothing for what is left");
  }
  return prompt + max_tokens;
}

void CheckAbilities(const Request& request, const RequestLimits& limits) {
  const SamplingParams& params = request.sampling;
  if (!limits.has_vocabulary && !params.stop.empty()) {
    Refuse(ErrorCode::kUnsupported, "stop has ", params.stop.size(),
           " texts, but the bundle has no vocabulary to turn "
           "tokens into text: use stop_token_ids, or export the bundle with its tokenizer");
  }
  if (request.mask != nullptr && params.num_beams > 1) {
    Refuse(ErrorCode::kUnsupported, "the request has a mask and num_beams is ", params.num_beams,
           ": a mask follows samples, not beams; use num_beams = 1");
  }
  if (limits.only_last_logits && params.prompt_logprobs.has_value()) {
    Refuse(ErrorCode::kUnsupported, "prompt_logprobs is ", *params.prompt_logprobs,
           ", but this backend computes the logits of a prompt's last token only (Traits::only_last_logits): score on "
           "another backend, such as native");
  }
  if (!limits.can_fork && RowsOf(params) > 1) {
    Refuse(ErrorCode::kUnsupported, params.num_beams > 1 ? "num_beams is " : "n is ", RowsOf(params),
           ", but this backend cannot fork a sequence (Traits::can_fork): send the prompt several times with n = 1");
  }
}

// Each of them is kept for every token until the request ends: a vocabulary of them a token is gigabytes.
void CheckLogprobs(const SamplingParams& params, int most) {
  const auto check = [most](const char* field, const std::optional<int>& value) {
    if (most < 0 || !value.has_value() || *value <= most) return;
    Refuse(ErrorCode::kInvalidArgument, field, " is ", *value, ", but max_logprobs is ", most,
           ": ask for fewer, or open the generator with a larger max_logprobs (-1: no bound)");
  };
  const std::size_t named = params.logprob_token_ids.size();
  if (most >= 0 && named > static_cast<std::size_t>(most)) {
    Refuse(ErrorCode::kInvalidArgument, "logprob_token_ids has ", named, " ids, but max_logprobs is ", most,
           ": ask for fewer, or open the generator with a larger max_logprobs (-1: no bound)");
  }
  check("logprobs", params.logprobs);
  check("prompt_logprobs", params.prompt_logprobs);
}

void CheckRoom(const Request& request, std::size_t reserve, const RequestLimits& limits) {
  const SamplingParams& params = request.sampling;
  const int rows = RowsOf(params);
  if (rows > limits.options->max_batch) {
    Refuse(ErrorCode::kCapacity, params.num_beams > 1 ? "num_beams is " : "n is ", rows, ", but at most ",
           limits.options->max_batch,
           " sequences run at once: lower it, or open the generator with a larger max_batch");
  }
  const std::size_t tokens = CacheTokens(request, reserve, limits);
  if (tokens > Capacity(limits, rows)) {
    Refuse(ErrorCode::kCapacity, "the request needs room for ", tokens, " cached tokens (", rows, " x ", reserve,
           ", prompt + max_tokens", limits.block_tokens != 0 && rows > 1 ? ", the prompt once" : "",
           "), but max_cached_tokens is ", limits.options->max_cached_tokens,
           ": lower max_tokens, or open the generator with a larger max_cached_tokens");
  }
}

void CheckRest(const Request& request) {
  constexpr std::size_t kLongestSalt = 256;
  if (request.cache_salt.size() > kLongestSalt) {
    Refuse(ErrorCode::kInvalidArgument, "cache_salt has ", request.cache_salt.size(), " bytes, but at most ",
           kLongestSalt, " are possible: give a hash of it");
  }
  if (request.deadline.has_value()) {
    // A bound that keeps the clock's nanoseconds from overflowing: ten years.
    constexpr std::chrono::milliseconds kLongest = std::chrono::hours(24 * 365 * 10);
    if (request.deadline->count() <= 0 || *request.deadline > kLongest) {
      Refuse(ErrorCode::kInvalidArgument, "deadline is ", request.deadline->count(), " ms, but must be in [1, ",
             kLongest.count(), "]");
    }
  }
  if (request.sampling.prompt_logprobs.has_value() && request.prompt_logprobs_from > request.prompt.size()) {
    Refuse(ErrorCode::kInvalidArgument, "prompt_logprobs_from is ", request.prompt_logprobs_from,
           ", but the prompt has ", request.prompt.size(), " tokens");
  }
}

}  // namespace

int RowsOf(const SamplingParams& params) {
  return std::max(params.n, params.num_beams);
}

std::size_t CheckRequest(const Request& request, const RequestLimits& limits) {
  Validate(request.sampling, limits.model->vocab_size);
  CheckLogprobs(request.sampling, limits.options->max_logprobs);
  CheckPrompt(request, limits);
  CheckRest(request);
  CheckAbilities(request, limits);
  const std::size_t reserve = Reservation(request, limits);
  CheckRoom(request, reserve, limits);
  return reserve;
}

}  // namespace skywork_rt
