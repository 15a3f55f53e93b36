// Integer weights times activations in fixed point, against whole numbers of 64 bits: to the bit, as the sums are
// exact.

#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>

#include "native/kernel_testing.h"

namespace skywork_rt::native {
namespace {

/// A packed matrix and the integers that it was made of.
class CodedMatrix {
 public:
  using Code = std::function<int(int row, int k)>;

  CodedMatrix(WeightKind kind, int rows, int cols, const Code& code, std::mt19937& random)
      : shape_(PackedMatrix::Shape(kind, rows, cols)), bytes_(shape_.Bytes()) {
    std::memset(bytes_.data(), 0, shape_.Bytes());
    shape_.data = bytes_.data();
    const WeightFacts& facts = FactsOf(kind);
    for (int row = 0; row < rows; ++row) {
      for (int g = 0; g < shape_.groups; ++g) {
        std::uint8_t* unit = Panel(row) + static_cast<std::size_t>(g / facts.scale_groups) * facts.scale_bytes;
        if (g % facts.scale_groups == 0) FillScales(kind, unit, row % kPanelRows, 1.0f, 1.0f, random);
        scales_.push_back(ScalesOf(kind, unit, g % facts.scale_groups, row % kPanelRows));
        for (int k = 0; k < kGroup; ++k) {
          const int wanted = g * kGroup + k < cols ? code(row, g * kGroup + k) : 0;
          const float put = PutCode(kind, Codes(row, g), k, row % kPanelRows, static_cast<float>(wanted));
          codes_.push_back(static_cast<int>(put));
        }
      }
    }
  }

  const PackedMatrix& shape() const { return shape_; }
  int CodeAt(int row, int g, int k) const { return codes_[Index(row, g) * kGroup + static_cast<std::size_t>(k)]; }
  const GroupScales& Scales(int row, int g) const { return scales_[Index(row, g)]; }

 private:
  std::size_t Index(int row, int g) const { return static_cast<std::size_t>(row * shape_.groups + g); }
  std::uint8_t* Panel(int row) {
    return bytes_.data() + static_cast<std::size_t>(row / kPanelRows) * shape_.panel_bytes;
  }
  std::uint8_t* Codes(int row, int g) {
    return Panel(row) + shape_.scale_bytes + static_cast<std::size_t>(g) * FactsOf(shape_.kind).code_bytes;
  }

  PackedMatrix shape_;
  AlignedBytes bytes_;
  std::vector<int> codes_;
  std::vector<GroupScales> scales_;
};

/// A group of activations as digits.h describes it, by way of double precision.
struct ReferenceGroup {
  ReferenceGroup(const float* x, int count, Arithmetic arithmetic) {
    double most = 0;
    for (int i = 0; i < count; ++i) most = std::max(most, std::abs(static_cast<double>(x[i])));
    float inverse = 0.0f;
    if (arithmetic == Arithmetic::kFixed24) {
      int exponent = -122;
      while (std::nearbyint(std::ldexp(most, -exponent)) > 0x7F7F7F) ++exponent;
      step = static_cast<float>(std::ldexp(1.0, exponent));
      for (int i = 0; i < count; ++i) {
        numbers[i] = std::llround(std::nearbyint(std::ldexp(static_cast<double>(x[i]), -exponent)));
      }
    } else {
      step = static_cast<float>(most) / 127.0f;
      if (most > 0x1p-100) inverse = 127.0f / static_cast<float>(most);
      for (int i = 0; i < count; ++i) numbers[i] = std::llround(std::nearbyint(x[i] * inverse));
    }
  }

