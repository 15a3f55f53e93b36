#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "sampling/logit_changes.h"
#include "sampling/ngram_index.h"
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

  /// Changes the row for the next position; `changes`, forgotten before, holds what it was. `may_end_early`: min_tokens
  /// is not kept, because nothing but the end may come.
  void Apply(Span<float> logits, LogitChanges* changes, bool may_end_early = false) const;
  /// Appends a token of the output.
  void Accept(TokenId token);

 private:
  void ApplyBadWords(Span<float> logits, LogitChanges* changes) const;
  void ApplyMinTokens(Span<float> logits, LogitChanges* changes) const;
  void ApplyPenalties(Span<float> logits, LogitChanges* changes) const;
  void ApplyNoRepeatNgram(Span<float> logits, LogitChanges* changes) const;
  void AddToHistory(TokenId token);

  std::shared_ptr<const SamplingParams> params_;
  StopIds stop_ids_;
  bool counts_tokens_ = false;    // a penalty looks at counts_
  bool keeps_history_ = false;    // bad words or n-grams look at history_
  bool bans_ngrams_ = false;      // n-grams, which look at ngrams_
  TokenCounts counts_;            // distinct tokens of prompt and output
  std::vector<TokenId> history_;  // prompt and output
  NgramIndex ngrams_;             // of history_
  std::size_t output_length_ = 0;
};

}  // namespace skywork_rt
