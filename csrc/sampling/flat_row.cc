#include "sampling/flat_row.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "sampling/row_kernels.h"

namespace skywork_rt {
namespace {

constexpr std::size_t kFew = 256;        // from here on sorting is cheaper than another round of buckets
constexpr float kLargestScore = 87.0f;   // farther from the maximum a token weighs nothing (RowKernels::mass)
constexpr double kFloatBits = 0x1p-24;   // of the least significant bit of a float32 in [0.5, 1)
constexpr double kDoubleBits = 0x1p-53;  // the same of a double
// Sums and maxima in lanes, because one addition has to wait for the one before it. `value(i)` for each i below n;
// it had better have no branches, which nobody can predict here.
constexpr std::size_t kLanes = 8;

template <typename Value>
double SumOf(std::size_t n, Value value) {
  std::array<double, kLanes> lanes = {};
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) lanes[lane] += value(i + lane);
  }
  for (; i < n; ++i) lanes[0] += value(i);
  return std::accumulate(lanes.begin(), lanes.end(), 0.0);
}

template <typename Value>
float MaxOf(std::size_t n, Value value) {
  std::array<float, kLanes> lanes = {};
  const auto add = [&](std::size_t lane, float x) { lanes[lane] = lanes[lane] < x ? x : lanes[lane]; };
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) add(lane, value(i + lane));
  }
  for (; i < n; ++i) add(0, value(i));
  return *std::max_element(lanes.begin(), lanes.end());
}

}  // namespace

void FlatRow::Reset(Span<const float> logits, float max, float inverse_temperature) {
  logits_ = logits;
  const std::size_t n = logits.size();
  scores_.resize(n);
  weights_.resize(n);
  keys_.resize(n);
  for (std::size_t i = 0; i < n; ++i) scores_[i] = (logits[i] - max) * inverse_temperature;
  Rows().weights(scores_.data(), n, weights_.data());
  for (std::size_t i = 0; i < n; ++i) keys_[i] = -scores_[i];
  const float farthest = MaxOf(n, [&](std::size_t i) { return keys_[i] <= kLargestScore ? keys_[i] : 0.0f; });
  by_score_.Build(keys_, weights_, 0.0f, farthest);
  NoteAccuracy(farthest);
}

// While every weight, and so every sum, is a multiple of one power of two and the sums stay below 2^53 of it, double
// precision adds without rounding, in any order. Else each of n additions rounds by half a unit of at most the total.
void FlatRow::NoteAccuracy(float farthest) {
  int exponent = 0;
  std::frexp(0.99 * std::exp(-static_cast<double>(farthest)), &exponent);  // 0.99: whatever our own exp rounds to
  const double unit = std::ldexp(kFloatBits, exponent);
  const double total = by_score_.total();
  const bool exact = total / unit < 1.0 / kDoubleBits;
  // A running sum in order and one by buckets, each with its own rounding, and twice that for sums of two such.
  uncertainty_ = exact ? 0.0 : 4.0 * static_cast<double>(weights_.size()) * kDoubleBits * total;
}

// Narrows items_ down to one bucket of theirs. False when their sums do not reach `wanted`, which rounding can do.
template <typename Key>
bool FlatRow::Refine(const Target& target, Key key, double* sum) {
  while (items_.size() > kFew) {
    keys_.resize(items_.size());
    item_weights_.resize(items_.size());
    for (std::size_t i = 0; i < items_.size(); ++i) {
      keys_[i] = key(items_[i]);
      item_weights_[i] = weights_[items_[i]];
    }
    const auto [least, most] = std::minmax_element(keys_.begin(), keys_.end());
    if (*least == *most) return true;
    finer_.Build(keys_, item_weights_, *least, *most);
    const std::optional<std::size_t> bucket = finer_.Find(target.mass, target.strictly, sum);
    if (!bucket.has_value()) return false;
    finer_.Gather(*bucket, &positions_);
    if (positions_.size() == items_.size()) return true;
    for (std::size_t i = 0; i < positions_.size(); ++i) items_[i] = items_[positions_[i]];
    items_.resize(positions_.size());
  }
  return true;
}

