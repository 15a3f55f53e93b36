#include "sampling/candidates.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <limits>

#include "sampling/row_checks.h"
#include "sampling/row_kernels.h"

namespace skywork_rt {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
// Groups for each wanted candidate. With eight, the k-th largest group maximum lets pass about 7 % more than k logits
// in random order, with two 39 %.
constexpr std::size_t kGroupsPerCandidate = 8;
constexpr std::size_t kLeastGroupsPerCandidate = 2;
constexpr std::size_t kManyCandidates = 1024;  // from here a radix sort is the faster one
constexpr std::size_t kFirstGrowth = 64;
constexpr std::size_t kGrowthFactor = 8;
constexpr std::size_t kShortRow = 4096;    // may always be sorted
constexpr std::size_t kFewestLeftOut = 8;  // of a longer one at most an eighth is

// Ascending keys are descending logits, then ascending ids.
std::uint64_t SortKey(float logit, std::size_t token) {
  const float positive_zero = logit + 0.0f;  // -0 equals 0
  std::uint32_t bits;
  std::memcpy(&bits, &positive_zero, sizeof(bits));
  const std::uint32_t descending = (bits & 0x80000000u) != 0 ? bits : ~(bits | 0x80000000u);
  return (std::uint64_t{descending} << 32) | static_cast<std::uint32_t>(token);
}

float LogitOf(std::uint64_t key) {
  const auto descending = static_cast<std::uint32_t>(key >> 32);
  const std::uint32_t bits = (descending & 0x80000000u) != 0 ? descending : ~descending & 0x7FFFFFFFu;
  float logit;
  std::memcpy(&logit, &bits, sizeof(logit));
  return logit;
}

// Sorts by the upper 32 bits and keeps the order of equals: three passes of 11, 11 and 10 bits.
void RadixSort(std::vector<std::uint64_t>* keys, std::vector<std::uint64_t>* scratch) {
  constexpr std::array<int, 3> kShifts = {32, 43, 54};
  constexpr std::size_t kBuckets = 2048;
  std::array<std::array<std::uint32_t, kBuckets>, 3> counts = {};
  for (const std::uint64_t key : *keys) {
    for (std::size_t pass = 0; pass < 3; ++pass) ++counts[pass][(key >> kShifts[pass]) % kBuckets];
  }
  scratch->resize(keys->size());
  for (std::size_t pass = 0; pass < 3; ++pass) {
    std::uint32_t position = 0;
    for (std::uint32_t& count : counts[pass]) {
      const std::uint32_t size = count;
      count = position;
      position += size;
    }
    for (const std::uint64_t key : *keys) (*scratch)[counts[pass][(key >> kShifts[pass]) % kBuckets]++] = key;
    keys->swap(*scratch);
  }
}

}  // namespace

void Candidates::Reset(Span<const float> logits) {
  logits_ = logits;
  group_max_.resize(RowKernels::GroupCount(logits.size()));
  max_ = CheckedMax(logits, group_max_.data());
  sorted_.clear();
  complete_ = false;
}

void Candidates::Require(std::size_t count) {
  if (complete_ || count == 0 || count <= sorted_.size()) return;
  if (!SortBest(count)) SortAll();
}

bool Candidates::Grow(std::size_t at_least) {
  if (complete_) return false;
  const std::size_t before = sorted_.size();
  return SortBest(std::max({kFirstGrowth, before * kGrowthFactor, at_least})) && sorted_.size() > before;
}

bool Candidates::SortBest(std::size_t count) {
  if (count > group_max_.size() / kLeastGroupsPerCandidate) return SortFew();
  const float least = LowerBound(count);
  return least == -kInfinity ? SortFew() : SortFrom(least, count >= kManyCandidates);
}

// Sorts everything where that is little: in a short row, or where most tokens are banned.
bool Candidates::SortFew() {
  if (logits_.size() > kShortRow) {
    std::uint32_t possible = 0;
    for (const float logit : logits_) possible += logit > -kInfinity ? 1 : 0;
    if (possible > logits_.size() / kFewestLeftOut) return false;
  }
  SortAll();
  return true;
}

// At least `count` logits reach the count-th largest maximum of any disjoint groups. Few and large groups are the
// cheaper ones to select from; groups that do not fill a round of merging are left out.
float Candidates::LowerBound(std::size_t count) {
  const std::size_t merged = std::min(count * kGroupsPerCandidate, group_max_.size());
  merged_max_.assign(group_max_.begin(), group_max_.begin() + static_cast<std::ptrdiff_t>(merged));
  for (std::size_t start = merged; start + merged <= group_max_.size(); start += merged) {
    for (std::size_t i = 0; i < merged; ++i) {
      const float other = group_max_[start + i];
      merged_max_[i] = merged_max_[i] < other ? other : merged_max_[i];
    }
  }
  const auto kth = merged_max_.begin() + static_cast<std::ptrdiff_t>(count - 1);
  std::nth_element(merged_max_.begin(), kth, merged_max_.end(), std::greater<>());
  return *kth;
}

bool Candidates::SortFrom(float least, bool many) {
  keys_.clear();
  for (std::size_t group = 0; group < group_max_.size(); group += RowKernels::kLanes) {
    CollectBlock(group, least, many);
    // Where the best sit close together, their bound lets too many pass.
    if (keys_.size() > logits_.size() / kFewestLeftOut) return SortFew();
  }
  if (many) {
    RadixSort(&keys_, &key_scratch_);
  } else {
    std::sort(keys_.begin(), keys_.end());
  }
  TakeKeys();
  return true;
}

// The logits of one block that reach `least`: lane by lane where few are expected, in order of ids, which the radix
// sort needs, where many are.
void Candidates::CollectBlock(std::size_t group, float least, bool many) {
  const std::size_t begin = group / RowKernels::kLanes * RowKernels::kGroupBlock;
  const std::size_t end = std::min(begin + RowKernels::kGroupBlock, logits_.size());
  if (many) {
    for (std::size_t i = begin; i < end; ++i) {
      if (logits_[i] >= least) keys_.push_back(SortKey(logits_[i], i));
    }
    return;
  }
  for (std::size_t lane = 0; lane < RowKernels::kLanes; ++lane) {
    if (group_max_[group + lane] < least) continue;
    for (std::size_t i = begin + lane; i < end; i += RowKernels::kLanes) {
      if (logits_[i] >= least) keys_.push_back(SortKey(logits_[i], i));
    }
  }
}

void Candidates::SortAll() {
  if (complete_) return;
  keys_.clear();
  keys_.reserve(logits_.size());
  for (std::size_t i = 0; i < logits_.size(); ++i) {
    if (logits_[i] > -kInfinity) keys_.push_back(SortKey(logits_[i], i));
  }
  RadixSort(&keys_, &key_scratch_);
  TakeKeys();
  complete_ = true;
}

void Candidates::TakeKeys() {
  sorted_.resize(keys_.size());
  for (std::size_t i = 0; i < keys_.size(); ++i) {
    sorted_[i] = {LogitOf(keys_[i]), static_cast<TokenId>(static_cast<std::uint32_t>(keys_[i]))};
  }
}

}  // namespace skywork_rt
