#include "sampling/distribution.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "sampling/reference.h"
#include "sampling/rows.h"
#include "skywork_rt/error.h"

namespace skywork_rt {
namespace {

using testing::kInfinity;
using testing::RandomRow;
using testing::Reference;
using testing::ReferenceDistribution;

void Cut(Distribution* distribution, const SamplingParams& params) {
  distribution->KeepTopK(params.top_k > 0 ? static_cast<std::size_t>(params.top_k) : 0);
  distribution->KeepTopP(static_cast<double>(params.top_p));
  distribution->KeepMinP(static_cast<double>(params.min_p));
  distribution->KeepTypical(static_cast<double>(params.typical_p));
}

// Compares kept tokens and probabilities with the reference; false when the reference calls it too close.
bool Compare(Distribution* distribution, const std::vector<float>& row, const SamplingParams& params) {
  const Reference reference = ReferenceDistribution(row, params, {}, {}, {});
  if (reference.close_call) return false;
  EXPECT_TRUE(distribution->Reset(row, params.temperature));
  Cut(distribution, params);
  const std::vector<Candidate> kept = distribution->KeptTokens();
  const std::vector<double> probabilities = distribution->KeptProbabilities();
  std::set<std::size_t> expected;
  for (std::size_t i = 0; i < row.size(); ++i) {
    if (reference.probabilities[i] > 0.0) expected.insert(i);
  }
  std::set<std::size_t> tokens;
  for (std::size_t i = 0; i < kept.size(); ++i) {
    const auto token = static_cast<std::size_t>(kept[i].token);
    // Tokens past float32's exponents weigh nothing here and next to nothing there.
    if (reference.probabilities[token] > 0.0 || probabilities[i] > 0.0) tokens.insert(token);
    EXPECT_NEAR(probabilities[i], reference.probabilities[token], 2e-5 * reference.probabilities[token] + 1e-37);
  }
  EXPECT_EQ(tokens, expected);
  return true;
}

struct NamedParams {
  const char* name;
  SamplingParams params;
};

std::vector<NamedParams> Variants() {
  std::vector<NamedParams> all;
  const auto add = [&](const char* name, auto&& change) {
    SamplingParams params;
    change(&params);
    all.push_back({name, params});
  };
  for (const float temperature : {0.1f, 0.8f, 1.0f, 3.0f}) {
    add("temperature", [&](SamplingParams* p) { p->temperature = temperature; });
  }
  for (const int k : {1, 2, 7, 50, 1000}) add("top_k", [&](SamplingParams* p) { p->top_k = k; });
  for (const float top_p : {1e-4f, 0.1f, 0.5f, 0.9f, 0.99f, 0.9999f}) {
    add("top_p", [&](SamplingParams* p) { p->top_p = top_p; });
  }
  for (const float min_p : {0.001f, 0.05f, 0.3f, 0.97f, 1.0f})
    add("min_p", [&](SamplingParams* p) { p->min_p = min_p; });
  for (const float typical_p : {0.05f, 0.2f, 0.5f, 0.9f, 0.99f}) {
    add("typical_p", [&](SamplingParams* p) { p->typical_p = typical_p; });
  }
  return all;
}

TEST(Distribution, EachCutKeepsWhatTheReferenceKeeps) {
  Distribution distribution;
  int compared = 0;
  int close = 0;
  for (const NamedParams& variant : Variants()) {
    SCOPED_TRACE(variant.name);
    for (const std::size_t n : {1, 2, 40, 300, 3000}) {
      for (const float spread : {0.1f, 1.0f, 6.0f}) {
        for (const float steps : {0.0f, 4.0f}) {
          ++(Compare(&distribution, RandomRow(n, 21, spread, steps), variant.params) ? compared : close);
        }
      }
    }
    ASSERT_FALSE(HasFailure());
  }
  EXPECT_GT(compared, 20 * close) << close << " of " << compared + close << " were too close to call";
}

TEST(Distribution, CutsComposeInTheDocumentedOrder) {
  Distribution distribution;
  std::mt19937 generator(4);
  const auto pick = [&](std::initializer_list<float> values) {
    return *(values.begin() + generator() % values.size());
  };
  int compared = 0;
  for (std::uint32_t round = 0; round < 600; ++round) {
    SamplingParams params;
    params.temperature = pick({0.3f, 0.7f, 1.0f, 1.6f});
    params.top_k = static_cast<int>(pick({0, 3, 20, 200}));
    params.top_p = pick({0.3f, 0.8f, 0.95f, 1.0f});
    params.min_p = pick({0.0f, 0.02f, 0.2f});
    params.typical_p = pick({0.3f, 0.8f, 1.0f});
    const std::vector<float> row =
        RandomRow(200 + generator() % 900, round, pick({0.5f, 2.0f, 5.0f}), pick({0.0f, 3.0f}));
    compared += Compare(&distribution, row, params);
    ASSERT_FALSE(HasFailure()) << "round " << round;
  }
  EXPECT_GT(compared, 540);
}

// The recipe that this replaces looks at the best 200 tokens only.
TEST(Distribution, TopPOnAFlatRowReachesItsMassAtFullVocabulary) {
  const std::vector<float> row = RandomRow(65519, 17, 0.01f);
  SamplingParams params;
  params.top_p = 0.9f;
  Distribution distribution;
  EXPECT_TRUE(Compare(&distribution, row, params));
  distribution.Reset(row, 1.0f);
  distribution.KeepTopP(0.9);
  EXPECT_GT(distribution.KeptTokens().size(), 58000u);
}

TEST(Distribution, DrawsTheFirstTokenWhoseRunningSumExceedsTheUniformNumber) {
  Distribution distribution;
  for (const std::size_t n : {1, 10, 1000, 30000}) {
    for (const float spread : {0.1f, 4.0f}) {
      const std::vector<float> row = RandomRow(n, 77, spread);
      for (const float top_p : {0.7f, 1.0f}) {
        for (double u = 0.0; u < 1.0; u += 0.0831) {
          distribution.Reset(row, 0.9f);
          distribution.KeepTopP(static_cast<double>(top_p));
          const TokenId drawn = distribution.Draw(u);
          const std::vector<Candidate> kept = distribution.KeptTokens();
          const std::vector<double> probabilities = distribution.KeptProbabilities();
          double sum = 0.0;
          std::size_t i = 0;
          while (kept[i].token != drawn) sum += probabilities[i++];
          EXPECT_LE(sum, u + 1e-6);
          EXPECT_GT(sum + probabilities[i], u - 1e-6);
        }
      }
    }
  }
}

TEST(Distribution, NeverDrawsWhatWeighsNothing) {
  std::vector<float> row(500, -kInfinity);
  row[3] = 1.0f;
  row[200] = 1.0f;
  row[400] = -300.0f;
  Distribution distribution;
  const double largest = 1.0 - 0x1p-53;
  for (const double u : {0.0, 0.499999, 0.5, 0.75, largest}) {
    ASSERT_TRUE(distribution.Reset(row, 1.0f));
    EXPECT_EQ(distribution.Draw(u), u < 0.5 ? 3 : 200);
  }
  EXPECT_FALSE(distribution.Reset(std::vector<float>(4, -kInfinity), 1.0f));
}

TEST(Distribution, TheSmallestTemperaturesTakeTheBest) {
  const std::vector<float> row = RandomRow(3000, 5);
  const auto best = static_cast<TokenId>(std::max_element(row.begin(), row.end()) - row.begin());
  Distribution distribution;
  for (const float temperature :
       {1e-3f, 1e-20f, std::numeric_limits<float>::min(), std::numeric_limits<float>::denorm_min()}) {
    ASSERT_TRUE(distribution.Reset(row, temperature));
    EXPECT_EQ(distribution.Draw(0.999), best) << temperature;
  }
}

}  // namespace
}  // namespace skywork_rt
