#pragma once

#include <immintrin.h>

#include <cstdint>

#include "backend/native/kernels/digits.h"

// Sixteen lanes in one AVX-512 register (F, BW, DQ, VL).

namespace skywork_rt::native {
namespace {

struct Simd {
  using F = __m512;
  using Raw = __m512i;
  using I = __m512i;
  static constexpr int kTile = 24;
  static constexpr int kWidths[] = {1, 2, 4, 8, 12, 16, 24};
  static constexpr int kSideBySide = 6;
  static constexpr int kQueries = 6;
  static constexpr int kStrip = 4;

  static F Set1(float x) { return _mm512_set1_ps(x); }
  static F Zero() { return _mm512_setzero_ps(); }
  static F Load(const float* p) { return _mm512_loadu_ps(p); }
  static void Store(float* p, F a) { _mm512_storeu_ps(p, a); }
  static F LoadHalf(const std::uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static void StoreHalf(std::uint16_t* p, F a) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
  }

  static F Add(F a, F b) { return _mm512_add_ps(a, b); }
  static F Sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static F Mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F Div(F a, F b) { return _mm512_div_ps(a, b); }
  static F Fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F Max(F a, F b) { return _mm512_max_ps(a, b); }
  static F Min(F a, F b) { return _mm512_min_ps(a, b); }
  static F KeepFrom(F x, float bound, F value) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, _mm512_set1_ps(bound), _CMP_GE_OQ), value);
  }
  static F FillTail(F a, int count, float fill) {
    const auto keep = static_cast<__mmask16>(count >= 16 ? 0xFFFF : (1 << count) - 1);
    return _mm512_mask_mov_ps(_mm512_set1_ps(fill), keep, a);
  }
  static F AddExponent(F a, F shifted) {
    return _mm512_castsi512_ps(
        _mm512_add_epi32(_mm512_castps_si512(a), _mm512_slli_epi32(_mm512_castps_si512(shifted), 23)));
  }
  static float ReduceAdd(F a) {
    const __m256 b = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    const __m128 c = _mm_add_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
    const __m128 d = _mm_add_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_add_ss(d, _mm_movehdup_ps(d)));
  }
  static float ReduceMax(F a) {
    const __m256 b = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    const __m128 c = _mm_max_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
    const __m128 d = _mm_max_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_max_ss(d, _mm_movehdup_ps(d)));
  }

  static Raw LoadRaw(const std::uint8_t* p) { return _mm512_loadu_si512(p); }
  template <int J>
  static F Int8(Raw raw) {
    if constexpr (J == 3) {
      return _mm512_cvtepi32_ps(_mm512_and_si512(raw, _mm512_set1_epi32(static_cast<int>(0xFF000000u))));
    } else {  // byte J of each dword to its top, zeros below
      const __m512i index = _mm512_set4_epi32(static_cast<int>(0x0C808080u + (static_cast<unsigned>(J) << 24)),
                                              static_cast<int>(0x08808080u + (static_cast<unsigned>(J) << 24)),
                                              static_cast<int>(0x04808080u + (static_cast<unsigned>(J) << 24)),
                                              static_cast<int>(0x00808080u + (static_cast<unsigned>(J) << 24)));
      return _mm512_cvtepi32_ps(_mm512_shuffle_epi8(raw, index));
    }
  }
  /// The permutation looks at the low four bits of its index only, so one table turns codes into floats.
  template <int Shift>
  static F Nibble(Raw raw) {
    const __m512 table = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    if constexpr (Shift == 0) return _mm512_permutexvar_ps(raw, table);
    return _mm512_permutexvar_ps(_mm512_srli_epi32(raw, Shift), table);
  }
  static I SetInt(std::int32_t x) { return _mm512_set1_epi32(x); }
  static F ToFloat(I a) { return _mm512_cvtepi32_ps(a); }
  template <int J>
  static F Byte(Raw raw) {
    return _mm512_cvtepi32_ps(_mm512_and_si512(_mm512_srli_epi32(raw, 8 * J), _mm512_set1_epi32(0xFF)));
  }
  template <int Shift, int Mask>
  static F Numbers(const std::uint8_t* p) {
    const __m512i numbers = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    return _mm512_cvtepi32_ps(_mm512_and_si512(_mm512_srli_epi32(numbers, Shift), _mm512_set1_epi32(Mask)));
  }
  static F SignedNumbers(const std::uint8_t* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }
  template <int Shift, int Mask>
  static Raw Bits(Raw raw) {
    const __m512i mask = _mm512_set1_epi32(0x01010101 * Mask);
    if constexpr (Shift >= 0) return _mm512_and_si512(_mm512_srli_epi32(raw, Shift), mask);
    if constexpr (Shift < 0) return _mm512_and_si512(_mm512_slli_epi32(raw, -Shift), mask);
  }
  static Raw Or(Raw a, Raw b) { return _mm512_or_si512(a, b); }
  static Raw Lookup(Raw raw, const std::int8_t (&numbers)[16]) {
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(numbers))), raw);
  }
  static I AddInt(I a, I b) { return _mm512_add_epi32(a, b); }
  using NibbleSum = I;
  static NibbleSum NoNibbles() { return _mm512_setzero_si512(); }
