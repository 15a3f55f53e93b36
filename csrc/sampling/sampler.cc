#include "sampling/sampler.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <vector>

#include "sampling/philox.h"
#include "sampling/row_checks.h"
#include "sampling/row_kernels.h"
#include "skywork_rt/error.h"
#include "support/format.h"

namespace skywork_rt {
namespace {

constexpr float kOut = -std::numeric_limits<float>::infinity();

Span<float> Masked(Span<const float> logits, Span<const std::uint32_t> allowed, std::vector<float>* masked) {
  if (allowed.size() * 32 < logits.size()) {
    throw Error(ErrorCode::kInternal,
                StrCat("a mask has ", allowed.size() * 32, " bits for ", logits.size(), " tokens"));
  }
  CheckedMax(logits, nullptr);  // a row that is damaged is refused whatever the mask hides
  masked->resize(logits.size());
  Rows().mask(logits.data(), allowed.data(), logits.size(), masked->data());
  return Span<float>(*masked);
}

/// Whether a mask leaves nothing but ids that end the output.
bool AllowsOnlyEnds(Span<const std::uint32_t> allowed, std::size_t vocab_size, const StopIds& stop_ids) {
  for (std::size_t i = 0; i < vocab_size; ++i) {
    if (allowed[i / 32] == 0) {
      i |= 31U;  // the rest of this word
    } else if ((allowed[i / 32] >> (i % 32) & 1U) != 0 && !stop_ids.Contains(static_cast<TokenId>(i))) {
      return false;
    }
  }
  return true;
}

/// nullopt when every logit is -inf, as of Sampler::Draw.
std::optional<TokenId> Best(Span<const float> logits) {
  const float max = CheckedMax(logits, nullptr);
  if (max == kOut) return std::nullopt;
  return static_cast<TokenId>(Rows().find(logits.data(), logits.size(), max));
}

}  // namespace

Sampler::Sampler(const SamplingParams& params, const ModelSpec& model, std::uint64_t seed, int sample,
                 Span<const TokenId> prompt)
    : params_(std::make_shared<const SamplingParams>(params)),
      seed_(seed),
      sample_(static_cast<std::uint32_t>(sample)),
      vocab_size_(static_cast<std::size_t>(model.vocab_size)),
      stop_ids_(params, model),
      processor_(params_, model, prompt) {}

Sampler Sampler::Fork(int sample) const {
  Sampler copy(*this);
  copy.sample_ = static_cast<std::uint32_t>(sample);
  return copy;
}

Choice Sampler::Sample(Span<float> logits, SamplingScratch* scratch, Span<const std::uint32_t> allowed) const {
  if (logits.size() != vocab_size_) {
    throw Error(ErrorCode::kInvalidArgument,
                StrCat("a row has ", logits.size(), " logits, but the vocabulary has ", vocab_size_, " tokens"));
  }
  Span<float> row = logits;
  scratch->changes.Forget();
  try {
    Choice choice;
    if (!allowed.empty()) row = Masked(logits, allowed, &scratch->masked);
    choice.token = ChooseFrom(row, allowed, scratch);
    scratch->changes.Undo(row);
    if (params_->reports_logprobs()) {
      scratch->ranker.Rank(logits, choice.token, params_->logprobs.value_or(0), &scratch->logprobs,
                           Span<const TokenId>(params_->logprob_token_ids));
      choice.logprobs = scratch->logprobs;
    }
    return choice;
  } catch (const Error& error) {
    const bool changed = !scratch->changes.empty();
    scratch->changes.Undo(row);
    const Error cause = changed ? Blame(error, row) : error;
    throw Error(cause.code(), StrCat("output position ", position_, " of sample ", sample_, ": ", cause.what()));
  }
}

// `allowed`: the mask that has hidden some of the row, if there is one. The changes of the row are left for the caller
// to undo.
TokenId Sampler::ChooseFrom(Span<float> row, Span<const std::uint32_t> allowed, SamplingScratch* scratch) const {
  const bool masked = !allowed.empty();
  const bool early = masked && position_ < static_cast<std::size_t>(params_->min_tokens);
  const bool may_end_early = early && AllowsOnlyEnds(allowed, vocab_size_, stop_ids_);
  processor_.Apply(row, &scratch->changes, may_end_early);
  const std::optional<TokenId> token = params_->temperature == 0.0f ? Best(row) : Draw(row, &scratch->distribution);
  if (token.has_value()) return *token;
  if (scratch->changes.empty() && !masked) {
    throw Error(ErrorCode::kBackend, StrCat("all ", vocab_size_, " logits are -inf: no token can follow"));
  }
  throw Error(
      ErrorCode::kInvalidArgument,
      StrCat("no token of ", vocab_size_,
             " is left to choose: relax logit_bias, bad_words_ids, min_tokens, no_repeat_ngram_size or the mask"));
}

// A row that is sound without the request's own changes was damaged by them.
Error Sampler::Blame(const Error& error, Span<const float> untouched) {
  if (error.code() != ErrorCode::kBackend) return error;
  try {
    CheckedMax(untouched, nullptr);
    return BlameParameters(error);
  } catch (const Error& backends) {
    return backends;
  }
}

void Sampler::Accept(TokenId token) {
  ++position_;
  processor_.Accept(token);
}

std::optional<TokenId> Sampler::Draw(Span<const float> logits, Distribution* distribution) const {
  if (!distribution->Reset(logits, params_->temperature)) return std::nullopt;
  distribution->Keep(*params_);
  return distribution->Draw(UniformAt(seed_, sample_, position_));
}

}  // namespace skywork_rt
