#include "backend/native/kernels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "backend/native/cpu.h"
#include "backend/native/half.h"
#include "native/tiny_model.h"
#include "support/sanitizers.h"

namespace skywork_rt::native {
namespace {

constexpr WeightKind kKinds[] = {WeightKind::kF32, WeightKind::kBf16, WeightKind::kInt8, WeightKind::kInt4};

std::vector<float> RandomFloats(std::size_t n, std::mt19937& random) {
  std::normal_distribution<float> normal(0.0f, 1.0f);
  std::vector<float> values(n);
  for (float& v : values) v = normal(random);
  return values;
}

/// matrix × tokens as a backend would call it: packed in tiles of the kernels' own width. Rows are `stride` apart.
std::vector<float> Multiply(const Kernels& kernels, const PackedMatrix& m, const PackedMatrix* gate,
                            const std::vector<float>& rows, int tokens, const float* bias, Epilogue epilogue,
                            float initial = 0.0f) {
  const std::size_t padded = static_cast<std::size_t>(m.groups) * kGroup;
  std::vector<float> values(padded * static_cast<std::size_t>(tokens + kernels.tile));
  std::vector<float> sums(values.size() / kGroup);
  for (int t = 0; t < tokens; t += kernels.tile) {
    const int count = std::min(kernels.tile, tokens - t);
    const int width = count == kernels.tile ? count : kernels.tile_width(count);
    const std::size_t before = static_cast<std::size_t>(t) * padded;
    kernels.pack(rows.data() + static_cast<std::size_t>(t * m.cols), static_cast<std::size_t>(m.cols), count, width,
                 m.cols, values.data() + before, sums.data() + before / kGroup);
  }
  const PackedInput input{values.data(), sums.data(), tokens};
  std::vector<float> out(static_cast<std::size_t>(tokens) * static_cast<std::size_t>(m.rows), initial);
  const MatmulArgs args{&m, gate, &input, bias, out.data(), static_cast<std::size_t>(m.rows), epilogue};
  const int middle = m.panels / 2;
  kernels.matmul(args, middle, m.panels);
  kernels.matmul(args, 0, middle);
  return out;
}

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

class EverySet : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    kernels_ = FindKernels(GetParam());
    if (kernels_ == nullptr) GTEST_SKIP() << "this processor has no " << GetParam();
  }
  const Kernels* kernels_ = nullptr;
};

TEST_P(EverySet, MatmulStaysWithinRoundingOfTheExactProduct) {
  std::mt19937 random(3);
  for (const WeightKind kind : kKinds) {
    for (int trial = 0; trial < 12; ++trial) {
      const int rows = 1 + static_cast<int>(random() % 70);
      const int cols = 1 + static_cast<int>(random() % 300);
      const int tokens = 1 + static_cast<int>(random() % 60);
      RandomMatrix m = MakeRandomMatrix(kind, rows, cols, random);
      AlignedBytes bytes(m.bytes.size());
      std::memcpy(bytes.data(), m.bytes.data(), m.bytes.size());
      m.shape.data = bytes.data();
      const std::vector<float> x = RandomFloats(static_cast<std::size_t>(tokens * cols), random);
      const std::vector<float> bias = RandomFloats(static_cast<std::size_t>(rows), random);
      const std::vector<float> y = Multiply(*kernels_, m.shape, nullptr, x, tokens, bias.data(), Epilogue::kAdd, 0.5f);
      for (int t = 0; t < tokens; ++t) {
        for (int r = 0; r < rows; ++r) {
          double exact = 0.5 + static_cast<double>(bias[static_cast<std::size_t>(r)]);
          double size = 1.0;
          for (int c = 0; c < cols; ++c) {
            const double product = static_cast<double>(m.weights[static_cast<std::size_t>(r * cols + c)]) *
                                   static_cast<double>(x[static_cast<std::size_t>(t * cols + c)]);
            exact += product;
            size += std::abs(product);
          }
          ASSERT_NEAR(static_cast<double>(y[static_cast<std::size_t>(t * rows + r)]), exact, size * 4e-6)
              << "kind " << static_cast<int>(kind) << " rows " << rows << " cols " << cols << " tokens " << tokens;
        }
      }
    }
  }
}

TEST_P(EverySet, EqualsScalarToTheBitOnShapesThatNoBlockDivides) {
  std::mt19937 random(5);
  const int shapes[][2] = {
      {skywork_rt::testing::Repeats(65519), 40}, {1, 1}, {17, 33}, {31, 576}, {100, 72}, {16, 32}, {259, 131}};
  for (const WeightKind kind : kKinds) {
    for (const auto& [rows, cols] : shapes) {
      RandomMatrix m = MakeRandomMatrix(kind, rows, cols, random);
      RandomMatrix g = MakeRandomMatrix(kind, rows, cols, random);
      AlignedBytes bytes(m.bytes.size());
      AlignedBytes gate_bytes(g.bytes.size());
      std::memcpy(bytes.data(), m.bytes.data(), m.bytes.size());
      std::memcpy(gate_bytes.data(), g.bytes.data(), g.bytes.size());
      m.shape.data = bytes.data();
      g.shape.data = gate_bytes.data();
      for (const int tokens : {1, 2, 3, 29}) {
        if (rows > 1000 && tokens > 2) continue;
        const std::vector<float> x = RandomFloats(static_cast<std::size_t>(tokens * cols), random);
        const auto run = [&](const Kernels& kernels) {
          return Multiply(kernels, m.shape, &g.shape, x, tokens, nullptr, Epilogue::kSwiGlu);
        };
        ASSERT_TRUE(SameBits(run(*kernels_), run(kScalarKernels)))
            << "kind " << static_cast<int>(kind) << " rows " << rows << " cols " << cols << " tokens " << tokens;
      }
    }
  }
}

