#include "backend/native/kernels/kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "backend/native/half.h"
#include "native/kernel_testing.h"
#include "support/sanitizers.h"

namespace skywork_rt::native {
namespace {

/// By how much an activation of this arithmetic may differ from what was given, in parts of its group's largest.
double Rounding(Arithmetic arithmetic) {
  return arithmetic == Arithmetic::kFixed8 ? 0.501 / 127 : arithmetic == Arithmetic::kFixed24 ? 0x1.02p-23 : 0.0;
}

TEST_P(EverySet, MatmulStaysWithinRoundingOfTheExactProduct) {
  std::mt19937 random(3);
  for (const WeightKind kind : kKinds) {
    for (int trial = 0; trial < skywork_rt::testing::Size(12, 3); ++trial) {  // of each kind: some forty shapes a set
      const int rows = 1 + static_cast<int>(random() % 70);
      const int cols = 1 + static_cast<int>(random() % 300);
      const int tokens = 1 + static_cast<int>(random() % 60);
      const AlignedMatrix m(kind, rows, cols, random);
      const std::vector<float> x = RandomFloats(static_cast<std::size_t>(tokens * cols), random);
      const std::vector<float> bias = RandomFloats(static_cast<std::size_t>(rows), random);
      for (const Arithmetic how : ArithmeticsOf(*kernels_, kind)) {
        const std::vector<float> y =
            Multiply(*kernels_, how, m.shape(), nullptr, x, tokens, bias.data(), Epilogue::kAdd, 0.5f);
        for (int t = 0; t < tokens; ++t) {
          std::vector<double> largest(static_cast<std::size_t>(m.shape().groups));
          for (int c = 0; c < cols; ++c) {
            double& most = largest[static_cast<std::size_t>(c / kGroup)];
            most = std::max(most, std::abs(static_cast<double>(x[static_cast<std::size_t>(t * cols + c)])));
          }
          for (int r = 0; r < rows; ++r) {
            double exact = 0.5 + static_cast<double>(bias[static_cast<std::size_t>(r)]);
            double size = 1.0;
            double rounded = 0.0;
            for (int c = 0; c < cols; ++c) {
              const auto weight = static_cast<double>(m.matrix.weights[static_cast<std::size_t>(r * cols + c)]);
              const double product = weight * static_cast<double>(x[static_cast<std::size_t>(t * cols + c)]);
              exact += product;
              size += std::abs(product);
              rounded += std::abs(weight) * largest[static_cast<std::size_t>(c / kGroup)] * Rounding(how);
            }
            ASSERT_NEAR(static_cast<double>(y[static_cast<std::size_t>(t * rows + r)]), exact, size * 4e-6 + rounded)
                << Name(kind, how) << " rows " << rows << " cols " << cols << " tokens " << tokens;
          }
        }
      }
    }
  }
}

TEST_P(EverySet, EqualsScalarToTheBitOnShapesThatNoBlockDivides) {
  if (kernels_ == &kScalarKernels) GTEST_SKIP() << "the scalar set itself; the others run it on all of these shapes";
  std::mt19937 random(5);
  // The first is Skywork's vocabulary, or as many rows beyond a panel in fewer panels.
  const int shapes[][2] = {
      {skywork_rt::testing::Size(65519, 1039), 40}, {1, 1}, {17, 33}, {31, 576}, {100, 72}, {16, 32}, {259, 131}};
  for (const WeightKind kind : kKinds) {
    for (const auto& [rows, cols] : shapes) {
      const AlignedMatrix m(kind, rows, cols, random);
      const AlignedMatrix g(kind, rows, cols, random);
      for (const int tokens : {1, 2, 3, 29}) {
        if (rows > 1000 && tokens > 2) continue;
        const std::vector<float> x = RandomFloats(static_cast<std::size_t>(tokens * cols), random);
        for (const Arithmetic how : ArithmeticsOf(*kernels_, kind)) {
          const auto run = [&](const Kernels& kernels) {
            return Multiply(kernels, how, m.shape(), &g.shape(), x, tokens, nullptr, Epilogue::kSwiGlu);
          };
          ASSERT_TRUE(SameBits(run(*kernels_), run(kScalarKernels)))
              << Name(kind, how) << " rows " << rows << " cols " << cols << " tokens " << tokens;
        }
      }
    }
  }
}

TEST_P(EverySet, AnOutputDoesNotDependOnTheOtherTokensOfItsCall) {
  std::mt19937 random(7);
  for (const WeightKind kind : kKinds) {
    const AlignedMatrix m(kind, 53, 200, random);
    const std::vector<float> x = RandomFloats(static_cast<std::size_t>(kMostTokens * 200), random);
    for (const Arithmetic how : ArithmeticsOf(*kernels_, kind)) {
      const std::vector<float> all =
          Multiply(*kernels_, how, m.shape(), nullptr, x, kMostTokens, nullptr, Epilogue::kStore);
      // A sanitizer sees every seventh count, which leave all rests of blocks of two, four and eight.
      for (int tokens = 1; tokens < kMostTokens; tokens += skywork_rt::testing::Size(1, 7)) {
        const int skipped = kMostTokens - tokens;
        const std::vector<float> last(x.begin() + skipped * 200, x.end());
        const std::vector<float> part =
            Multiply(*kernels_, how, m.shape(), nullptr, last, tokens, nullptr, Epilogue::kStore);
        ASSERT_EQ(std::memcmp(part.data(), all.data() + skipped * 53, part.size() * sizeof(float)), 0)
            << Name(kind, how) << " tokens " << tokens;
      }
    }
  }
}

TEST_P(EverySet, WhatIsNotFiniteStaysSo) {
  std::mt19937 random(23);
  for (const WeightKind kind : kKinds) {
    const AlignedMatrix m(kind, 17, 100, random);
    for (const float bad : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                            std::numeric_limits<float>::quiet_NaN()}) {
      for (const Arithmetic how : ArithmeticsOf(*kernels_, kind)) {
        std::vector<float> x = RandomFloats(300, random);
        x[142] = bad;  // of the second token
        const std::vector<float> y = Multiply(*kernels_, how, m.shape(), nullptr, x, 3, nullptr, Epilogue::kStore);
        for (int r = 0; r < 17; ++r) {
          EXPECT_TRUE(std::isfinite(y[static_cast<std::size_t>(r)])) << Name(kind, how);
          EXPECT_FALSE(std::isfinite(y[static_cast<std::size_t>(17 + r)])) << Name(kind, how);
          EXPECT_TRUE(std::isfinite(y[static_cast<std::size_t>(34 + r)])) << Name(kind, how);
        }
      }
    }
  }
}

TEST_P(EverySet, SiluIsAccurateFromVeryNegativeToVeryPositive) {
  // One weight of 1 makes the product the input itself: silu(x) * 1 comes out.
  AlignedBytes one(2048 * 1);
  AlignedBytes zero(2048 * 1);
  const float unit = 1.0f;
  std::memset(one.data(), 0, 2048);
  std::memset(zero.data(), 0, 2048);
  std::memcpy(one.data(), &unit, 4);
  PackedMatrix gate = PackedMatrix::Shape(kF32, 1, 1);
  PackedMatrix up = gate;
  gate.data = one.data();
  up.data = zero.data();
  const float bias = 1.0f;  // up × input + bias = 1
  std::vector<float> x;
  for (float v = -120.0f; v < 120.0f; v += 0.37f) x.push_back(v);
  std::vector<float> y;
  for (std::size_t i = 0; i < x.size(); i += kMostTokens) {
    const std::vector<float> part(x.begin() + static_cast<std::ptrdiff_t>(i),
                                  x.begin() + static_cast<std::ptrdiff_t>(std::min(x.size(), i + kMostTokens)));
    const std::vector<float> silu = Multiply(*kernels_, Arithmetic::kFloat32, up, &gate, part,
                                             static_cast<int>(part.size()), &bias, Epilogue::kSwiGlu);
    y.insert(y.end(), silu.begin(), silu.end());
  }
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double exact = static_cast<double>(x[i]) / (1.0 + std::exp(-static_cast<double>(x[i])));
    EXPECT_NEAR(static_cast<double>(y[i]), exact, 3e-7 * std::abs(exact) + 1e-30) << x[i];
  }
}

