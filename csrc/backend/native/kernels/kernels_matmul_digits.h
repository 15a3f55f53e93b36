#pragma once

// A panel of weights of an integer type times activations in fixed point (digits.h). A part of kernels_impl.h.
//
// A group's dot product is exact in integers, whichever form an instruction set reads, and is rounded to float once. So
// all sets, and all numbers of tokens, give the same bits:
//
//   acc = fma(scale * step, float(Σ code * f), acc), then, with minimums, acc = fma(minimum, step * float(Σ f), acc)
//
// for each part of the group that has a scale of its own.

#include "backend/native/kernels/kernels_common.h"
#include "backend/native/kernels/kernels_digits.h"

namespace skywork_rt::native {
namespace {

template <typename Type, Arithmetic How>
struct ScaledGroup {
  using Codes = typename Type::template Group<Simd, DigitCount(How)>;
  using Record = typename Codes::Record;
  Codes weights;
  F scale[Type::kParts];
  F minimum[Type::kParts];

  /// `group` is that in the unit that `scales` points to.
  SKYWORK_RT_INLINE ScaledGroup(const std::uint8_t* scales, int group, const std::uint8_t* codes) {
    weights.Load(codes);
    Type::Scales::template Read<Simd>(scales, group, scale, minimum);
  }
  template <int Part = 0>
  SKYWORK_RT_INLINE F Add(const Record& x, F acc) const {
    acc = Simd::Fma(Simd::Mul(scale[Part], Simd::Set1(x.step)), weights.template Dot<Part>(x), acc);
    if constexpr (Type::kMinimums) {
      const float sum = Type::kParts == 1 ? x.sum : x.sum_of_half[Part];
      acc = Simd::Fma(minimum[Part], Simd::Set1(sum), acc);
    }
    if constexpr (Part + 1 < Type::kParts) {
      return Add<Part + 1>(x, acc);
    } else {
      return acc;
    }
  }
};

/// One panel times `tokens` tokens: out [tokens][16]. Alone: there is one, whose sum stays in registers.
template <typename Type, Arithmetic How, bool Alone>
void PanelDigits(const PackedMatrix& m, int panel, const void* records, int tokens, float* out) {
  const auto* x = static_cast<const typename ScaledGroup<Type, How>::Record*>(records);
  const std::uint8_t* scales = m.Scales(panel);
  const std::uint8_t* codes = m.Codes(panel);
  const std::uint8_t* ahead = scales + kPrefetchBytes;
  F alone = Simd::Zero();
  if constexpr (!Alone) {
    for (int t = 0; t < tokens; ++t) Simd::Store(out + kPanelRows * t, Simd::Zero());
  }
  std::size_t scale_bytes = 0;  // before those of the group's unit
  for (int g = 0; g < m.groups; ++g) {
    const int in_unit = g % Type::kScaleGroups;
    if (in_unit == 0) {
      scale_bytes += Type::kScaleBytes;
      for (std::size_t line = (scale_bytes - Type::kScaleBytes) / 64; line < scale_bytes / 64; ++line) {
        PrefetchNext(ahead);
      }
    }
    for (std::size_t line = 0; line < Type::kCodeBytes / 64; ++line) PrefetchNext(ahead);
    const ScaledGroup<Type, How> group(scales + scale_bytes - Type::kScaleBytes, in_unit, codes);
    if constexpr (Alone) {
      alone = group.Add(*x, alone);
      ++x;
    } else {
      for (int t = 0; t < tokens; ++t, ++x) {
        Simd::Store(out + kPanelRows * t, group.Add(*x, Simd::Load(out + kPanelRows * t)));
      }
    }
    codes += Type::kCodeBytes;
  }
  if constexpr (Alone) Simd::Store(out, alone);
}

template <typename Type, Arithmetic How>
void MultiplyDigits(const PackedMatrix& m, int panel, const PackedInput& input, float* out) {
  const void* records = ScaledGroup<Type, How>::Record::kForm == InputForm::kBytes ? input.bytes : input.halves;
  if (input.tokens == 1) return PanelDigits<Type, How, true>(m, panel, records, 1, out);
  PanelDigits<Type, How, false>(m, panel, records, input.tokens, out);
}

}  // namespace
}  // namespace skywork_rt::native
