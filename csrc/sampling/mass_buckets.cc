#include "sampling/mass_buckets.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace skywork_rt {
namespace {

constexpr float kLast = static_cast<float>(MassBuckets::kBuckets - 1);

inline std::uint16_t Place(float key, float least, float scale) {
  const float place = (key - least) * scale;
  return static_cast<std::uint16_t>(static_cast<int>(place < kLast ? place : kLast));
}

}  // namespace

void MassBuckets::Build(Span<const float> keys, Span<const float> weights, float least, float most) {
  // Subtraction, multiplication and rounding all keep the order of keys. The reciprocal of a tiny range is infinite.
  least_ = least;
  scale_ = std::min(kLast / (most - least), std::numeric_limits<float>::max());
  bucket_of_.resize(keys.size());
  for (std::size_t i = 0; i < keys.size(); ++i) bucket_of_[i] = Place(keys[i], least, scale_);
  mass_.assign(kBuckets, 0.0);
  for (std::size_t i = 0; i < keys.size(); ++i) mass_[bucket_of_[i]] += static_cast<double>(weights[i]);
  total_ = 0.0;
  for (const double mass : mass_) total_ += mass;
}

std::size_t MassBuckets::BucketOf(float key) const {
  return Place(std::max(key, least_), least_, scale_);
}

double MassBuckets::MassBefore(std::size_t bucket) const {
  return std::accumulate(mass_.begin(), mass_.begin() + static_cast<std::ptrdiff_t>(bucket), 0.0);
}

std::optional<std::size_t> MassBuckets::Find(double wanted, bool strictly, double* before) const {
  double sum = *before;
  for (std::size_t bucket = 0; bucket < kBuckets; ++bucket) {
    const double through = sum + mass_[bucket];
    if (strictly ? through > wanted : through >= wanted) {
      *before = sum;
      return bucket;
    }
    sum = through;
  }
  return std::nullopt;
}

void MassBuckets::Gather(std::size_t bucket, std::vector<std::uint32_t>* items) const {
  constexpr std::size_t kBlock = 64;
  items->clear();
  const auto wanted = static_cast<std::uint16_t>(bucket);
  for (std::size_t begin = 0; begin < bucket_of_.size(); begin += kBlock) {
    const std::size_t end = std::min(begin + kBlock, bucket_of_.size());
    std::uint16_t found = 0;  // whole blocks at once: most have none
    for (std::size_t i = begin; i < end; ++i) found |= static_cast<std::uint16_t>(bucket_of_[i] == wanted);
    if (found == 0) continue;
    for (std::size_t i = begin; i < end; ++i) {
      if (bucket_of_[i] == wanted) items->push_back(static_cast<std::uint32_t>(i));
    }
  }
}

}  // namespace skywork_rt
