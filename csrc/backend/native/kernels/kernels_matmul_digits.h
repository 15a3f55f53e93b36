#pragma once

// A panel of int8 or int4 weights times activations in fixed point (digits.h). A part of kernels_impl.h.
//
// A group's dot product is exact in integers, whichever form an instruction set reads, and is rounded to float once. So
// all sets, and all numbers of tokens, give the same bits:
//
//   acc = fma(scale * step, float(Σ code * f), acc), then, for int4, acc = fma(minimum, step * float(Σ f), acc)

#include "backend/native/kernels/kernels_common.h"
#include "backend/native/kernels/kernels_digits.h"

namespace skywork_rt::native {
namespace {

/// A group of int4 weights. Digits of 8 bits: the sum of 32 products with a digit is below 2^16.
template <typename S, int Digits>
struct NibbleGroup {
  using Record = ByteRecord<Digits>;
  Raw weights[kGroup / 4];

  SKYWORK_RT_INLINE void Load(const std::uint8_t* codes) {
    SKYWORK_RT_UNROLL
    for (int i = 0; i < kGroup / 8; ++i) {
      const Raw raw = S::LoadRaw(codes + 64 * i);
      weights[2 * i] = S::LowHalves(raw);
      weights[2 * i + 1] = S::HighHalves(raw);
    }
  }
  SKYWORK_RT_INLINE F Dot(const Record& x) const {
    typename S::NibbleSum sums[Digits];
    SKYWORK_RT_UNROLL
    for (int d = 0; d < Digits; ++d) sums[d] = S::NoNibbles();
    SKYWORK_RT_UNROLL
    for (int q = 0; q < kGroup / 4; ++q) {
      SKYWORK_RT_UNROLL
      for (int d = 0; d < Digits; ++d) sums[d] = S::AddNibbles(sums[d], weights[q], x.codes[d][q]);
    }
    if constexpr (Digits == 1) {
      return S::ToFloat(S::Total(sums[0]));
    } else {
      const auto low = S::AddInt(S::template ShiftLeft<8>(S::Total(sums[1])), S::Total(sums[0]));  // below 2^24
      return S::Fma(S::ToFloat(S::Total(sums[2])), S::Set1(65536.0f), S::ToFloat(low));
    }
  }
};

/// A group of int8 weights where the processor multiplies bytes, one of them unsigned: weights are taken as 128 more,
/// which the record's offsets make good. The sum of 32 products with a digit is then at most 2^19.
template <typename S, int Digits>
struct ByteGroup {
  using Record = ByteRecord<Digits>;
  Raw weights[kGroup / 4];

  SKYWORK_RT_INLINE void Load(const std::uint8_t* codes) {
    SKYWORK_RT_UNROLL
    for (int q = 0; q < kGroup / 4; ++q) weights[q] = S::AddBias(S::LoadRaw(codes + 64 * q));
  }
  SKYWORK_RT_INLINE F Dot(const Record& x) const {
    typename S::I sums[Digits];
    SKYWORK_RT_UNROLL
    for (int d = 0; d < Digits; ++d) sums[d] = S::SetInt(x.offsets[d]);
    SKYWORK_RT_UNROLL
    for (int q = 0; q < kGroup / 4; ++q) {
      SKYWORK_RT_UNROLL
      for (int d = 0; d < Digits; ++d) sums[d] = S::Dot4(sums[d], weights[q], x.codes[d][q]);
    }
    if constexpr (Digits == 1) {
      return S::ToFloat(sums[0]);
    } else {
      // At distances of 8 bits the sums do not fit two floats' 24 as they are, so the middle one is split: high is at
      // most 2^23 + 2^15, low at most 2^19 + 2^12, both exact.
      const auto high = S::AddInt(S::template ShiftLeft<4>(sums[2]), S::template ShiftRight<4>(sums[1]));
      const auto low = S::AddInt(S::template ShiftLeft<8>(S::LowFour(sums[1])), sums[0]);
      return S::Fma(S::ToFloat(high), S::Set1(4096.0f), S::ToFloat(low));
    }
  }
};

/// The same, for activations rounded to int8, by halves of 16 bits.
template <typename S>
struct HalfGroup {
  using Record = HalfRecord;
  Raw even[kGroup / 4];
  Raw odd[kGroup / 4];