TEST_P(EverySet, NormAndRotationEqualScalarToTheBit) {
  std::mt19937 random(11);
  for (const int n : {1, 16, 72, 577}) {
    const std::size_t padded = RoundUp(static_cast<std::size_t>(n), 32);
    std::vector<float> x = RandomFloats(padded, random);
    std::vector<float> w = RandomFloats(padded, random);
    for (std::size_t i = static_cast<std::size_t>(n); i < padded; ++i) x[i] = w[i] = 0.0f;
    std::vector<float> a(padded), b(padded);
    kernels_->rms_norm(x.data(), w.data(), n, 1e-5f, a.data());
    kScalarKernels.rms_norm(x.data(), w.data(), n, 1e-5f, b.data());
    EXPECT_TRUE(SameBits(a, b)) << n;
  }
  for (const int dim : {2, 18, 64, 128}) {
    std::vector<float> a = RandomFloats(static_cast<std::size_t>(dim), random);
    const std::vector<float> c = RandomFloats(static_cast<std::size_t>(dim), random);
    const std::vector<float> s = RandomFloats(static_cast<std::size_t>(dim), random);
    std::vector<float> b = a;
    kernels_->rotate(a.data(), c.data(), s.data(), dim, 0.125f);
    kScalarKernels.rotate(b.data(), c.data(), s.data(), dim, 0.125f);
    EXPECT_TRUE(SameBits(a, b)) << dim;
  }
}

