#include "sampling/candidates.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "sampling/rows.h"
#include "skywork_rt/error.h"

namespace skywork_rt {
namespace {

using testing::kInfinity;
using testing::kNan;
using testing::RandomRow;

std::vector<TokenId> FullSort(const std::vector<float>& row) {
  std::vector<TokenId> ids(row.size());
  std::iota(ids.begin(), ids.end(), 0);
  const auto at = [&](TokenId id) { return row[static_cast<std::size_t>(id)]; };
  std::stable_sort(ids.begin(), ids.end(), [&](TokenId a, TokenId b) { return at(a) > at(b); });
  while (!ids.empty() && at(ids.back()) == -kInfinity) ids.pop_back();
  return ids;
}

void ExpectPrefix(const Candidates& candidates, const std::vector<float>& row, std::size_t at_least) {
  const std::vector<TokenId> expected = FullSort(row);
  const std::vector<Candidate>& sorted = candidates.sorted();
  ASSERT_GE(sorted.size(), std::min(at_least, expected.size()));
  ASSERT_LE(sorted.size(), expected.size());
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    ASSERT_EQ(sorted[i].token, expected[i]) << "rank " << i;
    ASSERT_EQ(sorted[i].logit, row[static_cast<std::size_t>(expected[i])]);
  }
  if (!sorted.empty() && sorted.size() < expected.size()) {
    ASSERT_NE(row[static_cast<std::size_t>(expected[sorted.size()])], sorted.back().logit) << "a tie is cut";
  }
}

std::vector<std::vector<float>> Rows() {
  std::vector<std::vector<float>> rows;
  for (const std::size_t n : {1, 2, 17, 100, 256, 257, 1000, 5000, 65519}) {
    rows.push_back(RandomRow(n, static_cast<std::uint32_t>(n)));
    rows.push_back(RandomRow(n, 7, 1.0f, 4.0f));  // ties
    rows.emplace_back(n, -2.5f);                  // one tie
    rows.push_back(RandomRow(n, 8));
    for (std::size_t i = 0; i < n; i += 3) rows.back()[i] = -kInfinity;
    rows.push_back(RandomRow(n, 10));
    std::sort(rows.back().begin(), rows.back().end());  // all the best in one block
    rows.emplace_back(n, 0.0f);
    for (std::size_t i = 0; i < n; i += 2) rows.back()[i] = -0.0f;  // equal to 0
    rows.emplace_back(n, -kInfinity);
    rows.back()[n / 2] = 1.0f;  // one possible token
  }
  return rows;
}

TEST(Candidates, AreThePrefixOfAFullSortWithTiesWhole) {
  Candidates candidates;  // one object for all rows: nothing of an old row may show
  for (const std::vector<float>& row : Rows()) {
    for (const std::size_t count : {1, 2, 8, 50, 64, 500, 512, 513, 5000, 100000}) {
      candidates.Reset(row);
      candidates.Require(count);
      ExpectPrefix(candidates, row, count);
    }
  }
}

TEST(Candidates, GrowUntilMuchOfTheRowWouldHaveToBeSorted) {
  Candidates candidates;
  for (const std::vector<float>& row : Rows()) {
    candidates.Reset(row);
    std::size_t size = 0;
    while (candidates.Grow()) {
      ASSERT_GT(candidates.sorted().size(), size);
      size = candidates.sorted().size();
      ExpectPrefix(candidates, row, size);
    }
    EXPECT_EQ(candidates.complete(), candidates.sorted().size() == FullSort(row).size());
    EXPECT_TRUE(candidates.complete() || row.size() > 4096);
    EXPECT_LE(candidates.sorted().size(), std::max<std::size_t>(4096, row.size() / 8));
    candidates.SortAll();
    ExpectPrefix(candidates, row, row.size());
    EXPECT_FALSE(candidates.Grow());
    EXPECT_EQ(candidates.max(), *std::max_element(row.begin(), row.end()));
  }
}

TEST(Candidates, AreNoneWhereEveryLogitIsMinusInfinity) {
  const std::vector<float> row(1000, -kInfinity);
  Candidates candidates;
  candidates.Reset(row);
  candidates.Require(5);
  EXPECT_TRUE(candidates.sorted().empty());
  EXPECT_FALSE(candidates.Grow());
  EXPECT_EQ(candidates.max(), -kInfinity);
}

TEST(Candidates, RefuseNanAndInfinityByToken) {
  for (const float bad : {kNan, kInfinity}) {
    std::vector<float> row(700, 0.5f);
    row[613] = bad;
    Candidates candidates;
    try {
      candidates.Reset(row);
      FAIL() << "accepted " << bad;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kBackend);
      EXPECT_NE(std::string(error.what()).find("token 613"), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace skywork_rt
