// What the kernels make of GGUF's blocks, against the dequantisation of the gguf package:
// tests/golden/make_gguf_types.py made the file, of random blocks of every type.

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "backend/native/weights/weights_file.h"
#include "native/kernel_testing.h"

namespace skywork_rt::native {
namespace {

constexpr int kRows = 18;
constexpr int kCols = 256;

struct Golden {
  std::string name;
  PackedMatrix matrix;
  const float* weights = nullptr;  // [kRows, kCols]
};

/// Every type of the file.
class GoldenTypes {
 public:
  GoldenTypes() : file_(kPath, FileContents::Map(kPath)) {
    for (const auto& [name, stored] : file_.tensors()) {
      const std::size_t dot = name.find('.');
      if (dot == std::string::npos) continue;
      for (const WeightKind kind : kKinds) {
        if (name.substr(dot + 1) != FactsOf(kind).name) continue;
        Golden golden{name, PackedMatrix::Shape(kind, kRows, kCols), nullptr};
        EXPECT_EQ(golden.matrix.Bytes(), stored.bytes) << name;
        golden.matrix.data = stored.data;
        golden.weights = reinterpret_cast<const float*>(file_.tensors().at(name.substr(0, dot)).data);
        types_.push_back(golden);
      }
    }
  }
  const std::vector<Golden>& types() const { return types_; }

 private:
  static constexpr const char* kPath = SKYWORK_RT_GOLDEN "/gguf_types.safetensors";
  WeightsFile file_;
  std::vector<Golden> types_;
};

float Weight(const Golden& golden, int row, int col) {
  return golden.weights[static_cast<std::size_t>(row) * kCols + static_cast<std::size_t>(col)];
}

/// Of the largest weight of a row: what rounding scale * code + minimum in another order may change.
float Allowed(const Golden& golden, int row) {
  float most = 0;
  for (int col = 0; col < kCols; ++col) most = std::max(most, std::abs(Weight(golden, row, col)));
  return most * 0x1p-20f;
}

TEST(GgufTypes, AreAllThere) {
  const GoldenTypes golden;
  EXPECT_EQ(golden.types().size(), kKinds.size());
}

TEST(GgufTypes, RowsAreWhatGgufDequantises) {
  const GoldenTypes golden;
  for (const Golden& type : golden.types()) {
    for (int row = 0; row < kRows; ++row) {
      std::vector<float> out(kCols);
      UnpackRow(type.matrix, row, out.data());
      for (int col = 0; col < kCols; ++col) {
        ASSERT_NEAR(out[static_cast<std::size_t>(col)], Weight(type, row, col), Allowed(type, row))
            << type.name << " row " << row << " column " << col;
      }
    }
  }
}

TEST_P(EverySet, ProductsAreThoseOfWhatGgufDequantises) {
  std::mt19937 random(43);
  const int tokens = 26;
  const std::vector<float> x = RandomFloats(static_cast<std::size_t>(tokens * kCols), random);
  const GoldenTypes golden;
  for (const Golden& type : golden.types()) {
    for (const Arithmetic how : ArithmeticsOf(*kernels_, type.matrix.kind)) {
      if (how == Arithmetic::kFixed8) continue;
      const std::vector<float> y = Multiply(*kernels_, how, type.matrix, nullptr, x, tokens, nullptr, Epilogue::kStore);
      for (int t = 0; t < tokens; ++t) {
        for (int row = 0; row < kRows; ++row) {
          double exact = 0;
          double size = 0;
          for (int col = 0; col < kCols; ++col) {
            const double product = static_cast<double>(x[static_cast<std::size_t>(t * kCols + col)]) *
                                   static_cast<double>(Weight(type, row, col));
            exact += product;
            size += std::abs(product);
          }
          ASSERT_NEAR(static_cast<double>(y[static_cast<std::size_t>(t * kRows + row)]), exact, size * 4e-6)
              << Name(type.matrix.kind, how) << " row " << row << " token " << t;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(GgufTypes, EverySet, ::testing::Values("scalar", "avx2", "avx512", "avx512vnni"),
                         [](const auto& set) { return std::string(set.param); });

}  // namespace
}  // namespace skywork_rt::native