  SKYWORK_RT_INLINE void Load(const std::uint8_t* codes) {
    SKYWORK_RT_UNROLL
    for (int q = 0; q < kGroup / 4; ++q) {
      const Raw raw = S::LoadRaw(codes + 64 * q);
      even[q] = S::EvenBytes(raw);
      odd[q] = S::OddBytes(raw);
    }
  }
  SKYWORK_RT_INLINE F Dot(const Record& x) const {
    typename S::I sum = S::SetInt(0);
    SKYWORK_RT_UNROLL
    for (int q = 0; q < kGroup / 4; ++q) {
      sum = S::AddHalves(sum, even[q], x.codes[2 * q]);
      sum = S::AddHalves(sum, odd[q], x.codes[2 * q + 1]);
    }
    return S::ToFloat(sum);
  }
};

template <WeightKind Kind, Arithmetic How, InputForm Int8Form = Simd::kInt8Form>
struct ChooseGroup;
template <Arithmetic How, InputForm Int8Form>
struct ChooseGroup<WeightKind::kInt4, How, Int8Form> {
  using Type = NibbleGroup<Simd, DigitCount(How)>;
};
template <Arithmetic How>
struct ChooseGroup<WeightKind::kInt8, How, InputForm::kBytes> {
  using Type = ByteGroup<Simd, DigitCount(How)>;
};
template <Arithmetic How>
struct ChooseGroup<WeightKind::kInt8, How, InputForm::kHalves> {
  using Type = HalfGroup<Simd>;
};

template <WeightKind Kind, Arithmetic How>
struct ScaledGroup {
  using Codes = typename ChooseGroup<Kind, How>::Type;
  using Record = typename Codes::Record;
  Codes weights;
  F scale;
  F minimum;

  SKYWORK_RT_INLINE ScaledGroup(const std::uint8_t* scales, const std::uint8_t* codes) {
    weights.Load(codes);
    const auto* half = reinterpret_cast<const std::uint16_t*>(scales);
    scale = Simd::LoadHalf(half);
    minimum = Kind == WeightKind::kInt4 ? Simd::LoadHalf(half + kPanelRows) : Simd::Zero();
  }
  SKYWORK_RT_INLINE F Add(const Record& x, F acc) const {
    acc = Simd::Fma(Simd::Mul(scale, Simd::Set1(x.step)), weights.Dot(x), acc);
    if constexpr (Kind == WeightKind::kInt4) acc = Simd::Fma(minimum, Simd::Set1(x.sum), acc);
    return acc;
  }
};

/// One panel times `tokens` tokens: out [tokens][16]. Alone: there is one, whose sum stays in registers.
template <WeightKind Kind, Arithmetic How, bool Alone>
void PanelDigits(const PackedMatrix& m, int panel, const void* records, int tokens, float* out) {
  constexpr int kScaleEvery = 64 / static_cast<int>(ScaleBytes(Kind));  // groups whose scales share a line
  const auto* x = static_cast<const typename ScaledGroup<Kind, How>::Record*>(records);
  const std::uint8_t* scales = m.Scales(panel);
  const std::uint8_t* codes = m.Codes(panel);
  const std::uint8_t* ahead = scales + kPrefetchBytes;
  F alone = Simd::Zero();
  if constexpr (!Alone) {
    for (int t = 0; t < tokens; ++t) Simd::Store(out + kPanelRows * t, Simd::Zero());
  }
  for (int g = 0; g < m.groups; ++g) {
    if (g % kScaleEvery == 0) PrefetchNext(ahead);
    for (std::size_t line = 0; line < CodeBytes(Kind) / 64; ++line) PrefetchNext(ahead);
    const ScaledGroup<Kind, How> group(scales, codes);
    if constexpr (Alone) {
      alone = group.Add(*x, alone);
      ++x;
    } else {
      for (int t = 0; t < tokens; ++t, ++x) {
        Simd::Store(out + kPanelRows * t, group.Add(*x, Simd::Load(out + kPanelRows * t)));
      }
    }
    scales += ScaleBytes(Kind);
    codes += CodeBytes(Kind);
  }
  if constexpr (Alone) Simd::Store(out, alone);
}

template <WeightKind Kind, Arithmetic How>
void MultiplyDigits(const PackedMatrix& m, int panel, const PackedInput& input, float* out) {
  const void* records = Form(Kind, How) == InputForm::kBytes ? input.bytes : input.halves;
  if (input.tokens == 1) return PanelDigits<Kind, How, true>(m, panel, records, 1, out);
  PanelDigits<Kind, How, false>(m, panel, records, input.tokens, out);
}

}  // namespace
}  // namespace skywork_rt::native
