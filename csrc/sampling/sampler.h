#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "sampling/logits_processor.h"
#include "sampling/sampling_scratch.h"
#include "sampling/stop_ids.h"
#include "skywork_rt/export.h"
#include "skywork_rt/generator.h"
#include "skywork_rt/model_spec.h"
#include "skywork_rt/sampling.h"
#include "skywork_rt/span.h"

namespace skywork_rt {

/// What one call of Sampler::Sample chose.
struct Choice {
  TokenId token = 0;
  /// The chosen token, then the SamplingParams::logprobs best ones and its logprob_token_ids; empty when none were
  /// asked for. A view into the scratch that holds until its next use.
  Span<const TokenLogprob> logprobs;
};

/// Chooses the tokens of one sample: applies the processors of SamplingParams in their documented order and draws.
///
/// The draw is a pure function of (logits, parameters, history, seed, sample, position): it does not depend on the
/// thread count, on the instruction set, or on what else is in the batch. With u the uniform number of
/// (seed, sample, position) from Philox4x32-10, the token is the first one, in the order of descending logit and
/// ascending id among equals, at which the running sum of weights exp((logit - max) / temperature), kept in double
/// precision, exceeds u times the sum of the kept weights. The position is the number of tokens accepted before.
///
/// Holds what the sample has to remember and no more: parameters, counts and history where processors look at them.
/// After the first calls nothing is allocated, except where the history outgrows its reserve.
class SKYWORK_RT_API Sampler {
 public:
  /// `params` have passed Validate; `params` and `model` are copied from. `sample` is the index among
  /// SamplingParams::n; `prompt` is what penalties, n-grams and bad words look back on.
  Sampler(const SamplingParams& params, const ModelSpec& model, std::uint64_t seed, int sample,
          Span<const TokenId> prompt);

  /// The same state (history, parameters) for another sample index: for n samples that share one prefill.
  Sampler Fork(int sample) const;

  /// Chooses the next token from one row of vocab_size raw logits. The row is written to and has its old contents again
  /// on return, so n samples can draw from one row, one after the other. Changes nothing of the sampler, so different
  /// threads may choose at once, each with a row and scratch of its own. `allowed`: one bit a
  /// token (LogitsMask::Allowed); empty: every token. Log-probabilities are those of the raw logits, with a mask too.
  /// Throws kBackend (a logit is NaN or +inf, or all are -inf), kInvalidArgument (wrong row size, or the request's
  /// own bans or the mask leave no token).
  Choice Sample(Span<float> logits, SamplingScratch* scratch, Span<const std::uint32_t> allowed = {}) const;

  /// Appends a token to the history; the next Sample is for the position after it.
  void Accept(TokenId token);

  /// Tokens accepted so far.
  std::size_t position() const { return position_; }
  /// Whether `token` ends the sequence.
  bool IsStop(TokenId token) const { return stop_ids_.Contains(token); }

 private:
  TokenId ChooseFrom(Span<float> row, Span<const std::uint32_t> allowed, SamplingScratch* scratch) const;
  std::optional<TokenId> Draw(Span<const float> logits, Distribution* distribution) const;
  static Error Blame(const Error& error, Span<const float> untouched);

  std::shared_ptr<const SamplingParams> params_;  // shared with the forks
  std::uint64_t seed_;
  std::uint32_t sample_;
  std::size_t position_ = 0;
  std::size_t vocab_size_;
  StopIds stop_ids_;
  LogitsProcessor processor_;
};

}  // namespace skywork_rt