/// The states of some queries over one block of cached keys and values, in order.
std::vector<float> AttendStates(const Kernels& kernels, CacheKind kind, int dim, const std::vector<int>& counts,
                                unsigned seed) {
  std::mt19937 random(seed);
  const int padded = static_cast<int>(RoundUp(static_cast<std::size_t>(dim), 16));
  const std::size_t region = static_cast<std::size_t>(kPageTokens * padded) * CacheElementBytes(kind);
  // What lies beyond a query's own positions must not matter, not even when it is not a number.
  std::vector<std::vector<std::uint8_t>> keys(kBlockPages, std::vector<std::uint8_t>(region, 0xFF));
  std::vector<std::vector<std::uint8_t>> values = keys;
  const int last = counts.back();
  for (int position = 0; position < last; ++position) {
    const auto page = static_cast<std::size_t>(position / kPageTokens);
    const std::vector<float> key = RandomFloats(static_cast<std::size_t>(dim), random);
    const std::vector<float> value = RandomFloats(static_cast<std::size_t>(dim), random);
    kernels.store_key[static_cast<int>(kind)](key.data(), dim, position % kPageTokens, keys[page].data());
    kernels.store_value[static_cast<int>(kind)](value.data(), dim, padded, position % kPageTokens, values[page].data());
  }
  std::vector<std::vector<float>> queries;
  std::vector<const float*> query_pointers;
  std::vector<float*> state_pointers;
  const std::size_t stride = static_cast<std::size_t>(kStateHeader + padded);
  std::vector<float> states(counts.size() * stride);
  for (std::size_t q = 0; q < counts.size(); ++q)
    queries.push_back(RandomFloats(static_cast<std::size_t>(dim), random));
  for (std::size_t q = 0; q < counts.size(); ++q) {
    query_pointers.push_back(queries[q].data());
    state_pointers.push_back(states.data() + q * stride);
  }
  std::vector<const void*> key_pages, value_pages;
  for (int p = 0; p < kBlockPages; ++p) {
    key_pages.push_back(keys[static_cast<std::size_t>(p)].data());
    value_pages.push_back(values[static_cast<std::size_t>(p)].data());
  }
  std::vector<float> scores(counts.size() * kBlockTokens, std::numeric_limits<float>::quiet_NaN());
  kernels.attend[static_cast<int>(kind)]({query_pointers.data(), counts.data(), static_cast<int>(counts.size()),
                                          key_pages.data(), value_pages.data(), dim, padded, state_pointers.data(),
                                          scores.data()});
  return states;
}

