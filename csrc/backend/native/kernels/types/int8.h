#pragma once

#include <type_traits>

#include "backend/native/kernels/digits.h"
#include "backend/native/kernels/panel.h"
#include "backend/native/kernels/unroll.h"

namespace skywork_rt::native::types {

/// A group of int8 weights where the processor multiplies bytes, one of them unsigned: weights are taken as 128 more,
/// which the record's offsets make good. The sum of 32 products with a digit is then at most 2^19.
template <typename S, int Digits>
struct ByteGroup {
  using Record = ByteRecord<Digits>;
  typename S::Raw weights[kGroup / 4];

  SKYWORK_RT_INLINE void Load(const std::uint8_t* codes) {
    SKYWORK_RT_UNROLL
    for (int q = 0; q < kGroup / 4; ++q) weights[q] = S::AddBias(S::LoadRaw(codes + 64 * q));
  }
  SKYWORK_RT_INLINE typename S::F Dot(const Record& x) const {
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
  typename S::Raw even[kGroup / 4];
  typename S::Raw odd[kGroup / 4];

  SKYWORK_RT_INLINE void Load(const std::uint8_t* codes) {
    SKYWORK_RT_UNROLL
    for (int q = 0; q < kGroup / 4; ++q) {
      const typename S::Raw raw = S::LoadRaw(codes + 64 * q);
      even[q] = S::EvenBytes(raw);
      odd[q] = S::OddBytes(raw);
    }
  }
  SKYWORK_RT_INLINE typename S::F Dot(const Record& x) const {
    typename S::I sum = S::SetInt(0);
    SKYWORK_RT_UNROLL
    for (int q = 0; q < kGroup / 4; ++q) {
      sum = S::AddHalves(sum, even[q], x.codes[2 * q]);
      sum = S::AddHalves(sum, odd[q], x.codes[2 * q + 1]);
    }
    return S::ToFloat(sum);
  }
};

/// w = scale * code. Scales of a group: 16 float16. Codes: [8][16] dwords: inputs 4i … 4i + 3 of a row, lowest byte
/// first.
struct Int8 {
  static constexpr const char* kName = "int8";
  static constexpr std::size_t kScaleBytes = 32;
  static constexpr std::size_t kCodeBytes = 512;
  static constexpr bool kMinimums = false;
  static constexpr bool kIntegers = true;
  static constexpr int kLeastCode = -128;
  static constexpr int kMostCode = 127;

  static float Code(const std::uint8_t* codes, int k, int lane) {
    return static_cast<float>(static_cast<std::int8_t>(codes[Place(k, lane)]));
  }
  static float Put(std::uint8_t* codes, int k, int lane, float code) {
    codes[Place(k, lane)] = static_cast<std::uint8_t>(static_cast<int>(code));
    return code;
  }

  static constexpr float kUnit = 0x1p-24f;  // Float gives the code times 2^24, which no rounding can tell from the code
  template <typename S, int J>
  static SKYWORK_RT_INLINE typename S::F Float(const std::uint8_t*, const typename S::Raw& raw) {
    return S::template Int8<J>(raw);
  }

  template <typename S, int Digits>
  using Group = std::conditional_t<S::kInt8Form == InputForm::kBytes, ByteGroup<S, Digits>, HalfGroup<S>>;

 private:
  static constexpr int Place(int k, int lane) { return 64 * (k / 4) + 4 * lane + k % 4; }
};

}  // namespace skywork_rt::native::types
