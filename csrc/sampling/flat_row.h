#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "sampling/candidates.h"
#include "sampling/mass_buckets.h"
#include "skywork_rt/model_spec.h"
#include "skywork_rt/span.h"

namespace skywork_rt {

/// A row whose probability lies in so many tokens that following their order means sorting much of it. Answers the
/// questions of Distribution by selection, in time linear in the row.
///
/// The answers are those of adding the weights one by one in double precision in descending order of logits, ascending
/// order of ids among equals: where another order of additions could give another answer, there is none (nullopt), and
/// the caller sorts. For all but about one question in a million on flat rows there is an answer.
class FlatRow {
 public:
  /// `logits` must stay unchanged; `max` is the largest of them.
  void Reset(Span<const float> logits, float max, float inverse_temperature);

  /// The first token, in order, whose running sum of weights reaches `wanted` (`strictly`: exceeds it), and that sum.
  /// The sum begins after tokens that weigh `before` together.
  struct Crossing {
    TokenId token;
    double mass;
  };
  std::optional<Crossing> Find(double before, double wanted, bool strictly);

  /// The sum of the weights that are at least `least`.
  double MassFrom(double least) const;
  float WeightOf(TokenId token) const { return weights_[static_cast<std::size_t>(token)]; }

  /// Of the tokens by distance of their scores from `mean`: those up to and as far as the first whose running sum
  /// reaches `wanted`. They are one part of the order: `mass` is theirs and `before` that of the tokens above them.
  struct Band {
    double mass;
    double before;
  };
  std::optional<Band> FindNearest(double mean, double wanted);

 private:
  struct Target {
    double mass;  // of the running sum
    bool strictly;
    double uncertainty;
  };
  struct Place {
    std::uint32_t item;
    double mass;
  };
  template <typename Key, typename Order>
  std::optional<Place> Search(const MassBuckets& buckets, const Target& target, Key key, Order order);
  template <typename Key>
  bool Refine(const Target& target, Key key, double* sum);
  template <typename Holds>
  double MassWhile(Holds holds, double end);
  void NoteAccuracy(float farthest);

  Span<const float> logits_;
  std::vector<float> scores_;   // (logit - max) / temperature
  std::vector<float> weights_;  // exp(score)
  double uncertainty_ = 0.0;    // bound of what the order of additions changes in any sum; 0: nothing
  MassBuckets by_score_;
  MassBuckets by_distance_;
  MassBuckets finer_;
  std::vector<float> keys_;
  std::vector<float> item_weights_;
  std::vector<std::uint32_t> items_;
  std::vector<std::uint32_t> positions_;
};

}  // namespace skywork_rt
