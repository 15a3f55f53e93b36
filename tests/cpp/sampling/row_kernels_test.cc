#include "sampling/row_kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "sampling/rows.h"

namespace skywork_rt {
namespace {

using testing::kInfinity;
using testing::kNan;
using testing::RandomRow;

std::vector<const RowKernels*> All() {
  std::vector<const RowKernels*> all;
  for (const RowKernels* const* rows = AllRowKernels(); *rows != nullptr; ++rows) all.push_back(*rows);
  return all;
}

std::vector<std::size_t> Sizes() {
  std::vector<std::size_t> sizes;
  for (std::size_t n = 1; n <= 70; ++n) sizes.push_back(n);
  sizes.insert(sizes.end(), {127, 128, 129, 255, 256, 257, 300, 511, 512, 513, 1000, 49152, 65519});
  return sizes;
}

TEST(RowKernels, ScanFindsTheMaximumAndTheMaximaOfItsGroups) {
  for (const RowKernels* rows : All()) {
    for (const std::size_t n : Sizes()) {
      const std::vector<float> x = RandomRow(n, static_cast<std::uint32_t>(n));
      std::vector<float> groups(RowKernels::GroupCount(n));
      const RowKernels::Scan scan = rows->scan(x.data(), n, groups.data());
      EXPECT_EQ(scan.max, *std::max_element(x.begin(), x.end())) << rows->name << " " << n;
      EXPECT_FALSE(scan.has_nan);
      EXPECT_EQ(rows->scan(x.data(), n, nullptr).max, scan.max);
      std::vector<float> expected(groups.size(), -kInfinity);
      for (std::size_t i = 0; i < n; ++i) {
        float& max = expected[i / 128 * 16 + i % 16];
        max = std::max(max, x[i]);
      }
      ASSERT_EQ(groups, expected) << rows->name << " " << n;
    }
  }
}

TEST(RowKernels, ScanSeesANanAnywhere) {
  for (const RowKernels* rows : All()) {
    for (const std::size_t n : {1, 2, 15, 16, 17, 33, 257, 300}) {
      for (std::size_t i = 0; i < n; ++i) {
        std::vector<float> x = RandomRow(n, 1);
        x[i] = kNan;
        ASSERT_TRUE(rows->scan(x.data(), n, nullptr).has_nan) << rows->name << " " << i << " of " << n;
      }
    }
    const std::vector<float> infinite = {-kInfinity, kInfinity, 0.0f};
    EXPECT_FALSE(rows->scan(infinite.data(), 3, nullptr).has_nan);
    EXPECT_EQ(rows->scan(infinite.data(), 3, nullptr).max, kInfinity);
  }
}

TEST(RowKernels, FindReturnsTheFirstOfEquals) {
  for (const RowKernels* rows : All()) {
    for (const std::size_t n : Sizes()) {
      std::vector<float> x(n, 0.0f);
      EXPECT_EQ(rows->find(x.data(), n, 1.0f), n);
      for (const std::size_t at : {std::size_t{0}, n / 3, n / 2, n - 1}) {
        std::fill(x.begin(), x.end(), 0.0f);
        for (std::size_t i = at; i < n; i += 5) x[i] = 1.0f;
        ASSERT_EQ(rows->find(x.data(), n, 1.0f), at) << rows->name << " " << n;
      }
    }
  }
}

TEST(RowKernels, CountBeforeRanksByValueThenIndex) {
  for (const RowKernels* rows : All()) {
    for (const std::size_t n : {1, 7, 16, 40, 300, 1000}) {
      const std::vector<float> x = RandomRow(n, 9, 1.0f, 4.0f);
      for (std::size_t index = 0; index < n; index += 1 + n / 50) {
        std::size_t expected = 0;
        for (std::size_t i = 0; i < n; ++i) expected += x[i] > x[index] || (x[i] == x[index] && i < index);
        ASSERT_EQ(rows->count_before(x.data(), n, index), expected) << rows->name << " " << n;
      }
    }
  }
}

TEST(RowKernels, WeightsAreExponentialsToTheLastPlace) {
  std::vector<float> scores;
  for (float score = 0.0f; score > -86.9f; score -= 0.00131f) scores.push_back(score);
  std::vector<float> weights(scores.size());
  for (const RowKernels* rows : All()) {
    rows->weights(scores.data(), scores.size(), weights.data());
    for (std::size_t i = 0; i < scores.size(); ++i) {
      const double exact = std::exp(static_cast<double>(scores[i]));
      ASSERT_NEAR(static_cast<double>(weights[i]), exact, 1.2e-7 * exact) << rows->name << " " << scores[i];
    }
    const std::vector<float> far = {-87.5f, -1e30f, -kInfinity, -0.0f, 0.0f};
    std::vector<float> out(far.size());
    rows->weights(far.data(), far.size(), out.data());
    EXPECT_EQ(out, (std::vector<float>{0.0f, 0.0f, 0.0f, 1.0f, 1.0f}));
  }
}

TEST(RowKernels, SumsAgreeWithDoublePrecision) {
  for (const RowKernels* rows : All()) {
    for (const std::size_t n : Sizes()) {
      std::vector<float> x = RandomRow(n, 5);
      if (n > 2) x[n / 2] = -kInfinity;
      const float max = *std::max_element(x.begin(), x.end());
      double sum = 0.0;
      double weighted = 0.0;
      for (const float v : x) {
        const double score = static_cast<double>((v - max) * 1.25f);
        sum += std::exp(score);
        if (v > -kInfinity) weighted += std::exp(score) * score;
      }
      ASSERT_NEAR(rows->mass(x.data(), n, max, 1.25f), sum, 1e-6 * sum) << rows->name << " " << n;
      ASSERT_NEAR(rows->weighted_score(x.data(), n, max, 1.25f), weighted, -1e-6 * weighted + 1e-12);
    }
  }
}

TEST(RowKernels, MaskHidesWhatIsNotAllowed) {
  std::mt19937 random(5);
  for (const RowKernels* rows : All()) {
    for (const std::size_t n : Sizes()) {
      const std::vector<float> x = RandomRow(n, static_cast<std::uint32_t>(n));
      std::vector<std::uint32_t> allowed((n + 31) / 32);
      for (std::uint32_t& word : allowed) word = static_cast<std::uint32_t>(random());
      allowed[allowed.size() / 2] = 0xFFFFFFFFU;
      allowed[allowed.size() / 3] = 0;
      std::vector<float> expected(n, -kInfinity);
      for (std::size_t i = 0; i < n; ++i) {
        if ((allowed[i / 32] >> (i % 32) & 1U) != 0) expected[i] = x[i];
      }
      std::vector<float> masked(n, kNan);
      rows->mask(x.data(), allowed.data(), n, masked.data());
      ASSERT_EQ(masked, expected) << rows->name << " " << n;
    }
  }
}

// Seeded results must not depend on the machine.
TEST(RowKernels, AllInstructionSetsGiveTheSameBits) {
  const RowKernels& plain = *All().front();
  for (const RowKernels* rows : All()) {
    for (const std::size_t n : Sizes()) {
      const std::vector<float> x = RandomRow(n, 11, 4.0f);
      const float max = *std::max_element(x.begin(), x.end());
      for (const float inverse_temperature : {0.3f, 1.0f, 1.25f, 7.7f, 1e30f}) {
        ASSERT_EQ(rows->mass(x.data(), n, max, inverse_temperature), plain.mass(x.data(), n, max, inverse_temperature));
        ASSERT_EQ(rows->weighted_score(x.data(), n, max, inverse_temperature),
                  plain.weighted_score(x.data(), n, max, inverse_temperature));
      }
      std::vector<float> scores(n);
      for (std::size_t i = 0; i < n; ++i) scores[i] = x[i] - max;
      std::vector<float> expected(n);
      std::vector<float> weights(n);
      plain.weights(scores.data(), n, expected.data());
      rows->weights(scores.data(), n, weights.data());
      ASSERT_EQ(weights, expected) << rows->name << " " << n;
    }
  }
}

}  // namespace
}  // namespace skywork_rt
