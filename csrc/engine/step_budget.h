#pragma once

#include <array>
#include <cstddef>
#include <limits>
#include <optional>

#include "backend/backend.h"
#include "skywork_rt/model_spec.h"

namespace skywork_rt {

/// How many prompt tokens the next step may read, so that sequences which decode are not held up: chosen by what steps
/// were measured to take. It has no clock of its own.
///
/// A step of n prompt tokens beside rows that decode takes about what the decode step takes alone and n times the cost
/// of a token, and, beyond a size that was measured, at most in proportion: reading the weights is shared by all
/// tokens. Tokens cost more as their context grows, and machines are used by others; so all of it is measured again
/// with every step.
class StepBudget {
 public:
  static constexpr std::size_t kUnbounded = std::numeric_limits<std::size_t>::max();

  /// No bound.
  StepBudget() = default;
  /// A step that reads prompts beside rows that decode takes at most `stretch` (at least 1) times as long as one that
  /// only decodes, and at most kLongest, or kSlow times as long where that is more; a single token is always read.
  /// `pass_tokens`: Traits::pass_tokens.
  StepBudget(double stretch, std::size_t pass_tokens);
  /// The same number always, for backends whose results depend on how a prompt is cut: runs must repeat.
  static StepBudget Fixed(std::size_t prompt_tokens);

  /// What fits the engine's options and its backend: `stretch` 0 is no bound.
  static StepBudget For(double stretch, const ModelSpec& model, const Traits& traits);

  /// Most prompt tokens of the next step, which computes `decode_tokens` of rows that decode. 0 now and then while rows
  /// decode: a step without prompts is what others are measured by.
  std::size_t PromptTokens(std::size_t decode_tokens);

  /// The step that was asked for was computed. It may have read fewer prompt tokens: no more were there.
  void Learn(std::size_t decode_tokens, std::size_t prompt_tokens, double seconds);

  /// Seconds of a step that only decodes so many tokens; 0: not known.
  double DecodeSeconds(std::size_t decode_tokens) const;

  /// Seconds that a step beside rows that decode may take: a reader of the stream waits for less than a second, also
  /// where a step takes somewhat longer than the last ones let expect.
  static constexpr double kLongest = 0.7;
  /// What a step that is long without prompts is stretched to at most, in multiples of it.
  static constexpr double kSlow = 1.5;
  /// Seconds of a step while nothing decodes. Chunks of that length lose no speed, and whoever comes with a higher
  /// priority is not kept waiting for longer.
  static constexpr double kLongestAlone = 2.0;

 private:
  static constexpr std::size_t kLeast = 4;          // prompt tokens, where only kLongest is in the way
  static constexpr std::size_t kFirst = 32;         // of the very first step, whose time nobody knows
  static constexpr std::size_t kMeasureEvery = 16;  // steps with prompts, then one without

  static std::size_t Class(std::size_t decode_tokens);
  std::size_t Choose(std::size_t decode_tokens) const;
  std::size_t Alone() const;
  std::size_t Beside(std::size_t decode_tokens, double decode_seconds) const;
  std::size_t Within(double seconds, double decode_seconds) const;
  std::size_t Whole(std::size_t prompt_tokens, std::size_t decode_tokens) const;

  double stretch_ = 0;  // 0: `fixed_` counts
  std::size_t fixed_ = kUnbounded;
  std::size_t pass_tokens_ = 1;

  // Running estimates; empty: not measured yet.
  std::array<std::optional<double>, 64> decode_seconds_;  // of steps without prompts, by Class
  std::optional<double> alone_;                           // a prompt token, while nothing decodes
  std::optional<double> beside_;                          // a prompt token, beside rows that decode and cost their own
  std::size_t last_tokens_ = 0;                           // of the last step that read all it might beside rows
  double last_seconds_ = 0;
  std::size_t asked_ = 0;           // of the last question
  std::size_t since_measured_ = 0;  // steps of that kind since the last one without
};

/// Prompt tokens a step on a backend whose results depend on the chunks: as many as take some 2^34 multiply-adds, from
/// the model's shape alone.
std::size_t FixedPromptTokens(const ModelSpec& model);

}  // namespace skywork_rt
