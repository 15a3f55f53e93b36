#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "skywork_rt/span.h"

namespace skywork_rt {

/// Weighted items in equally wide buckets of their keys. An item with a smaller key is never in a later bucket, so the
/// item at which a running sum of weights, in ascending order of keys, passes a value is found without sorting: its
/// bucket first, then the same again among the few items of that bucket.
///
/// Keeps its memory between uses.
class MassBuckets {
 public:
  static constexpr std::size_t kBuckets = 2048;

  /// keys, weights: [n]; the weights are not negative. Keys above `most` share the last bucket; least <= every key.
  void Build(Span<const float> keys, Span<const float> weights, float least, float most);
  /// The first bucket at whose end the running sum, which starts at *before, reaches `wanted` (`strictly`: exceeds it).
  /// Adds the weight of the buckets before it to *before. nullopt when the sum of all does not.
  std::optional<std::size_t> Find(double wanted, bool strictly, double* before) const;
  /// The indices of a bucket's items, ascending.
  void Gather(std::size_t bucket, std::vector<std::uint32_t>* items) const;
  /// Where an item with this key would be.
  std::size_t BucketOf(float key) const;
  /// The weight of all buckets before `bucket`.
  double MassBefore(std::size_t bucket) const;
  /// The sum of all weights.
  double total() const { return total_; }

 private:
  float least_ = 0.0f;
  float scale_ = 0.0f;
  std::vector<std::uint16_t> bucket_of_;
  std::vector<double> mass_;
  double total_ = 0.0;
};

}  // namespace skywork_rt
