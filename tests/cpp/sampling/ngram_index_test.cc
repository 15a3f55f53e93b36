#include "sampling/ngram_index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>
#include <set>
#include <vector>

#include "sampling/logits_processor.h"

namespace skywork_rt {
namespace {

/// What would complete an n-gram a second time, found by looking through the whole sequence.
std::set<TokenId> Rescan(const std::vector<TokenId>& sequence, std::size_t size) {
  std::set<TokenId> next;
  const std::size_t known = size - 1;
  if (sequence.size() < size) return next;
  const auto suffix = sequence.end() - static_cast<std::ptrdiff_t>(known);
  for (std::size_t start = 0; start + known < sequence.size(); ++start) {
    if (std::equal(suffix, sequence.end(), sequence.begin() + static_cast<std::ptrdiff_t>(start))) {
      next.insert(sequence[start + known]);
    }
  }
  return next;
}

std::vector<TokenId> Next(const NgramIndex& index, const std::vector<TokenId>& sequence) {
  std::vector<TokenId> next;
  index.ForEachNext(Span<const TokenId>(sequence), [&](TokenId token) { next.push_back(token); });
  return next;
}

TEST(NgramIndex, FindsWhatARescanFindsAndEachOnce) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    const std::size_t size = 1 + random() % 6;
    const std::size_t vocab = 1 + random() % 9;  // few tokens, so that much repeats
    NgramIndex index(size);
    std::vector<TokenId> sequence;
    for (int i = 0; i < 200; ++i) {
      const std::vector<TokenId> next = Next(index, sequence);
      const std::set<TokenId> distinct(next.begin(), next.end());
      ASSERT_EQ(distinct, Rescan(sequence, size)) << "n " << size << ", " << vocab << " tokens, at " << i;
      ASSERT_EQ(next.size(), distinct.size());
      sequence.push_back(static_cast<TokenId>(random() % vocab));
      index.Add(Span<const TokenId>(sequence));
    }
  }
}

TEST(NgramIndex, CopiesGoOnByThemselves) {
  std::mt19937 random(3);
  NgramIndex index(3);
  std::vector<TokenId> sequence;
  const auto grow = [&](NgramIndex* of, std::vector<TokenId>* tokens) {
    tokens->push_back(static_cast<TokenId>(random() % 4));
    of->Add(Span<const TokenId>(*tokens));
  };
  for (int i = 0; i < 100; ++i) grow(&index, &sequence);
  std::vector<NgramIndex> copies(3, index);
  std::vector<std::vector<TokenId>> sequences(3, sequence);
  for (int i = 0; i < 100; ++i) {
    for (std::size_t copy = 0; copy < copies.size(); ++copy) {
      grow(&copies[copy], &sequences[copy]);
      const std::vector<TokenId> next = Next(copies[copy], sequences[copy]);
      ASSERT_EQ(std::set<TokenId>(next.begin(), next.end()), Rescan(sequences[copy], 3));
    }
  }
  const std::vector<TokenId> next = Next(index, sequence);
  EXPECT_EQ(std::set<TokenId>(next.begin(), next.end()), Rescan(sequence, 3));
}

TEST(NgramIndex, TakesAnySizeThatAParameterMayHave) {
  for (const std::size_t size : {std::size_t{5000}, static_cast<std::size_t>(std::numeric_limits<int>::max())}) {
    NgramIndex index(size);
    std::vector<TokenId> sequence;
    for (int i = 0; i < 10001; ++i) {
      sequence.push_back(i % 2);
      index.Add(Span<const TokenId>(sequence));
    }
    EXPECT_EQ(Next(index, sequence).size(), size == 5000 ? 1u : 0u);
  }
}

// What a token costs is what it bans: once for each token, however often the sequence says it.
TEST(NgramIndex, AnNgramThatTheHistoryRepeatsIsBannedOnce) {
  SamplingParams params;
  params.no_repeat_ngram_size = 2;
  const std::vector<TokenId> prompt(10000, 5);
  LogitsProcessor processor(std::make_shared<const SamplingParams>(params), ModelSpec(), Span<const TokenId>(prompt));
  std::vector<float> row(8, 0.0f);
  LogitChanges changes;
  processor.Apply(row, &changes);
  EXPECT_EQ(changes.size(), 1u);
  EXPECT_EQ(row[5], -std::numeric_limits<float>::infinity());
}

}  // namespace
}  // namespace skywork_rt
