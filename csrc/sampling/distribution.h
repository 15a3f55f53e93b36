#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "sampling/candidates.h"
#include "sampling/flat_row.h"
#include "skywork_rt/model_spec.h"
#include "skywork_rt/sampling.h"
#include "skywork_rt/span.h"

namespace skywork_rt {

/// The softmax of one row at a temperature, cut down step by step and drawn from. The kept tokens are always one
/// contiguous part of the order of descending logit (ascending id among equals), so nothing is sorted deeper than the
/// question needs, and no cut ever looks at fewer tokens than it should. Where it would need much of a long row, the
/// question is answered by selection instead (FlatRow), with the same result.
///
/// Weights are exp((logit - max) / temperature) in float32, their sums double. Each member works on what the ones
/// before it kept.
class Distribution {
 public:
  /// Starts on a row, which must stay unchanged meanwhile. `temperature` > 0. Throws kBackend on NaN or +inf.
  /// False when every logit is -inf: there is nothing to draw from.
  bool Reset(Span<const float> logits, float temperature);

  /// All cuts that the parameters ask for, in their documented order.
  void Keep(const SamplingParams& params);
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
  enum class CutKind { kTopK, kTopP, kMinP, kTypical };
  struct PastCut {
    CutKind kind;
    double value;
  };

  void Apply(const PastCut& cut);
  void Record(CutKind kind, double value);
  void ApplyTopK(std::size_t k);
  void ApplyTopP(double p);
  void ApplyMinP(double p);
  void ApplyTypical(double p);
  bool WalkTopP(double wanted);
  bool WalkMinP(double p);
  bool WalkTypical(double mean, double wanted);
  /// nullopt, like false above: the order is not known that far.
  std::optional<TokenId> WalkDraw(double wanted);

  /// Makes rank i available; false past the end and where the row is too flat to go on sorting. `hint()`, asked when
  /// more has to be sorted: how many tokens the caller will want at least, so that it does not take many small steps.
  template <typename Hint>
  bool Has(std::size_t i, Hint hint);
  bool Has(std::size_t i);
  /// No later token weighs more than the last one that is known.
  std::size_t CountToReach(double missing) const;
  std::size_t CountFrom(double score) const;
  /// Whether rank i exists, but Has does not reach it.
  bool TooFar(std::size_t i) const;
  void Extend();
  double Mass();
  double MeanScore();
  void Cut(std::size_t begin, std::size_t end, double mass);
  void BecomeFlat();
  void CutFlat(double before, double mass, double least_weight);
  void SortWhole();

  Candidates candidates_;
  Span<const float> logits_;
  float inverse_temperature_ = 1.0f;
  std::vector<PastCut> cuts_;
  bool whole_ = true;          // nothing has been cut yet
  double mass_ = -1.0;         // sum of the kept weights; negative: not summed yet
  std::size_t begin_ = 0;      // first kept rank
  std::size_t end_ = 0;        // one past the last kept rank; the row's size while nothing has cut it
  std::vector<float> scores_;  // (logit - max) / temperature of every sorted rank
  std::vector<float> weights_;

  // Instead of ranks, once the row has turned out to be flat.
  bool flat_ = false;
  FlatRow flat_row_;
  double before_ = 0.0;        // weight of what lies above the kept tokens; 0: nothing does
  double least_weight_ = 0.0;  // of the kept tokens
};

}  // namespace skywork_rt
