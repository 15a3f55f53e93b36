#include "sampling/flat_row.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <vector>

#include "sampling/distribution.h"
#include "sampling/row_kernels.h"
#include "sampling/rows.h"
#include "support/sanitizers.h"

namespace skywork_rt {
namespace {

using testing::kInfinity;
using testing::RandomRow;

// The definition that selection has to equal to the last bit: everything sorted, weights added one by one.
class Sequential {
 public:
  Sequential(const std::vector<float>& row, float temperature) : row_(row), inverse_(1.0f / temperature) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      if (row[i] > -kInfinity) order_.push_back(i);
    }
    std::stable_sort(order_.begin(), order_.end(), [&](std::size_t a, std::size_t b) { return row[a] > row[b]; });
    max_ = row[order_.front()];
    for (const std::size_t i : order_) scores_.push_back((row[i] - max_) * inverse_);
    weights_.resize(scores_.size());
    Rows().weights(scores_.data(), scores_.size(), weights_.data());
    mass_ = Rows().mass(row.data(), row.size(), max_, inverse_);
    end_ = order_.size();
  }

  void TopP(double p) {
    const double wanted = p * mass_;
    double sum = 0.0;
    std::size_t i = begin_;
    while (sum < wanted && i < end_) sum += Weight(i++);
    if (sum >= wanted) Keep(begin_, i, sum);
  }

  void MinP(double p) {
    double sum = 0.0;
    std::size_t i = begin_;
    while (i < end_ && Weight(i) >= p * Weight(begin_)) sum += Weight(i++);
    Keep(begin_, i, sum);
  }

  void Typical(double p) {
    const double mean = Mean();
    std::size_t low = begin_;
    while (low<end_&& static_cast<double>(scores_[low])> mean) ++low;
    std::size_t high = low;
    double sum = 0.0;
    double reach = 0.0;
    while (low > begin_ || high < end_) {
      const double below = low > begin_ ? Distance(low - 1, mean) : HUGE_VAL;
      const double above = high < end_ ? Distance(high, mean) : HUGE_VAL;
      if (sum >= p * mass_ && std::min(below, above) > reach) break;
      reach = std::min(below, above);
      sum += Weight(below <= above ? --low : high++);
    }
    Keep(low, high, sum);
  }

  TokenId Draw(double uniform) const {
    double sum = 0.0;
    std::size_t last = begin_;
    for (std::size_t i = begin_; i < end_ && weights_[i] > 0.0f; ++i) {
      last = i;
      sum += Weight(i);
      if (sum > uniform * mass_) break;
    }
    return static_cast<TokenId>(order_[last]);
  }

  std::vector<TokenId> Kept() const {
    std::vector<TokenId> kept;
    for (std::size_t i = begin_; i < end_; ++i) kept.push_back(static_cast<TokenId>(order_[i]));
    return kept;
  }

 private:
  double Weight(std::size_t i) const { return static_cast<double>(weights_[i]); }
  double Distance(std::size_t i, double mean) const { return std::abs(static_cast<double>(scores_[i]) - mean); }

  double Mean() const {
    if (begin_ == 0 && end_ == order_.size()) {
      return Rows().weighted_score(row_.data(), row_.size(), max_, inverse_) / mass_;
    }
    double weighted = 0.0;
    for (std::size_t i = begin_; i < end_; ++i) weighted += Weight(i) * static_cast<double>(scores_[i]);
    return weighted / mass_;
  }

  void Keep(std::size_t begin, std::size_t end, double mass) {
    begin_ = begin;
    end_ = end;
    mass_ = mass;
  }