TEST_P(EverySet, AttentionEqualsScalarToTheBitAndIgnoresWhatAQueryMayNotSee) {
  for (const CacheKind kind : {CacheKind::kF32, CacheKind::kF16}) {
    for (const int dim : {2, 18, 64, 80, 128}) {
      for (const std::vector<int>& counts :
           {std::vector<int>{1}, {128}, {5, 6, 7}, {1, 1, 1, 2, 2, 2, 3, 3, 3}, {100, 101, 102, 128}, {16, 17}}) {
        const std::vector<float> mine = AttendStates(*kernels_, kind, dim, counts, 13);
        ASSERT_TRUE(SameBits(mine, AttendStates(kScalarKernels, kind, dim, counts, 13))) << dim;
        for (const float value : mine) ASSERT_FALSE(std::isnan(value)) << dim;
      }
    }
  }
}

TEST_P(EverySet, MergedBlocksEqualOneSoftmaxOverAll) {
  const int dim = 16;
  const std::vector<float> first = AttendStates(*kernels_, CacheKind::kF32, dim, {128}, 1);
  const std::vector<float> second = AttendStates(*kernels_, CacheKind::kF32, dim, {40}, 2);
  std::vector<float> running(first.size());
  kernels_->merge(running.data(), first.data(), dim, true);
  kernels_->merge(running.data(), second.data(), dim, false);
  std::vector<float> out(static_cast<std::size_t>(dim));
  kernels_->finish(running.data(), dim, out.data());
  const double most = std::max(first[0], second[0]);
  const double a = std::exp(static_cast<double>(first[0]) - most);
  const double b = std::exp(static_cast<double>(second[0]) - most);
  for (std::size_t d = 0; d < out.size(); ++d) {
    const double numerator =
        a * static_cast<double>(first[kStateHeader + d]) + b * static_cast<double>(second[kStateHeader + d]);
    const double denominator = a * static_cast<double>(first[1]) + b * static_cast<double>(second[1]);
    EXPECT_NEAR(static_cast<double>(out[d]), numerator / denominator, 1e-5);
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, EverySet, ::testing::Values("scalar", "avx2", "avx512", "avx512vnni"),
                         [](const auto& set) { return std::string(set.param); });

TEST(UnpackRow, GivesTheWeightsThatTheLayoutDescribes) {
  std::mt19937 random(17);
  for (const WeightKind kind : kKinds) {
    RandomMatrix m = MakeRandomMatrix(kind, 37, 100, random);
    m.shape.data = m.bytes.data();
    for (int row = 0; row < 37; ++row) {
      std::vector<float> out(100);
      UnpackRow(m.shape, row, out.data());
      EXPECT_EQ(std::memcmp(out.data(), m.weights.data() + row * 100, 400), 0) << row;
    }
  }
}

/// Files that were written must stay readable: bytes at stated places of a group, and what they mean.
TEST(WeightTypes, LieAsInTheFilesThatExist) {
  EXPECT_EQ(FactsOf(kInt8).least_code, -128);
  EXPECT_EQ(FactsOf(kInt8).most_code, 127);
  EXPECT_EQ(FactsOf(kInt4).least_code, 0);
  EXPECT_EQ(FactsOf(kInt4).most_code, 15);
  std::uint8_t codes[2048] = {};
  const float value = -1.5f;
  std::memcpy(codes + 64 * 21 + 4 * 3, &value, 4);
  EXPECT_EQ(types::F32::Code(codes, 21, 3), -1.5f);
  std::memset(codes, 0, sizeof(codes));
  codes[64 * 10 + 4 * 3 + 2] = 0xC0;  // 0xBFC0 is -1.5 in bfloat16, input 21 the high half of dword 10
  codes[64 * 10 + 4 * 3 + 3] = 0xBF;
  EXPECT_EQ(types::Bf16::Code(codes, 21, 3), -1.5f);
  EXPECT_EQ(types::Bf16::Code(codes, 20, 3), 0.0f);
  codes[64 * 5 + 4 * 3 + 1] = 0x81;  // byte 1 of dword 5
  EXPECT_EQ(types::Int8::Code(codes, 21, 3), -127.0f);
  codes[64 * 2 + 4 * 3 + 1] = 0xA5;  // input 17 in the low half of a byte, 21 in the high
  EXPECT_EQ(types::Int4::Code(codes, 17, 3), 5.0f);
  EXPECT_EQ(types::Int4::Code(codes, 21, 3), 10.0f);
}

TEST(WeightTypes, WhatIsPutIsReadAndNothingElseChanges) {
  for (const WeightKind kind : kKinds) {
    const auto read = [&](const std::uint8_t* codes, int k, int lane) {
      return WithType(kind, [=](auto type) { return decltype(type)::Code(codes, k, lane); });
    };
    const float low = FactsOf(kind).integers ? static_cast<float>(FactsOf(kind).least_code) : -3.0f;
    const float high = FactsOf(kind).integers ? static_cast<float>(FactsOf(kind).most_code) : 8.0f;
    std::vector<std::uint8_t> codes(FactsOf(kind).code_bytes);
    for (const int round : {0, 1}) {  // also over what is there
      const auto code = [&](int i) { return (i + i / kPanelRows + round) % 2 == 0 ? low : high; };
      for (int i = 0; i < kGroup * kPanelRows; ++i) {
        ASSERT_EQ(PutCode(kind, codes.data(), i / kPanelRows, i % kPanelRows, code(i)), code(i));
      }
      for (int i = 0; i < kGroup * kPanelRows; ++i) {
        ASSERT_EQ(read(codes.data(), i / kPanelRows, i % kPanelRows), code(i)) << FactsOf(kind).name;
      }
    }
  }
}

TEST(WeightTypes, HaveDifferentNamesAndAutoTakesInt8BeforeFloatsBeforeInt4) {
  std::set<std::string> names;
  for (const WeightKind kind : kKinds) names.insert(FactsOf(kind).name);
  EXPECT_EQ(names.size(), kKinds.size());
  const std::vector<WeightKind> order = PreferredKindsFirst();
  ASSERT_EQ(order.size(), kKinds.size());
  const auto place = [&](WeightKind kind) { return std::find(order.begin(), order.end(), kind) - order.begin(); };
  EXPECT_EQ(place(kInt8), 0);
  EXPECT_LT(place(kBf16), place(kF32));
  EXPECT_LT(place(kF32), place(kInt4));
}

TEST(Half, ConvertsEveryValueThereAndBack) {
  for (unsigned bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float value = HalfToFloat(half);
    if (std::isnan(value)) continue;
    EXPECT_EQ(FloatToHalf(value), half) << bits;
  }
}

TEST(Half, RoundsToNearestWithTiesToEven) {
  EXPECT_EQ(FloatToHalf(1.0f + 0x1p-11f), 0x3C00);    // halfway down to even
  EXPECT_EQ(FloatToHalf(1.0f + 0x1.8p-10f), 0x3C02);  // halfway up to even
  EXPECT_EQ(FloatToHalf(65519.99f), 0x7BFF);          // below halfway to infinity
  EXPECT_EQ(FloatToHalf(65520.0f), 0x7C00);           // infinity
  EXPECT_EQ(FloatToHalf(0x1p-25f), 0);                // half of the least: to even
  EXPECT_EQ(FloatToHalf(0x1.000002p-25f), 1);         // above it
  EXPECT_EQ(FloatToHalf(-0x1p-24f), 0x8001);
}

}  // namespace
}  // namespace skywork_rt::native
