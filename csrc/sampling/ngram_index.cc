#include "sampling/ngram_index.h"

#include <algorithm>

namespace skywork_rt {
namespace {

constexpr std::uint64_t kBase = 0x9E3779B97F4A7C15u;  // odd, so that no factor of it is lost modulo 2^64
constexpr std::size_t kLeastSlots = 64;

std::uint64_t Power(std::uint64_t base, std::size_t exponent) {
  std::uint64_t power = 1;
  for (; exponent > 0; exponent /= 2, base *= base) {
    if (exponent % 2 == 1) power *= base;
  }
  return power;
}

std::uint64_t ValueOf(TokenId token) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(token)) + 1;
}

// The upper bits depend on all lower ones.
std::uint32_t Fold(std::uint64_t polynomial) {
  return static_cast<std::uint32_t>(polynomial * kBase >> 32);
}

}  // namespace

NgramIndex::NgramIndex(std::size_t size) : known_(size - 1), leaves_(Power(kBase, known_)) {}

template <typename Same>
std::size_t NgramIndex::Probe(const Slots& slots, std::uint32_t hash, Same same) {
  const std::size_t mask = slots.size() - 1;
  std::size_t slot = hash & mask;
  while (slots[slot] >= 0 && !same(slots[slot])) slot = (slot + 1) & mask;
  return slot;
}

bool NgramIndex::BeginsLike(const Entry& entry, Span<const TokenId> sequence, std::size_t begin) const {
  const TokenId* const first = sequence.data() + begin;
  return std::equal(first, first + known_, sequence.data() + entry.last - known_);
}

void NgramIndex::Add(Span<const TokenId> sequence) {
  const std::size_t last = sequence.size() - 1;
  if (last >= known_) Insert(sequence);
  window_ = window_ * kBase + ValueOf(sequence[last]);
  if (last >= known_) window_ -= ValueOf(sequence[last - known_]) * leaves_;
}

void NgramIndex::Insert(Span<const TokenId> sequence) {
  if (2 * (entries_.size() + 1) > ngrams_.size()) Grow();
  const std::size_t last = sequence.size() - 1;
  const std::uint32_t begin_hash = Fold(window_);
  const std::uint32_t hash = Fold(window_ * kBase + ValueOf(sequence[last]));
  const std::size_t place = Probe(ngrams_, hash, [&](std::int32_t i) {
    const Entry& other = entries_[static_cast<std::size_t>(i)];
    return other.hash == hash && sequence[other.last] == sequence[last] && BeginsLike(other, sequence, last - known_);
  });
  if (ngrams_[place] >= 0) return;
  const std::size_t beginning = Probe(newest_, begin_hash, [&](std::int32_t i) {
    const Entry& other = entries_[static_cast<std::size_t>(i)];
    return other.begin_hash == begin_hash && BeginsLike(other, sequence, last - known_);
  });
  const auto index = static_cast<std::int32_t>(entries_.size());
  entries_.push_back({static_cast<std::uint32_t>(last), newest_[beginning], begin_hash, hash});
  ngrams_[place] = index;
  newest_[beginning] = index;
}

std::int32_t NgramIndex::NewestBehind(Span<const TokenId> sequence) const {
  if (entries_.empty()) return -1;  // so the sequence has n tokens at least
  const std::uint32_t hash = Fold(window_);
  return newest_[Probe(newest_, hash, [&](std::int32_t i) {
    const Entry& entry = entries_[static_cast<std::size_t>(i)];
    return entry.begin_hash == hash && BeginsLike(entry, sequence, sequence.size() - known_);
  })];
}

void NgramIndex::Grow() {
  const std::size_t size = std::max(kLeastSlots, 2 * ngrams_.size());
  Slots ngrams(size, -1);
  Slots newest(size, -1);
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    const Entry& entry = entries_[i];
    const auto index = static_cast<std::int32_t>(i);
    ngrams[Probe(ngrams, entry.hash, [](std::int32_t) { return false; })] = index;
    newest[Probe(newest, entry.begin_hash, [&](std::int32_t other) { return other == entry.before; })] = index;
  }
  ngrams_.swap(ngrams);
  newest_.swap(newest);
}

}  // namespace skywork_rt
