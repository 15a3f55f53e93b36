#include "backend/host_cache/dense_cache.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

#include "skywork_rt/error.h"
#include "support/format.h"

namespace skywork_rt::host_cache {
namespace {

/// Branchless, so that it costs a fraction of the copy that follows: an exponent of all ones is infinity or NaN.
bool AllFinite(const float* values, std::size_t count) {
  constexpr std::uint32_t kExponent = 0x7f800000;
  std::uint32_t found = 0;
  for (std::size_t i = 0; i < count; ++i) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &values[i], sizeof bits);
    found |= static_cast<std::uint32_t>((bits & kExponent) == kExponent);
  }
  return found == 0;
}

}  // namespace

std::size_t PositionsFor(std::size_t longest, std::size_t max_positions) {
  constexpr std::size_t kSmallestStep = 64;
  std::size_t step = kSmallestStep;
  while (step * 16 <= longest) step *= 2;
  const std::size_t rounded = (std::max<std::size_t>(longest, 1) + step - 1) / step * step;
  return std::max<std::size_t>(std::min(rounded, max_positions), 1);
}

DenseCache::DenseCache(const ModelSpec& model, int slots, std::size_t max_positions)
    : kv_heads_(static_cast<std::size_t>(model.kv_heads)),
      head_dim_(static_cast<std::size_t>(model.head_dim)),
      max_positions_(max_positions),
      arrays_(2 * static_cast<std::size_t>(model.layers)),
      lengths_(static_cast<std::size_t>(slots)),
      shared_(static_cast<std::size_t>(slots) * static_cast<std::size_t>(slots)) {
  Fit(0);
}

void DenseCache::Fit(std::size_t longest) {
  constexpr std::size_t kShrinkFactor = 2;  // below this it is not worth moving everything
  const std::size_t wanted = PositionsFor(longest, max_positions_);
  if (wanted == positions_ || (wanted < positions_ && wanted * kShrinkFactor > positions_)) return;
  std::vector<Pages> fresh;
  fresh.reserve(arrays_.size());
  for (std::size_t i = 0; i < arrays_.size(); ++i) fresh.emplace_back(array_floats(wanted) * sizeof(float));
  for (std::size_t i = 0; i < arrays_.size(); ++i) {  // nothing throws from here on
    const float* source = arrays_[i].floats();
    float* target = fresh[i].floats();
    for (std::size_t slot = 0; slot < lengths_.size(); ++slot) {
      if (lengths_[slot] == 0) continue;
      for (std::size_t head = slot * kv_heads_; head < (slot + 1) * kv_heads_; ++head) {
        std::memcpy(target + head * wanted * head_dim_, source + head * positions_ * head_dim_,
                    lengths_[slot] * head_dim_ * sizeof(float));
      }
    }
    arrays_[i] = std::move(fresh[i]);
    fresh[i] = Pages();  // at most one array is there twice
  }
  positions_ = wanted;
}

void DenseCache::WriteKeys(int layer, int slot, std::size_t position, std::size_t count, const float* from) {
  Write(2 * static_cast<std::size_t>(layer), slot, position, count, from);
}

void DenseCache::WriteValues(int layer, int slot, std::size_t position, std::size_t count, const float* from) {
  Write(2 * static_cast<std::size_t>(layer) + 1, slot, position, count, from);
}

void DenseCache::Write(std::size_t array, int slot, std::size_t position, std::size_t count, const float* from) {
  if (!AllFinite(from, kv_heads_ * count * head_dim_)) {
    // Stored, it would spoil every later step of whoever gets the slot: a mask times NaN is NaN.
    throw Error(ErrorCode::kBackend, StrCat("layer ", array / 2, " computed ", array % 2 == 0 ? "keys" : "values",
                                            " that are not finite for ", "positions ", position, " to ",
                                            position + count - 1, ": the weights are damaged or overflow"));
  }
  float* target = arrays_[array].floats() + slot * slot_stride() + position * head_dim_;
  for (std::size_t head = 0; head < kv_heads_; ++head) {
    std::memcpy(target + head * positions_ * head_dim_, from + head * count * head_dim_,
                count * head_dim_ * sizeof(float));
  }
}

void DenseCache::SetLength(int slot, std::size_t length) {
  lengths_[slot] = length;
  for (int other = 0; other < slots(); ++other) {
    SetShared(slot, other, std::min(shared(slot, other), length));
  }
}

void DenseCache::Clear(int slot) {
  SetLength(slot, 0);
  for (Pages& array : arrays_) array.Release(slot * slot_stride() * sizeof(float), slot_stride() * sizeof(float));
}

void DenseCache::Copy(int from, int to, std::size_t length) {
  if (from == to) return;
  CopyRange(from, to, std::min(length, shared(from, to)), length);
  lengths_[to] = length;
  for (int other = 0; other < slots(); ++other) SetShared(to, other, std::min(length, shared(from, other)));
  SetShared(from, to, length);
}

void DenseCache::Swap(int a, int b) {
  if (a == b) return;
  const std::size_t common = shared(a, b);
  const std::size_t end = std::max(length(a), length(b));
  for (Pages& array : arrays_) {
    for (std::size_t head = 0; head < kv_heads_; ++head) {
      float* first = array.floats() + a * slot_stride() + head * positions_ * head_dim_;
      float* second = array.floats() + b * slot_stride() + head * positions_ * head_dim_;
      if (length(b) == 0) {  // a hole: there is nothing to bring back
        std::memcpy(second, first, length(a) * head_dim_ * sizeof(float));
      } else if (length(a) == 0) {
        std::memcpy(first, second, length(b) * head_dim_ * sizeof(float));
      } else {
        std::swap_ranges(first + common * head_dim_, first + end * head_dim_, second + common * head_dim_);
      }
    }
  }
  std::swap(lengths_[a], lengths_[b]);
  for (int other = 0; other < slots(); ++other) {
    if (other == a || other == b) continue;
    const std::size_t of_a = shared(a, other);
    SetShared(a, other, shared(b, other));
    SetShared(b, other, of_a);
  }
  for (int slot : {a, b}) {
    if (length(slot) == 0) Clear(slot);
  }
}

std::size_t DenseCache::CopyCost(int from, int to) const {
  return (length(from) - shared(from, to)) * kv_heads_ * head_dim_ * sizeof(float) * arrays_.size();
}

void DenseCache::CopyRange(int from, int to, std::size_t begin, std::size_t end) {
  for (Pages& array : arrays_) {
    const float* source = array.floats() + from * slot_stride();
    float* target = array.floats() + to * slot_stride();
    for (std::size_t head = 0; head < kv_heads_; ++head) {
      const std::size_t offset = (head * positions_ + begin) * head_dim_;
      std::memcpy(target + offset, source + offset, (end - begin) * head_dim_ * sizeof(float));
    }
  }
}

void DenseCache::SetShared(int a, int b, std::size_t length) {
  if (a == b) return;
  shared_[a * slots() + b] = length;
  shared_[b * slots() + a] = length;
}

}  // namespace skywork_rt::host_cache
