#include "sampling/logits_processor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <random>
#include <vector>

#include "sampling/reference.h"
#include "sampling/rows.h"

namespace skywork_rt {
namespace {

using testing::kInfinity;
using testing::RandomRow;

ModelSpec Model(int vocab_size) {
  ModelSpec model;
  model.vocab_size = vocab_size;
  model.eos_ids = {2, 5};
  return model;
}

std::vector<float> Processed(const SamplingParams& params, const std::vector<TokenId>& prompt,
                             const std::vector<TokenId>& output, std::vector<float> row) {
  LogitsProcessor processor(std::make_shared<const SamplingParams>(params), Model(static_cast<int>(row.size())),
                            prompt);
  for (const TokenId token : output) processor.Accept(token);
  LogitChanges changes;
  processor.Apply(row, &changes);
  return row;
}

TEST(LogitsProcessor, RepetitionPenaltyIsAppliedOnceADistinctTokenOfPromptAndOutput) {
  SamplingParams params;
  params.repetition_penalty = 2.0f;
  EXPECT_EQ(Processed(params, {0, 0, 1}, {3, 3, 3}, {4.0f, -4.0f, 4.0f, 1.0f, -1.0f}),
            (std::vector<float>{2.0f, -8.0f, 4.0f, 0.5f, -1.0f}));
}

TEST(LogitsProcessor, PresenceAndFrequencyLookAtTheOutputOnly) {
  SamplingParams params;
  params.presence_penalty = 0.5f;
  EXPECT_EQ(Processed(params, {0}, {1, 1, 2}, {1.0f, 1.0f, 1.0f}), (std::vector<float>{1.0f, 0.5f, 0.5f}));
  params.presence_penalty = 0.0f;
  params.frequency_penalty = 0.25f;
  EXPECT_EQ(Processed(params, {0}, {1, 1, 2}, {1.0f, 1.0f, 1.0f}), (std::vector<float>{1.0f, 0.5f, 0.75f}));
}

TEST(LogitsProcessor, NoNgramComesTwice) {
  SamplingParams params;
  params.no_repeat_ngram_size = 3;
  // 1 2 3 ... 1 2 -> 3 is out; 2 3 1 2: nothing else follows "1 2".
  EXPECT_EQ(Processed(params, {1, 2, 3}, {1, 2}, {0, 0, 0, 0, 0}), (std::vector<float>{0, 0, 0, -kInfinity, 0}));
  EXPECT_EQ(Processed(params, {1, 2}, {}, {0, 0, 0}), (std::vector<float>{0, 0, 0}));
  params.no_repeat_ngram_size = 1;
  EXPECT_EQ(Processed(params, {1}, {0}, {0, 0, 0}), (std::vector<float>{-kInfinity, -kInfinity, 0}));
}

TEST(LogitsProcessor, BadWordsAreNotCompletedButMayBegin) {
  SamplingParams params;
  params.bad_words_ids = {{4}, {1, 2, 3}, {1, 2, 0, 2}};
  EXPECT_EQ(Processed(params, {1}, {}, {0, 0, 0, 0, 0}), (std::vector<float>{0, 0, 0, 0, -kInfinity}));
  EXPECT_EQ(Processed(params, {1}, {2}, {0, 0, 0, 0, 0}), (std::vector<float>{0, 0, 0, -kInfinity, -kInfinity}));
  EXPECT_EQ(Processed(params, {}, {1, 2, 0}, {0, 0, 0, 0, 0}), (std::vector<float>{0, 0, -kInfinity, 0, -kInfinity}));
}

TEST(LogitsProcessor, NothingThatStopsComesBeforeMinTokens) {
  SamplingParams params;
  params.min_tokens = 2;
  params.stop_token_ids = {7};
  const std::vector<float> row(8, 1.0f);
  const std::vector<float> banned = {1, 1, -kInfinity, 1, 1, -kInfinity, 1, -kInfinity};
  EXPECT_EQ(Processed(params, {0}, {}, row), banned);
  EXPECT_EQ(Processed(params, {0}, {0}, row), banned);
  EXPECT_EQ(Processed(params, {0}, {0, 0}, row), row);
  params.ignore_eos = true;  // eos ids do not end the output, so they may come
  EXPECT_EQ(Processed(params, {0}, {}, row), (std::vector<float>{1, 1, 1, 1, 1, 1, 1, -kInfinity}));
}

TEST(LogitsProcessor, LogitBiasIsAddedAndMayBan) {
  SamplingParams params;
  params.logit_bias = {{1, 2.5f}, {0, -kInfinity}, {1, 1.0f}};
  EXPECT_EQ(Processed(params, {}, {}, {1.0f, 1.0f, 1.0f}), (std::vector<float>{-kInfinity, 4.5f, 1.0f}));
}

SamplingParams RandomParams(std::mt19937* generator, int vocab_size) {
  const auto below = [&](int n) { return static_cast<int>((*generator)() % static_cast<unsigned>(n)); };
  const auto token = [&] { return static_cast<TokenId>(below(vocab_size)); };
  SamplingParams params;
  if (below(2) == 0) params.repetition_penalty = 0.5f + 0.1f * static_cast<float>(below(10));
  if (below(2) == 0) params.presence_penalty = 0.3f * static_cast<float>(below(5) - 2);
  if (below(2) == 0) params.frequency_penalty = 0.3f * static_cast<float>(below(5) - 2);
  if (below(2) == 0) params.no_repeat_ngram_size = below(4);
  for (int i = below(4); i > 0; --i) params.logit_bias.emplace_back(token(), static_cast<float>(below(9) - 4));
  for (int i = below(4); i > 0; --i) {
    params.bad_words_ids.emplace_back();
    for (int j = below(3); j >= 0; --j) params.bad_words_ids.back().push_back(token());
  }
  params.min_tokens = below(6);
  for (int i = below(3); i > 0; --i) params.stop_token_ids.push_back(token());
  params.ignore_eos = below(3) == 0;
  return params;
}

// The reference starts from the whole history each time and works in double precision.
TEST(LogitsProcessor, AgreesWithTheReferenceInEveryCombination) {
  constexpr int kVocab = 12;
  std::mt19937 generator(99);
  for (std::uint32_t round = 0; round < 2000; ++round) {
    const SamplingParams params = RandomParams(&generator, kVocab);
    std::vector<TokenId> prompt(generator() % 12);
    for (TokenId& token : prompt) token = static_cast<TokenId>(generator() % kVocab);
    LogitsProcessor processor(std::make_shared<const SamplingParams>(params), Model(kVocab), prompt);
    std::vector<TokenId> output;
    LogitChanges changes;
    for (int step = 0; step < 8; ++step) {
      std::vector<float> row = RandomRow(kVocab, round * 8 + static_cast<std::uint32_t>(step));
      const std::vector<float> raw = row;
      const testing::Reference expected =
          testing::ReferenceDistribution(raw, params, Model(kVocab).eos_ids, prompt, output);
      processor.Apply(row, &changes);
      double sum = 0.0;
      for (const float x : row) sum += std::exp(static_cast<double>(x));
      if (sum > 0.0) {
        for (std::size_t i = 0; i < row.size(); ++i) {
          ASSERT_NEAR(std::exp(static_cast<double>(row[i])) / sum, expected.probabilities[i], 1e-5)
              << "round " << round;
        }
      }
      changes.Undo(row);
      ASSERT_EQ(row, raw) << "the row must have its old contents again";
      output.push_back(static_cast<TokenId>(generator() % kVocab));
      processor.Accept(output.back());
    }
  }
}

TEST(TokenCounts, CountWhatAMapCounts) {
  TokenCounts counts;
  std::map<TokenId, int> expected;
  std::mt19937 generator(3);
  for (int i = 0; i < 20000; ++i) {
    const auto token = static_cast<TokenId>(generator() % 5000 * 13);
    if (i % 3 == 0) {
      counts.AddPrompt(token);
      expected.emplace(token, 0);
    } else {
      counts.AddOutput(token);
      ++expected[token];
    }
  }
  std::map<TokenId, int> actual;
  for (const TokenCounts::Entry& entry : counts.entries()) actual.emplace(entry.token, entry.in_output);
  EXPECT_EQ(actual, expected);
  EXPECT_EQ(counts.entries().size(), expected.size());
}

}  // namespace
}  // namespace skywork_rt
