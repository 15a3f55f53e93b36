#include "sampling/logprobs.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "sampling/rows.h"
#include "skywork_rt/error.h"

namespace skywork_rt {
namespace {

using testing::kInfinity;
using testing::RandomRow;

double ExactLogSumExp(const std::vector<float>& row) {
  const double max = static_cast<double>(*std::max_element(row.begin(), row.end()));
  double sum = 0.0;
  for (const float x : row) sum += std::exp(static_cast<double>(x) - max);
  return max + std::log(sum);
}

TEST(Logprobs, AreTheLogSoftmaxWithRanks) {
  LogprobRanker ranker;
  std::vector<TokenLogprob> out;
  for (const std::size_t n : {5, 300, 65519}) {
    const std::vector<float> row = RandomRow(n, static_cast<std::uint32_t>(n), 2.0f, n == 300 ? 8.0f : 0.0f);
    const double normalizer = ExactLogSumExp(row);
    std::vector<std::size_t> order(n);
    for (std::size_t i = 0; i < n; ++i) order[i] = i;
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return row[a] > row[b]; });
    for (std::size_t rank = 1; rank <= n; rank += 1 + n / 20) {
      const std::size_t token = order[rank - 1];
      ranker.Rank(row, static_cast<TokenId>(token), 5, &out);
      ASSERT_EQ(out.size(), 6u);
      EXPECT_EQ(out[0].token, static_cast<TokenId>(token));
      EXPECT_EQ(out[0].rank, static_cast<int>(rank));
      EXPECT_NEAR(static_cast<double>(out[0].logprob), static_cast<double>(row[token]) - normalizer, 2e-6);
      for (std::size_t i = 0; i < 5; ++i) {
        EXPECT_EQ(out[i + 1].token, static_cast<TokenId>(order[i]));
        EXPECT_EQ(out[i + 1].rank, static_cast<int>(i) + 1);
        EXPECT_NEAR(static_cast<double>(out[i + 1].logprob), static_cast<double>(row[order[i]]) - normalizer, 2e-6);
      }
    }
  }
}

TEST(Logprobs, OfNoneAreTheChosenAloneAndOfTooManyAllThereAre) {
  LogprobRanker ranker;
  std::vector<TokenLogprob> out;
  const std::vector<float> row = {0.0f, 2.0f, -kInfinity, 1.0f};
  ranker.Rank(row, 3, 0, &out);
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(out[0].rank, 2);
  ranker.Rank(row, 2, 4, &out);
  ASSERT_EQ(out.size(), 4u);  // the chosen one and the three that can be
  EXPECT_EQ(out[0].logprob, -kInfinity);
  EXPECT_EQ(out[0].rank, 4);
}

TEST(Logprobs, OfNamedTokensFollowOnceEachWhateverTheirRank) {
  LogprobRanker ranker;
  std::vector<TokenLogprob> out;
  const std::vector<float> row = RandomRow(65519, 7);
  const double normalizer = ExactLogSumExp(row);
  std::vector<std::size_t> order(row.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return row[a] > row[b]; });
  const auto at = [&](std::size_t rank) { return static_cast<TokenId>(order[rank - 1]); };
  const std::vector<TokenId> named = {at(40000), at(2), at(1), at(40000), at(65519)};
  ranker.Rank(row, at(1), 2, &out, Span<const TokenId>(named));
  std::vector<int> ranks;
  for (const TokenLogprob& entry : out) {
    ranks.push_back(entry.rank);
    EXPECT_EQ(entry.token, at(static_cast<std::size_t>(entry.rank)));
    EXPECT_NEAR(entry.logprob, static_cast<double>(row[static_cast<std::size_t>(entry.token)]) - normalizer, 2e-6);
  }
  EXPECT_EQ(ranks, (std::vector<int>{1, 1, 2, 40000, 65519}));
}

TEST(Logprobs, RefuseRowsWithoutProbabilities) {
  LogprobRanker ranker;
  std::vector<TokenLogprob> out;
  EXPECT_THROW(ranker.Rank(std::vector<float>(8, -kInfinity), 0, 0, &out), Error);
  EXPECT_THROW(ranker.Rank(std::vector<float>(8, testing::kNan), 0, 0, &out), Error);
}

TEST(Logprobs, LogSoftmaxSumsToOne) {
  std::vector<float> row = RandomRow(49152, 3);
  const std::vector<float> before = row;
  const double normalizer = ExactLogSumExp(before);
  LogSoftmax(row);
  double sum = 0.0;
  for (std::size_t i = 0; i < row.size(); ++i) {
    sum += std::exp(static_cast<double>(row[i]));
    ASSERT_NEAR(static_cast<double>(row[i]), static_cast<double>(before[i]) - normalizer, 2e-6);
  }
  EXPECT_NEAR(sum, 1.0, 1e-6);
}

}  // namespace
}  // namespace skywork_rt
