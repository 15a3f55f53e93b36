#pragma once

#include <cstddef>
#include <vector>

#include "sampling/candidates.h"
#include "skywork_rt/model_spec.h"
#include "skywork_rt/span.h"

namespace skywork_rt {

/// The softmax of one row at a temperature, cut down step by step and drawn from. The kept tokens are always one
/// contiguous part of the order of descending logit (ascending id among equals), so nothing is sorted deeper than the
/// question needs, and no cut ever looks at fewer tokens than it should.
///
/// Weights are exp((logit - max) / temperature) in float32, their sums double. Each member works on what the ones
/// before it kept.
class Distribution {
 public:
  /// Starts on a row, which must stay unchanged meanwhile. `temperature` > 0. Throws kBackend on NaN or +inf.
  /// False when every logit is -inf: there is nothing to draw from.
  bool Reset(Span<const float> logits, float temperature);

  /// Keeps the k best and those that equal the k-th.
  void KeepTopK(std::size_t k);
  /// Keeps the fewest of the best whose probability reaches `p`, in (0, 1] (Holtzman et al. 2019, arXiv:1904.09751).
  void KeepTopP(double p);
  /// Keeps those at least `p` times as likely as the likeliest, p in [0, 1] (Nguyen et al. 2024, arXiv:2407.01082).
  void KeepMinP(double p);
  /// Keeps the fewest whose probability reaches `p`, in (0, 1], of those whose surprise is nearest to the entropy, and
  /// the ones equally near to it as the last (Meister et al. 2022, arXiv:2202.00666).
  void KeepTypical(double p);

  /// The first token in the order at which the running sum of weights exceeds `uniform`, in [0, 1), times their sum.
  TokenId Draw(double uniform);

  /// The kept tokens in order, and the probability of each; sorts as far as needed.
  std::vector<Candidate> KeptTokens();
  std::vector<double> KeptProbabilities();

 private:
  /// Makes rank i available; false past the end. `missing`: the weight that the caller still looks for, so that a flat
  /// row is not sorted in many small steps.
  bool Has(std::size_t i, double missing = 0.0);
  void Extend();
  double Mass();
  double MeanScore();
  void Cut(std::size_t begin, std::size_t end, double mass);

  Candidates candidates_;
  Span<const float> logits_;
  float inverse_temperature_ = 1.0f;
  std::size_t begin_ = 0;      // first kept rank
  std::size_t end_ = 0;        // one past the last kept rank; the row's size while nothing has cut it
  bool whole_ = true;          // nothing has been cut yet
  double mass_ = -1.0;         // sum of the kept weights; negative: not summed yet
  std::vector<float> scores_;  // (logit - max) / temperature of every sorted rank
  std::vector<float> weights_;
};

}  // namespace skywork_rt
