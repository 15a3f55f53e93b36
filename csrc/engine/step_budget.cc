#include "engine/step_budget.h"

#include <algorithm>

#include "engine/running_estimate.h"

namespace skywork_rt {
namespace {

/// How often `part` fits into `whole`; either may be 0.
std::size_t Times(double whole, double part) {
  constexpr double kMost = 1 << 30;
  if (whole <= 0) return 0;
  return static_cast<std::size_t>(part * kMost <= whole ? kMost : whole / part);
}

}  // namespace

StepBudget::StepBudget(double stretch, std::size_t pass_tokens)
    : stretch_(stretch), pass_tokens_(std::max<std::size_t>(1, pass_tokens)) {}

StepBudget StepBudget::Fixed(std::size_t prompt_tokens) {
  StepBudget budget;
  budget.fixed_ = prompt_tokens;
  return budget;
}

StepBudget StepBudget::For(double stretch, const ModelSpec& model, const Traits& traits) {
  if (stretch == 0 || traits.whole_prompts) return {};  // whole prompts cannot be cut to a time
  if (!traits.bitwise) return Fixed(FixedPromptTokens(model));
  return {stretch, traits.pass_tokens};
}

/// Steps of nearly as many tokens are measured together: 1, 2, 3 and 4, 5 to 8, 9 to 16, ...
std::size_t StepBudget::Class(std::size_t decode_tokens) {
  std::size_t index = 0;
  while ((std::size_t{1} << index) < decode_tokens) ++index;
  return index;
}

double StepBudget::DecodeSeconds(std::size_t decode_tokens) const {
  return decode_seconds_[Class(decode_tokens)].value_or(0);
}

std::size_t StepBudget::PromptTokens(std::size_t decode_tokens) {
  asked_ = Choose(decode_tokens);
  return asked_;
}

std::size_t StepBudget::Choose(std::size_t decode_tokens) const {
  if (stretch_ == 0) return fixed_;
  if (decode_tokens == 0) return Alone();
  const std::optional<double>& seconds = decode_seconds_[Class(decode_tokens)];
  if (!seconds.has_value() || since_measured_ >= kMeasureEvery) return 0;
  return Beside(decode_tokens, *seconds);
}

std::size_t StepBudget::Alone() const {
  if (!alone_.has_value()) return kFirst;
  return Whole(std::max(kLeast, Times(kLongestAlone, *alone_)), 0);
}

std::size_t StepBudget::Beside(std::size_t decode_tokens, double decode_seconds) const {
  const std::size_t stretched = Within(stretch_ * decode_seconds, decode_seconds);
  const std::size_t steady = Within(std::max(kLongest, kSlow * decode_seconds), decode_seconds);
  return Whole(std::max<std::size_t>(1, std::min(stretched, std::max(steady, kLeast))), decode_tokens);
}

/// Prompt tokens of a step of so many seconds, of which those that decode take some.
std::size_t StepBudget::Within(double seconds, double decode_seconds) const {
  if (!beside_.has_value()) return alone_.has_value() ? Times(seconds - decode_seconds, *alone_) : kLeast;
  const std::size_t tokens = Times(seconds - decode_seconds, *beside_);
  // Small steps hide behind the reading of weights, and would promise too much of larger ones.
  const std::size_t grown = Times(seconds * static_cast<double>(last_tokens_), last_seconds_);
  return std::min(tokens, std::max(grown, last_tokens_));
}

/// Rounded down to whole passes, those that decode included, where it is more than one.
std::size_t StepBudget::Whole(std::size_t prompt_tokens, std::size_t decode_tokens) const {
  const std::size_t passes = (prompt_tokens + decode_tokens) / pass_tokens_ * pass_tokens_;
  return passes > decode_tokens ? passes - decode_tokens : prompt_tokens;
}

void StepBudget::Learn(std::size_t decode_tokens, std::size_t prompt_tokens, double seconds) {
  const bool full = prompt_tokens >= asked_;  // the end of a prompt says little about long chunks
  if (prompt_tokens == 0) {
    Follow(&decode_seconds_[Class(decode_tokens)], seconds);
    since_measured_ = 0;
  } else if (decode_tokens == 0) {
    const double each = seconds / static_cast<double>(prompt_tokens);
    if (full || each < alone_.value_or(each + 1)) Follow(&alone_, each);
  } else {
    ++since_measured_;
    if (!full && last_tokens_ != 0 && seconds <= last_seconds_) return;
    Follow(&beside_, std::max(0.0, seconds - DecodeSeconds(decode_tokens)) / static_cast<double>(prompt_tokens));
    last_tokens_ = prompt_tokens;
    last_seconds_ = seconds;
  }
}

std::size_t FixedPromptTokens(const ModelSpec& model) {
  constexpr std::size_t kMultiplyAdds = std::size_t{1} << 34;
  constexpr std::size_t kStep = 16;
  const auto hidden = static_cast<std::size_t>(model.hidden_size);
  const auto head_dim = static_cast<std::size_t>(model.head_dim);
  const std::size_t attention = 2 * hidden * head_dim * static_cast<std::size_t>(model.heads + model.kv_heads);
  const std::size_t feed_forward = 3 * hidden * static_cast<std::size_t>(model.intermediate_size);
  const std::size_t token = static_cast<std::size_t>(model.layers) * (attention + feed_forward);
  return std::max(kStep, kMultiplyAdds / std::max<std::size_t>(1, token) / kStep * kStep);
}

}  // namespace skywork_rt
