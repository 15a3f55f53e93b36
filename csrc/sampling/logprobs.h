#pragma once

#include <vector>

#include "sampling/candidates.h"
#include "skywork_rt/generator.h"
#include "skywork_rt/model_spec.h"
#include "skywork_rt/span.h"

namespace skywork_rt {

/// Replaces logits by their log-softmax. Throws kBackend on NaN, +inf, or nothing but -inf.
void LogSoftmax(Span<float> logits);

/// Log-probabilities of tokens under one row of raw logits: the log-softmax, computed from float32 with sums in
/// double precision. Serves sampled tokens, prompt tokens (row i - 1 of a prompt scores token i) and scoring.
class LogprobRanker {
 public:
  /// Replaces `out` by `token`, then the `best` likeliest tokens, likeliest first, then those of `named` that are not
  /// there yet, in their order. Among equal logits the lower id has the lower rank, so rank 1 is what greedy decoding
  /// takes.
  /// `token` and `named` are in range and 0 <= best, cut to the tokens of a row that are not -inf. Throws kBackend when
  /// the row has NaN or +inf, or nothing but -inf.
  void Rank(Span<const float> logits, TokenId token, int best, std::vector<TokenLogprob>* out,
            Span<const TokenId> named = {});

 private:
  Candidates candidates_;
};

}  // namespace skywork_rt