// `buckets` hold all tokens by key(token); `order` is the exact one, which no key contradicts.
template <typename Key, typename Order>
std::optional<FlatRow::Place> FlatRow::Search(const MassBuckets& buckets, const Target& target, Key key, Order order) {
  double sum = 0.0;
  const std::optional<std::size_t> bucket = buckets.Find(target.mass, target.strictly, &sum);
  if (!bucket.has_value()) return std::nullopt;
  buckets.Gather(*bucket, &items_);
  if (!Refine(target, key, &sum)) return std::nullopt;
  // Items of one value are in order as they were gathered.
  if (!std::is_sorted(items_.begin(), items_.end(), order)) std::sort(items_.begin(), items_.end(), order);
  for (const std::uint32_t item : items_) {
    const double through = sum + static_cast<double>(weights_[item]);
    if (target.strictly ? through > target.mass : through >= target.mass) {
      const bool maybe_earlier = sum > 0.0 && target.mass - sum < target.uncertainty;
      const bool maybe_later = through - target.mass < target.uncertainty;
      if (maybe_earlier || maybe_later) return std::nullopt;
      return Place{item, through};
    }
    sum = through;
  }
  return std::nullopt;
}

std::optional<FlatRow::Crossing> FlatRow::Find(double before, double wanted, bool strictly) {
  const auto key = [&](std::uint32_t i) { return -scores_[i]; };
  const auto order = [&](std::uint32_t a, std::uint32_t b) {
    return logits_[a] != logits_[b] ? logits_[a] > logits_[b] : a < b;
  };
  // The sum of both is rounded even where no other is.
  const double rounding = before > 0.0 ? 4.0 * kDoubleBits * by_score_.total() : 0.0;
  const Target target = {before + wanted, strictly, std::max(uncertainty_, rounding)};
  const std::optional<Place> place = Search(by_score_, target, key, order);
  if (!place.has_value()) return std::nullopt;
  return Crossing{static_cast<TokenId>(place->item), place->mass - before};
}

double FlatRow::MassFrom(double least) const {
  return SumOf(weights_.size(), [&](std::size_t i) {
    const auto weight = static_cast<double>(weights_[i]);
    return weight * static_cast<double>(weight >= least);
  });
}

// The weight of the tokens, first ones in order, for which `holds`; it ends to hold near the key `end`.
template <typename Holds>
double FlatRow::MassWhile(Holds holds, double end) {
  const std::size_t bucket = by_score_.BucketOf(static_cast<float>(end));
  const std::size_t first = bucket > 0 ? bucket - 1 : 0;  // its neighbours too: `end` was rounded
  double mass = by_score_.MassBefore(first);
  for (std::size_t i = first; i < std::min(bucket + 2, MassBuckets::kBuckets); ++i) {
    by_score_.Gather(i, &items_);
    for (const std::uint32_t item : items_) mass += holds(item) ? static_cast<double>(weights_[item]) : 0.0;
  }
  return mass;
}

std::optional<FlatRow::Band> FlatRow::FindNearest(double mean, double wanted) {
  const auto distance = [&](std::uint32_t i) { return std::abs(static_cast<double>(scores_[i]) - mean); };
  const auto key = [&](std::uint32_t i) { return static_cast<float>(distance(i)); };
  const auto order = [&](std::uint32_t a, std::uint32_t b) { return distance(a) < distance(b); };
  const std::size_t n = scores_.size();
  keys_.resize(n);
  for (std::size_t i = 0; i < n; ++i) keys_[i] = key(static_cast<std::uint32_t>(i));
  const float farthest = MaxOf(n, [&](std::size_t i) { return weights_[i] > 0.0f ? keys_[i] : 0.0f; });
  if (!(farthest > 0.0f)) return std::nullopt;  // one value only: nothing to tell apart
  by_distance_.Build(keys_, weights_, 0.0f, farthest);
  const std::optional<Place> place = Search(by_distance_, Target{wanted, false, uncertainty_}, key, order);
  if (!place.has_value()) return std::nullopt;
  const double reach = distance(place->item);
  const auto above = [&](std::uint32_t i) { return static_cast<double>(scores_[i]) - mean > reach; };
  const auto not_below = [&](std::uint32_t i) { return mean - static_cast<double>(scores_[i]) <= reach; };
  Band band = {0.0, 0.0};
  band.before = MassWhile(above, -(mean + reach));
  band.mass = MassWhile(not_below, -(mean - reach)) - band.before;
  return band;
}

}  // namespace skywork_rt
