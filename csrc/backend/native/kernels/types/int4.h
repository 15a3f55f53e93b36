#pragma once

#include "backend/native/kernels/digits.h"
#include "backend/native/kernels/panel.h"
#include "backend/native/kernels/unroll.h"

namespace skywork_rt::native::types {

/// A group of int4 weights. Digits of 8 bits: the sum of 32 products with a digit is below 2^16.
template <typename S, int Digits>
struct NibbleGroup {
  using Record = ByteRecord<Digits>;
  typename S::Raw weights[kGroup / 4];

  SKYWORK_RT_INLINE void Load(const std::uint8_t* codes) {
    SKYWORK_RT_UNROLL
    for (int i = 0; i < kGroup / 8; ++i) {
      const typename S::Raw raw = S::LoadRaw(codes + 64 * i);
      weights[2 * i] = S::LowHalves(raw);
      weights[2 * i + 1] = S::HighHalves(raw);
    }
  }
  SKYWORK_RT_INLINE typename S::F Dot(const Record& x) const {
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

/// w = scale * code + minimum. Scales of a group: 16 float16 scales, then 16 float16 minimums. Codes: [4][16] dwords:
/// byte b holds input 8i + b in its low and 8i + 4 + b in its high four bits.
struct Int4 {
  static constexpr const char* kName = "int4";
  static constexpr std::size_t kScaleBytes = 64;
  static constexpr std::size_t kCodeBytes = 256;
  static constexpr bool kMinimums = true;
  static constexpr bool kIntegers = true;
  static constexpr int kLeastCode = 0;
  static constexpr int kMostCode = 15;

  static float Code(const std::uint8_t* codes, int k, int lane) {
    return static_cast<float>(codes[Place(k, lane)] >> Shift(k) & 0xF);
  }
  static float Put(std::uint8_t* codes, int k, int lane, float code) {
    std::uint8_t& both = codes[Place(k, lane)];
    both = static_cast<std::uint8_t>((both & ~(0xF << Shift(k))) | static_cast<int>(code) << Shift(k));
    return code;
  }

  static constexpr float kUnit = 1.0f;
  template <typename S, int J>
  static SKYWORK_RT_INLINE typename S::F Float(const std::uint8_t*, const typename S::Raw& raw) {
    return S::template Nibble<8 * (J % 4) + Shift(J)>(raw);
  }

  template <typename S, int Digits>
  using Group = NibbleGroup<S, Digits>;

 private:
  static constexpr int Place(int k, int lane) { return 64 * (k / 8) + 4 * lane + k % 4; }
  static constexpr int Shift(int k) { return k % 8 < 4 ? 0 : 4; }
};

}  // namespace skywork_rt::native::types