  std::vector<float> row_;
  float inverse_;
  float max_ = 0.0f;
  std::vector<std::size_t> order_;
  std::vector<float> scores_;
  std::vector<float> weights_;
  double mass_ = 0.0;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

std::vector<std::vector<float>> LongRows() {
  std::vector<std::vector<float>> rows;
  // A sanitizer looks at two sizes of rows that are selected from; Skywork's vocabulary is the plain build's.
  for (const std::size_t n : {5000, 20000, testing::Size(65519, 4999)}) {
    for (const float spread : {0.0f, 1e-6f, 0.01f, 0.5f, 2.0f, 3.0f, 20.0f}) rows.push_back(RandomRow(n, 5, spread));
    rows.push_back(RandomRow(n, 6, 1.0f, 4.0f));  // ties
    rows.push_back(RandomRow(n, 7, 0.01f));
    for (std::size_t i = 0; i < n; i += 3) rows.back()[i] = -kInfinity;  // bans
    rows.push_back(RandomRow(n, 8, 0.01f));
    rows.back()[17] = 9.0f;  // one likely token and an even rest
    rows.push_back(RandomRow(n, 9, 1e-3f));
    for (std::size_t i = 0; i < n; i += 2) rows.back()[i] -= 20.0f;  // two plateaus, the lower one of no weight
    rows.emplace_back(n, 0.0f);
    for (std::size_t i = 0; i < n; i += 2) rows.back()[i] = -0.0f;  // equal to 0
  }
  return rows;
}

struct Cuts {
  double top_p;
  double min_p;
  double typical_p;
};

constexpr Cuts kCuts[] = {{1.0, 0.0, 1.0}, {0.9, 0.0, 1.0}, {0.5, 0.0, 1.0}, {0.999, 0.0, 1.0}, {1.0, 0.97, 1.0},
                          {0.9, 0.5, 1.0}, {1.0, 0.0, 0.9}, {1.0, 0.0, 0.2}, {0.8, 0.0, 0.7},   {1.0, 0.3, 0.5}};

void Apply(const Cuts& cuts, Distribution* distribution) {
  distribution->KeepTopP(cuts.top_p);
  distribution->KeepMinP(cuts.min_p);
  distribution->KeepTypical(cuts.typical_p);
}

void Apply(const Cuts& cuts, Sequential* sequential) {
  if (cuts.top_p < 1.0) sequential->TopP(cuts.top_p);
  if (cuts.min_p > 0.0) sequential->MinP(cuts.min_p);
  if (cuts.typical_p < 1.0) sequential->Typical(cuts.typical_p);
}

// Long rows of every flatness: what is selected is what sorting and adding one by one gives.
TEST(FlatRow, DrawsAndKeepsWhatASortedRowDoes) {
  Distribution distribution;
  for (const std::vector<float>& row : LongRows()) {
    for (const Cuts& cuts : kCuts) {
      Sequential expected(row, 0.8f);
      Apply(cuts, &expected);
      ASSERT_TRUE(distribution.Reset(row, 0.8f));
      Apply(cuts, &distribution);
      for (double u = 0.0; u < 1.0; u += 0.0417) {
        ASSERT_EQ(distribution.Draw(u), expected.Draw(u)) << row.size() << " tokens, u " << u << ", cuts " << cuts.top_p
                                                          << " " << cuts.min_p << " " << cuts.typical_p;
      }
      std::vector<TokenId> kept;
      for (const Candidate& candidate : distribution.KeptTokens()) kept.push_back(candidate.token);
      ASSERT_EQ(kept, expected.Kept());
    }
  }
}

// Where the order of additions could decide, sorting decides: on real rows that has to be rare to be fast.
TEST(FlatRow, AnswersNearlyEveryQuestionWithoutSorting) {
  const std::vector<float> row = RandomRow(65519, 3, 1.5f);
  FlatRow flat;
  flat.Reset(row, *std::max_element(row.begin(), row.end()), 1.0f);
  const double total = flat.MassFrom(0.0);
  int answered = 0;
  for (int i = 0; i < 2000; ++i) answered += flat.Find(0.0, total * (i + 0.5) / 2000, true).has_value();
  EXPECT_GE(answered, 1995);
}

// Sums of equal weights are whole numbers: exact, so even what falls on a border is decided.
TEST(FlatRow, DecidesBordersWhereAdditionsAreExact) {
  const std::vector<float> row(65536, 1.25f);
  FlatRow flat;
  flat.Reset(row, 1.25f, 1.0f);
  for (const int token : {0, 1, 32768, 65535}) {
    const auto reached = flat.Find(0.0, token + 1.0, false);
    ASSERT_TRUE(reached.has_value());
    EXPECT_EQ(reached->token, token);
    EXPECT_EQ(reached->mass, token + 1.0);
    const auto exceeded = flat.Find(0.0, static_cast<double>(token), true);
    ASSERT_TRUE(exceeded.has_value());
    EXPECT_EQ(exceeded->token, token);
  }
  EXPECT_FALSE(flat.Find(0.0, 65537.0, false).has_value());
}

}  // namespace
}  // namespace skywork_rt
