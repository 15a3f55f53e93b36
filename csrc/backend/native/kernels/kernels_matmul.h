#pragma once

// Matrix times activations. A part of kernels_impl.h.

#include "backend/native/kernels/kernels_common.h"
#include "backend/native/kernels/kernels_digits.h"
#include "backend/native/kernels/kernels_matmul_digits.h"
#include "backend/native/kernels/kernels_matmul_floats.h"
#include "backend/native/kernels/kernels_matmul_unpacked.h"

namespace skywork_rt::native {
namespace {

using PanelFunction = void (*)(const PackedMatrix&, int, const PackedInput&, float*);

template <typename Type>
PanelFunction ChooseArithmetic(Arithmetic arithmetic) {
  if constexpr (Type::kIntegers) {
    if (arithmetic == Arithmetic::kFixed8) return MultiplyDigits<Type, Arithmetic::kFixed8>;
    if constexpr (Simd::kHasFixed24) {
      if (arithmetic == Arithmetic::kFixed24) return MultiplyDigits<Type, Arithmetic::kFixed24>;
    }
  }
  if constexpr (Type::kFloatLines) {
    return MultiplyFloats<Type>;
  } else {
    return MultiplyUnpacked<Type>;
  }
}

PanelFunction ChoosePanel(WeightKind kind, Arithmetic arithmetic) {
  return WithType(kind, [=](auto type) { return ChooseArithmetic<decltype(type)>(arithmetic); });
}

/// Of the `rows` rows from `row` on; zeros where there is none.
F LoadBias(const float* bias, int row, int rows) {
  if (bias == nullptr) return Simd::Zero();
  float padded[kPanelRows] = {};
  for (int i = 0; i < rows; ++i) padded[i] = bias[row + i];
  return Simd::Load(padded);
}

void Finish(const MatmulArgs& args, int panel, const float* acc, const float* gate) {
  const int row = panel * kPanelRows;
  const int rows = args.matrix->rows - row < kPanelRows ? args.matrix->rows - row : kPanelRows;
  const F bias = LoadBias(args.bias, row, rows);
  const F gate_bias = LoadBias(args.gate_bias, row, rows);
  for (int t = 0; t < args.input->tokens; ++t) {
    float* out = args.out + static_cast<std::size_t>(t) * args.out_stride + row;
    F value = Simd::Load(acc + kPanelRows * t);
    if (args.bias != nullptr) value = Simd::Add(value, bias);
    if (args.epilogue == Epilogue::kSwiGlu) {
      F opening = Simd::Load(gate + kPanelRows * t);
      if (args.gate_bias != nullptr) opening = Simd::Add(opening, gate_bias);
      value = Simd::Mul(Silu(opening), value);
    }
    if (rows == kPanelRows) {
      if (args.epilogue == Epilogue::kAdd) value = Simd::Add(Simd::Load(out), value);
      Simd::Store(out, value);
    } else {
      float part[kPanelRows];
      Simd::Store(part, value);
      for (int i = 0; i < rows; ++i) out[i] = args.epilogue == Epilogue::kAdd ? out[i] + part[i] : part[i];
    }
  }
}

void Matmul(const MatmulArgs& args, int panel_begin, int panel_end) {
  static_assert(kMostTokens % kWidest == 0, "a narrow tile may write up to its width");
  const Arithmetic how = args.input->arithmetic;
  const PanelFunction multiply = ChoosePanel(args.matrix->kind, how);
  const PanelFunction multiply_gate = args.gate == nullptr ? nullptr : ChoosePanel(args.gate->kind, how);
  alignas(64) float acc[kMostTokens * kPanelRows];
  alignas(64) float gate[kMostTokens * kPanelRows];
  for (int panel = panel_begin; panel < panel_end; ++panel) {
    multiply(*args.matrix, panel, *args.input, acc);
    if (multiply_gate != nullptr) multiply_gate(*args.gate, panel, *args.input, gate);
    Finish(args, panel, acc, gate);
  }
}

}  // namespace
}  // namespace skywork_rt::native
