#pragma once

// What tests of the kernels share.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "backend/native/input_buffer.h"
#include "backend/native/kernels/choose_kernels.h"
#include "native/tiny_model.h"
#include "support/format.h"

namespace skywork_rt::native {

inline std::vector<float> RandomFloats(std::size_t n, std::mt19937& random) {
  std::normal_distribution<float> normal(0.0f, 1.0f);
  std::vector<float> values(n);
  for (float& v : values) v = normal(random);
  return values;
}

/// matrix × tokens as a backend would call it, in two calls. `others` are forms that are packed besides.
inline std::vector<float> Multiply(const Kernels& kernels, Arithmetic arithmetic, const PackedMatrix& m,
                                   const PackedMatrix* gate, const std::vector<float>& rows, int tokens,
                                   const float* bias, Epilogue epilogue, float initial = 0.0f, InputForms others = 0) {
  InputForms forms = others | FormBit(kernels.form(m.kind, arithmetic));
  if (gate != nullptr) forms |= FormBit(kernels.form(gate->kind, arithmetic));
  InputBuffer buffer(kernels, static_cast<std::size_t>(m.cols), forms, arithmetic);
  const int step = buffer.Begin(tokens, m.cols, forms);
  for (int t = 0; t < tokens; t += step) {
    buffer.Pack(rows.data(), static_cast<std::size_t>(m.cols), t, std::min(tokens, t + step));
  }
  std::vector<float> out(static_cast<std::size_t>(tokens) * static_cast<std::size_t>(m.rows), initial);
  const MatmulArgs args{&m, gate, &buffer.input(), bias, out.data(), static_cast<std::size_t>(m.rows), epilogue};
  const int middle = m.panels / 2;
  kernels.matmul(args, middle, m.panels);
  kernels.matmul(args, 0, middle);
  return out;
}

inline bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

/// What a set computes with weights of this kind.
inline std::vector<Arithmetic> ArithmeticsOf(const Kernels& kernels, WeightKind kind) {
  if (!FactsOf(kind).integers) return {Arithmetic::kFloat32};
  std::vector<Arithmetic> all = {Arithmetic::kFloat32, Arithmetic::kFixed8};
  if (kernels.fixed24) all.push_back(Arithmetic::kFixed24);
  return all;
}

inline std::string Name(WeightKind kind, Arithmetic arithmetic) {
  return StrCat(FactsOf(kind).name, " arithmetic ", static_cast<int>(arithmetic));
}

/// A matrix whose data lies where the kernels want it.
struct AlignedMatrix {
  AlignedMatrix(WeightKind kind, int rows, int cols, std::mt19937& random)
      : matrix(MakeRandomMatrix(kind, rows, cols, random)), bytes(matrix.bytes.size()) {
    std::memcpy(bytes.data(), matrix.bytes.data(), matrix.bytes.size());
    matrix.shape.data = bytes.data();
  }
  const PackedMatrix& shape() const { return matrix.shape; }

  RandomMatrix matrix;
  AlignedBytes bytes;
};

/// Makes backends that are opened meanwhile use this instruction set.
class WithInstructionSet {
 public:
  explicit WithInstructionSet(const char* name) {
    if (const char* before = std::getenv(kName)) before_ = before;
    setenv(kName, name, 1);
  }
  ~WithInstructionSet() {
    if (before_.has_value()) {
      setenv(kName, before_->c_str(), 1);
    } else {
      unsetenv(kName);
    }
  }
  WithInstructionSet(const WithInstructionSet&) = delete;
  WithInstructionSet& operator=(const WithInstructionSet&) = delete;

 private:
  static constexpr const char* kName = "SKYWORK_RT_NATIVE_ISA";
  std::optional<std::string> before_;
};

/// A test of one instruction set, skipped where the processor lacks it.
class EverySet : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    kernels_ = FindKernels(GetParam());
    if (kernels_ == nullptr) GTEST_SKIP() << "this processor has no " << GetParam();
  }
  const Kernels* kernels_ = nullptr;
};

}  // namespace skywork_rt::native
