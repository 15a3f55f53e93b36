#include "sampling/sampler.h"

#include <limits>

#include "sampling/philox.h"
#include "sampling/row_checks.h"
#include "sampling/row_kernels.h"
#include "skywork_rt/error.h"
#include "support/format.h"

namespace skywork_rt {

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

Choice Sampler::Sample(Span<float> logits, Span<const std::uint32_t> allowed) {
  if (logits.size() != vocab_size_) {
    throw Error(ErrorCode::kInvalidArgument,
                StrCat("a row has ", logits.size(), " logits, but the vocabulary has ", vocab_size_, " tokens"));
  }
  Span<float> row = logits;
  try {
    Choice choice;
    if (!allowed.empty()) row = Masked(logits, allowed);
    processor_.Apply(row);
    choice.token = params_->temperature == 0.0f ? Best(row) : Draw(row);
    processor_.Undo(row);
    if (params_->logprobs) {
      ranker_.Rank(logits, choice.token, *params_->logprobs, &logprobs_);
      choice.logprobs = logprobs_;
    }
    return choice;
  } catch (const Error& error) {
    const bool changed = processor_.changed();
    processor_.Undo(row);
    const Error cause = changed ? Blame(error, row) : error;
    throw Error(cause.code(), StrCat("output position ", position_, " of sample ", sample_, ": ", cause.what()));
  }
}

Span<float> Sampler::Masked(Span<const float> logits, Span<const std::uint32_t> allowed) {
  if (allowed.size() * 32 < logits.size()) {
    throw Error(ErrorCode::kInternal,
                StrCat("a mask has ", allowed.size() * 32, " bits for ", logits.size(), " tokens"));
  }
  CheckedMax(logits, nullptr);  // a row that is damaged is refused whatever the mask hides
  masked_.resize(logits.size());
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const bool in = (allowed[i / 32] >> (i % 32) & 1U) != 0;
    masked_[i] = in ? logits[i] : -std::numeric_limits<float>::infinity();
  }
  return Span<float>(masked_);
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

TokenId Sampler::Best(Span<const float> logits) const {
  const float max = CheckedMax(logits, nullptr);
  if (max == -std::numeric_limits<float>::infinity()) ThrowNothingLeft();
  return static_cast<TokenId>(Rows().find(logits.data(), logits.size(), max));
}

TokenId Sampler::Draw(Span<const float> logits) {
  if (!distribution_.Reset(logits, params_->temperature)) ThrowNothingLeft();
  distribution_.Keep(*params_);
  return distribution_.Draw(UniformAt(seed_, sample_, position_));
}

void Sampler::ThrowNothingLeft() const {
  if (!processor_.changed() && masked_.empty()) {
    throw Error(ErrorCode::kBackend, StrCat("all ", vocab_size_, " logits are -inf: no token can follow"));
  }
  throw Error(
      ErrorCode::kInvalidArgument,
      StrCat("no token of ", vocab_size_,
             " is left to choose: relax logit_bias, bad_words_ids, min_tokens, no_repeat_ngram_size or the mask"));
}

}  // namespace skywork_rt