#if defined(__AVX512VNNI__)
  static constexpr bool kWideSums = true;
  static constexpr Arithmetic kExact = Arithmetic::kFixed24;
  static constexpr bool kHasFixed24 = true;
  template <int N>
  static I ShiftLeft(I a) {
    return _mm512_slli_epi32(a, N);
  }
  template <int N>
  static I ShiftRight(I a) {
    return _mm512_srai_epi32(a, N);
  }
  static I LowFour(I a) {
    return _mm512_and_si512(a, _mm512_set1_epi32(0xF));
  }
  static constexpr InputForm kInt8Form = InputForm::kBytes;
  static Raw AddBias(Raw raw) {
    return _mm512_xor_si512(raw, _mm512_set1_epi32(static_cast<int>(0x80808080u)));
  }
  static I Dot4(I acc, Raw w, std::int32_t x) {
    return _mm512_dpbusd_epi32(acc, w, _mm512_set1_epi32(x));
  }
  static NibbleSum AddNibbles(NibbleSum acc, Raw w, std::int32_t x) {
    return Dot4(acc, w, x);
  }
  static I Total(NibbleSum acc) {
    return acc;
  }
#else
  static constexpr bool kWideSums = false;
  static constexpr Arithmetic kExact = Arithmetic::kFloat32;
  static constexpr bool kHasFixed24 = false;
  static constexpr InputForm kInt8Form = InputForm::kHalves;
  static Raw EvenBytes(Raw raw) {
    return _mm512_srai_epi16(_mm512_slli_epi16(raw, 8), 8);
  }
  static Raw OddBytes(Raw raw) {
    return _mm512_srai_epi16(raw, 8);
  }
  static I AddHalves(I acc, Raw w, std::int32_t x) {
    return _mm512_add_epi32(acc, _mm512_madd_epi16(w, _mm512_set1_epi32(x)));
  }
  /// Sums of 16 bits: see simd_avx2.h.
  static NibbleSum AddNibbles(NibbleSum acc, Raw w, std::int32_t x) {
    return _mm512_add_epi16(acc, _mm512_maddubs_epi16(w, _mm512_set1_epi32(x)));
  }
  static I Total(NibbleSum acc) {
    return _mm512_madd_epi16(acc, _mm512_set1_epi16(1));
  }
#endif
  template <int J>
  static F Bf16(Raw raw) {
    if constexpr (J == 0) return _mm512_castsi512_ps(_mm512_slli_epi32(raw, 16));
    return _mm512_castsi512_ps(_mm512_and_si512(raw, _mm512_set1_epi32(static_cast<int>(0xFFFF0000u))));
  }
};

}  // namespace
}  // namespace skywork_rt::native
