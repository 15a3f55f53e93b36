#pragma once

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "sampling/stop_ids.h"
#include "sampling/token_counts.h"
#include "skywork_rt/model_spec.h"
#include "skywork_rt/sampling.h"
#include "skywork_rt/span.h"

namespace skywork_rt {

/// The processors that change single logits, in the documented order: logit_bias, bad words, min_tokens; repetition,
/// presence and frequency penalties, no_repeat_ngram. Holds the history that they look back on. Every one touches
/// only the tokens that it concerns, never the whole row.
class LogitsProcessor {
 public:
  LogitsProcessor() = default;
  LogitsProcessor(std::shared_ptr<const SamplingParams> params, const ModelSpec& model, Span<const TokenId> prompt);

  /// Changes the row for the next position and remembers the old values.
  void Apply(Span<float> logits);
  /// Puts the values back that the last Apply replaced.
  void Undo(Span<float> logits);
  /// Whether the last Apply changed anything.
  bool changed() const { return !undo_.empty(); }
  /// Appends a token of the output.
  void Accept(TokenId token);

 private:
  void Set(Span<float> logits, TokenId token, float value);
  void ApplyBadWords(Span<float> logits);
  void ApplyMinTokens(Span<float> logits);
  void ApplyPenalties(Span<float> logits);
  void ApplyNoRepeatNgram(Span<float> logits);

  std::shared_ptr<const SamplingParams> params_;
  StopIds stop_ids_;
  bool counts_tokens_ = false;    // a penalty looks at counts_
  bool keeps_history_ = false;    // bad words or n-grams look at history_
  TokenCounts counts_;            // distinct tokens of prompt and output
  std::vector<TokenId> history_;  // prompt and output
  std::size_t output_length_ = 0;
  std::vector<std::pair<TokenId, float>> undo_;
};

}  // namespace skywork_rt