TEST_P(EverySet, AnOutputDoesNotDependOnTheOtherTokensOfItsCall) {
  std::mt19937 random(7);
  for (const WeightKind kind : kKinds) {
    RandomMatrix m = MakeRandomMatrix(kind, 53, 200, random);
    AlignedBytes bytes(m.bytes.size());
    std::memcpy(bytes.data(), m.bytes.data(), m.bytes.size());
    m.shape.data = bytes.data();
    const int most = 75;
    const std::vector<float> x = RandomFloats(static_cast<std::size_t>(most * 200), random);
    const std::vector<float> all = Multiply(*kernels_, m.shape, nullptr, x, most, nullptr, Epilogue::kStore);
    for (int tokens = 1; tokens < most; ++tokens) {
      const std::vector<float> last(x.begin() + (most - tokens) * 200, x.end());
      const std::vector<float> part = Multiply(*kernels_, m.shape, nullptr, last, tokens, nullptr, Epilogue::kStore);
      ASSERT_EQ(std::memcmp(part.data(), all.data() + (most - tokens) * 53, part.size() * sizeof(float)), 0) << tokens;
    }
  }
}

/// matrix × tokens with activations rounded to int8.
std::vector<float> MultiplyRounded(const Kernels& kernels, const PackedMatrix& m, const std::vector<float>& rows,
                                   int tokens) {
  const auto groups = static_cast<std::size_t>(m.groups);
  const auto most = static_cast<std::size_t>(tokens + kernels.tile) * groups;
  std::vector<std::int32_t> codes(most * kGroup / 4), offsets(most);
  std::vector<float> scales(most), sums(most);
  for (int t = 0; t < tokens; t += kernels.tile) {
    const int count = std::min(kernels.tile, tokens - t);
    const int width = count == kernels.tile ? count : kernels.tile_width(count);
    const std::size_t at = static_cast<std::size_t>(t) * groups;
    kernels.quantise(rows.data() + static_cast<std::size_t>(t * m.cols), static_cast<std::size_t>(m.cols), count, width,
                     m.cols, codes.data() + at * kGroup / 4, scales.data() + at, offsets.data() + at, sums.data() + at);
  }
  const PackedInput input{nullptr, sums.data(), tokens, codes.data(), scales.data(), offsets.data()};
  std::vector<float> out(static_cast<std::size_t>(tokens) * static_cast<std::size_t>(m.rows));
  const MatmulArgs args{&m, nullptr, &input, nullptr, out.data(), static_cast<std::size_t>(m.rows), Epilogue::kStore};
  kernels.matmul(args, 0, m.panels);
  return out;
}

TEST_P(EverySet, RoundedActivationsEqualScalarToTheBitAndStayWithinTheirHalfSteps) {
  std::mt19937 random(19);
  for (const WeightKind kind : {WeightKind::kInt8, WeightKind::kInt4}) {
    for (const auto& [rows, cols] : {std::pair{1, 1}, {17, 33}, {100, 576}, {37, 131}}) {
      RandomMatrix m = MakeRandomMatrix(kind, rows, cols, random);
      AlignedBytes bytes(m.bytes.size());
      std::memcpy(bytes.data(), m.bytes.data(), m.bytes.size());
      m.shape.data = bytes.data();
      const int tokens = 29;
      const std::vector<float> x = RandomFloats(static_cast<std::size_t>(tokens * cols), random);
      const std::vector<float> y = MultiplyRounded(*kernels_, m.shape, x, tokens);
      ASSERT_TRUE(SameBits(y, MultiplyRounded(kScalarKernels, m.shape, x, tokens))) << rows << " " << cols;
      for (int t = 0; t < tokens; ++t) {
        for (int r = 0; r < rows; ++r) {
          double exact = 0;
          double allowed = 1e-5;
          for (int c = 0; c < cols; ++c) {
            double most = 0;
            for (int k = c / kGroup * kGroup; k < std::min(cols, (c / kGroup + 1) * kGroup); ++k) {
              most = std::max(most, std::abs(static_cast<double>(x[static_cast<std::size_t>(t * cols + k)])));
            }
            const auto w = static_cast<double>(m.weights[static_cast<std::size_t>(r * cols + c)]);
            exact += w * static_cast<double>(x[static_cast<std::size_t>(t * cols + c)]);
            allowed += std::abs(w) * most / 127 * 0.501;
          }
          ASSERT_NEAR(static_cast<double>(y[static_cast<std::size_t>(t * rows + r)]), exact, allowed);
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
  PackedMatrix gate = PackedMatrix::Shape(WeightKind::kF32, 1, 1);
  PackedMatrix up = gate;
  gate.data = one.data();
  up.data = zero.data();
  const float bias = 1.0f;  // up × input + bias = 1
  std::vector<float> x;
  for (float v = -120.0f; v < 120.0f; v += 0.37f) x.push_back(v);
  const std::vector<float> y = Multiply(*kernels_, up, &gate, x, static_cast<int>(x.size()), &bias, Epilogue::kSwiGlu);
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
