#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "skywork_rt/model_spec.h"
#include "skywork_rt/span.h"

namespace skywork_rt {

/// A token and its logit.
struct Candidate {
  float logit;
  TokenId token;
};

/// The tokens of one row in the order of descending logit, ascending id among equals, sorted only as far as they are
/// asked for: a lower bound of the k-th best is taken from the maxima of small groups, the few logits that reach it are
/// collected and sorted. Past a sixteenth of the row it is all of it or nothing.
///
/// Keeps its memory between rows. Tokens whose logit is -inf are never candidates.
class Candidates {
 public:
  /// Starts on a row, which must stay unchanged while it is being asked. Throws kBackend, naming the token, when a
  /// logit is NaN or +inf.
  void Reset(Span<const float> logits);
  /// The largest logit; -inf in a row of nothing else.
  float max() const { return max_; }
  /// Sorts at least the `count` best (fewer when the row has fewer) and all that equal the last of them.
  void Require(std::size_t count);
  /// Sorts more: eight times as many, and `at_least` in all. False, and nothing done, when everything is sorted already
  /// or a large part of a long row would have to be.
  bool Grow(std::size_t at_least = 0);
  /// Sorts the whole row, by radix.
  void SortAll();
  /// Whether everything is sorted.
  bool complete() const { return complete_; }
  /// What is sorted so far. Invalidated by the members above.
  const std::vector<Candidate>& sorted() const { return sorted_; }

 private:
  bool SortBest(std::size_t count);
  bool SortFew();
  float LowerBound(std::size_t count);
  bool SortFrom(float least, bool many);
  void CollectBlock(std::size_t group, float least, bool many);
  void TakeKeys();

  Span<const float> logits_;
  float max_ = 0.0f;
  bool complete_ = false;
  std::vector<float> group_max_;
  std::vector<float> merged_max_;
  std::vector<Candidate> sorted_;
  std::vector<std::uint64_t> keys_;
  std::vector<std::uint64_t> key_scratch_;
};

}  // namespace skywork_rt