  std::int64_t numbers[kGroup] = {};
  float step = 0;
};

std::vector<float> ReferenceProduct(const CodedMatrix& m, Arithmetic arithmetic, const std::vector<float>& x,
                                    int tokens) {
  const PackedMatrix& shape = m.shape();
  std::vector<float> out(static_cast<std::size_t>(tokens * shape.rows));
  for (int t = 0; t < tokens; ++t) {
    for (int g = 0; g < shape.groups; ++g) {
      const ReferenceGroup group(&x[static_cast<std::size_t>(t * shape.cols + g * kGroup)],
                                 std::min(kGroup, shape.cols - g * kGroup), arithmetic);
      for (int row = 0; row < shape.rows; ++row) {
        float& acc = out[static_cast<std::size_t>(t * shape.rows + row)];
        const int parts = FactsOf(shape.kind).parts;
        for (int part = 0; part < parts; ++part) {
          const int first = part * kGroup / parts;
          std::int64_t dot = 0;
          std::int64_t sum = 0;
          for (int k = first; k < first + kGroup / parts; ++k) {
            dot += m.CodeAt(row, g, k) * group.numbers[k];
            sum += group.numbers[k];
          }
          const GroupScales& scales = m.Scales(row, g);
          acc = std::fma(scales.scale[part] * group.step, static_cast<float>(dot), acc);
          if (!FactsOf(shape.kind).minimums) continue;
          acc = std::fma(scales.minimum[part], group.step * static_cast<float>(sum), acc);
        }
      }
    }
  }
  return out;
}

/// Codes as they come, and those that make the largest sums.
std::vector<CodedMatrix::Code> Patterns(WeightKind kind, std::mt19937& random) {
  const int least = FactsOf(kind).least_code;
  const int most = FactsOf(kind).most_code;
  return {[least, most, &random](int, int) {
            return least + static_cast<int>(random() % static_cast<unsigned>(most - least + 1));
          },
          [most](int, int) { return most; }, [least](int, int) { return least; },
          [least, most](int row, int k) { return (row + k) % 2 == 0 ? least : most; }};
}

/// Activations of two steps in turn, a group each, whose fixed-point numbers are what `number` gives.
std::vector<float> Fixed(int cols, int tokens, const std::function<int(int)>& number) {
  std::vector<float> x;
  for (int t = 0; t < tokens; ++t) {
    for (int k = 0; k < cols; ++k) {
      x.push_back(static_cast<float>(number(k)) * (k / kGroup % 2 == 0 ? 0x1p-22f : 0x1p-10f));
    }
  }
  return x;
}

std::vector<std::vector<float>> Activations(int cols, int tokens, std::mt19937& random) {
  constexpr int kMost = kLargestFixed24;
  constexpr int kDigitsOfMinus128 = -0x7E8080;  // -126, -128, -128
  std::vector<std::vector<float>> all = {
      RandomFloats(static_cast<std::size_t>(cols * tokens), random),
      Fixed(cols, tokens, [](int) { return kMost; }),
      Fixed(cols, tokens, [](int) { return -kMost; }),
      Fixed(cols, tokens, [](int k) { return k % 2 == 0 ? kMost : -kMost; }),
      Fixed(cols, tokens, [](int k) { return k % kGroup == 5 ? kMost : kDigitsOfMinus128; }),
  };
  // A group each of numbers near an edge: of the exponent, of rounding, of the smallest step, of what a float holds.
  const float edges[] = {1.0f,
                         std::nextafter(2.0f, 0.0f),
                         0x1.fdfdfap0f,
                         0x1.fdfdfcp0f,  // the last that keeps the finer step
                         0x1.fdfdfep0f,
                         0x1.fdfe00p0f,
                         0x1p-99f,
                         0x1p-100f,
                         0x1p-101f,
                         0x1p-106f,
                         std::numeric_limits<float>::min(),
                         std::numeric_limits<float>::denorm_min(),
                         0x1.fffffep98f,
                         -0.0f};
  for (const float edge : edges) {
    std::vector<float> x;
    for (int i = 0; i < cols * tokens; ++i) {
      x.push_back(i % kGroup == 7 ? edge : i % kGroup == 20 ? -edge : edge * static_cast<float>(i % 61) / 64.0f);
    }
    all.push_back(std::move(x));
  }
  return all;
}

TEST_P(EverySet, FixedPointEqualsWholeNumbersToTheBit) {
  std::mt19937 random(29);
  for (const WeightKind kind : IntegerKinds()) {
    for (const CodedMatrix::Code& code : Patterns(kind, random)) {
      for (const auto& [rows, cols, tokens] : {std::tuple{17, 160, 1}, {33, 65, 1}, {33, 97, 5}, {5, 31, 30}}) {
        const CodedMatrix m(kind, rows, cols, code, random);
        for (const std::vector<float>& x : Activations(cols, tokens, random)) {
          for (const Arithmetic how : ArithmeticsOf(*kernels_, kind)) {
            if (how == Arithmetic::kFloat32) continue;
            ASSERT_TRUE(SameBits(Multiply(*kernels_, how, m.shape(), nullptr, x, tokens, nullptr, Epilogue::kStore),
                                 ReferenceProduct(m, how, x, tokens)))
                << Name(kind, how) << " rows " << rows << " cols " << cols << " tokens " << tokens << " first " << x[0];
          }
        }
      }
    }
  }
}

TEST_P(EverySet, TheLargestFloatsAreHeld) {
  const float most = std::numeric_limits<float>::max();
  std::mt19937 random(31);
  const auto one = [](int row, int k) { return row == k ? 1 : 0; };
  const CodedMatrix m(kInt8, kGroup, kGroup, one, random);
  std::vector<float> x(kGroup, 0.0f);
  x[3] = most;
  x[4] = -most / 3;
  for (const Arithmetic how : ArithmeticsOf(*kernels_, kInt8)) {
    if (how == Arithmetic::kFloat32) continue;
    const std::vector<float> y = Multiply(*kernels_, how, m.shape(), nullptr, x, 1, nullptr, Epilogue::kStore);
    for (int row = 0; row < kGroup; ++row) {
      const auto exact =
          static_cast<double>(x[static_cast<std::size_t>(row)]) * static_cast<double>(m.Scales(row, 0).scale[0]);
      if (std::abs(exact) > static_cast<double>(most)) continue;
      const double allowed = static_cast<double>(most) * (how == Arithmetic::kFixed24 ? 0x1p-22 : 0.01);
      EXPECT_NEAR(static_cast<double>(y[static_cast<std::size_t>(row)]), exact, allowed) << Name(m.shape().kind, how);
    }
  }
}

TEST_P(EverySet, FormsPackedSideBySideDoNotDisturbEachOther) {
  std::mt19937 random(37);
  const int cols = 97;
  for (const int tokens : {1, 5, 29, kMostTokens}) {
    const std::vector<float> x = RandomFloats(static_cast<std::size_t>(cols * tokens), random);
    for (const WeightKind kind : kKinds) {
      const AlignedMatrix m(kind, 35, cols, random);
      for (const Arithmetic how : {Arithmetic::kFloat32, Arithmetic::kFixed8, Arithmetic::kFixed24}) {
        if (how == Arithmetic::kFixed24 && !kernels_->fixed24) continue;
        InputForms all = FormBit(InputForm::kFloats);
        for (const WeightKind other : kKinds) all |= FormBit(kernels_->form(other, how));
        const auto run = [&](InputForms others) {
          return Multiply(*kernels_, how, m.shape(), nullptr, x, tokens, nullptr, Epilogue::kStore, 0.0f, others);
        };
        ASSERT_TRUE(SameBits(run(0), run(all))) << Name(kind, how) << " tokens " << tokens;
      }
    }
  }
}

TEST_P(EverySet, AGateMayHaveWeightsOfAnotherKind) {
  std::mt19937 random(41);
  const int cols = 130;
  const int tokens = 27;
  const std::vector<float> x = RandomFloats(static_cast<std::size_t>(cols * tokens), random);
  for (const WeightKind up_kind : kKinds) {
    for (const WeightKind gate_kind : kKinds) {
      const AlignedMatrix up(up_kind, 40, cols, random);
      const AlignedMatrix gate(gate_kind, 40, cols, random);
      const std::vector<float> y =
          Multiply(*kernels_, kernels_->exact, up.shape(), &gate.shape(), x, tokens, nullptr, Epilogue::kSwiGlu);
      for (int t = 0; t < tokens; ++t) {
        for (int row = 0; row < 40; ++row) {
          double u = 0;
          double g = 0;
          for (int c = 0; c < cols; ++c) {
            const auto v = static_cast<double>(x[static_cast<std::size_t>(t * cols + c)]);
            u += v * static_cast<double>(up.matrix.weights[static_cast<std::size_t>(row * cols + c)]);
            g += v * static_cast<double>(gate.matrix.weights[static_cast<std::size_t>(row * cols + c)]);
          }
          ASSERT_NEAR(static_cast<double>(y[static_cast<std::size_t>(t * 40 + row)]), g / (1 + std::exp(-g)) * u, 1e-4);
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(FixedPoint, EverySet, ::testing::Values("scalar", "avx2", "avx512", "avx512vnni"),
                         [](const auto& set) { return std::string(set.param); });

}  // namespace
}  // namespace skywork_rt::native
