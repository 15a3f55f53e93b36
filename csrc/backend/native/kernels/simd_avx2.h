#pragma once

#include <immintrin.h>

#include <cstdint>

#include "backend/native/kernels/digits.h"

// Sixteen lanes in two AVX2 registers (with FMA and F16C).

namespace skywork_rt::native {
namespace {

struct Simd {
  struct F {
    __m256 lo, hi;
  };
  struct Raw {
    __m256i lo, hi;
  };
  using I = Raw;
  static constexpr int kTile = 4;
  static constexpr int kWidths[] = {1, 2, 4};
  static constexpr int kSideBySide = 2;
  static constexpr int kQueries = 3;
  static constexpr int kStrip = 1;

  static F Set1(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
  static F Zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  static F Load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static void Store(float* p, F a) {
    _mm256_storeu_ps(p, a.lo);
    _mm256_storeu_ps(p + 8, a.hi);
  }
  static F LoadHalf(const std::uint16_t* p) {
    return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))),
            _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 8)))};
  }
  static void StoreHalf(std::uint16_t* p, F a) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(a.lo, _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 8), _mm256_cvtps_ph(a.hi, _MM_FROUND_TO_NEAREST_INT));
  }

  static F Add(F a, F b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
  static F Sub(F a, F b) { return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
  static F Mul(F a, F b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
  static F Div(F a, F b) { return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
  static F Fma(F a, F b, F c) { return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)}; }
  static F Max(F a, F b) { return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
  static F Min(F a, F b) { return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)}; }
  static F KeepFrom(F x, float bound, F value) {
    const __m256 least = _mm256_set1_ps(bound);
    return {_mm256_and_ps(_mm256_cmp_ps(x.lo, least, _CMP_GE_OQ), value.lo),
            _mm256_and_ps(_mm256_cmp_ps(x.hi, least, _CMP_GE_OQ), value.hi)};
  }
  static F FillTail(F a, int count, float fill) {
    const __m256i first = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i second = _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15);
    const __m256i limit = _mm256_set1_epi32(count);
    const __m256 other = _mm256_set1_ps(fill);
    return {_mm256_blendv_ps(other, a.lo, _mm256_castsi256_ps(_mm256_cmpgt_epi32(limit, first))),
            _mm256_blendv_ps(other, a.hi, _mm256_castsi256_ps(_mm256_cmpgt_epi32(limit, second)))};
  }
  static F AddExponent(F a, F shifted) {
    return {AddExponentHalf(a.lo, shifted.lo), AddExponentHalf(a.hi, shifted.hi)};
  }
  static float ReduceAdd(F a) {
    const __m256 b = _mm256_add_ps(a.lo, a.hi);
    const __m128 c = _mm_add_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
    const __m128 d = _mm_add_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_add_ss(d, _mm_movehdup_ps(d)));
  }
  static float ReduceMax(F a) {
    const __m256 b = _mm256_max_ps(a.lo, a.hi);
    const __m128 c = _mm_max_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
    const __m128 d = _mm_max_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_max_ss(d, _mm_movehdup_ps(d)));
  }

  static Raw LoadRaw(const std::uint8_t* p) {
    return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)),
            _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 32))};
  }
  template <int J>
  static F Int8(Raw raw) {
    return {_mm256_cvtepi32_ps(TopByte<J>(raw.lo)), _mm256_cvtepi32_ps(TopByte<J>(raw.hi))};
  }
  template <int Shift>
  static F Nibble(Raw raw) {
    const __m256i mask = _mm256_set1_epi32(0xF);
    return {_mm256_cvtepi32_ps(_mm256_and_si256(_mm256_srli_epi32(raw.lo, Shift), mask)),
            _mm256_cvtepi32_ps(_mm256_and_si256(_mm256_srli_epi32(raw.hi, Shift), mask))};
  }
  static I SetInt(std::int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
  static F ToFloat(I a) { return {_mm256_cvtepi32_ps(a.lo), _mm256_cvtepi32_ps(a.hi)}; }
  static I AddInt(I a, I b) { return {_mm256_add_epi32(a.lo, b.lo), _mm256_add_epi32(a.hi, b.hi)}; }
  template <int J>
  static F Byte(Raw raw) {
    return {_mm256_cvtepi32_ps(LowByte<J>(raw.lo)), _mm256_cvtepi32_ps(LowByte<J>(raw.hi))};
  }
  template <int Shift, int Mask>
  static F Numbers(const std::uint8_t* p) {
    const __m256i mask = _mm256_set1_epi32(Mask);
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    const __m256i lo = _mm256_srli_epi32(_mm256_cvtepu8_epi32(bytes), Shift);
    const __m256i hi = _mm256_srli_epi32(_mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8)), Shift);
    return {_mm256_cvtepi32_ps(_mm256_and_si256(lo, mask)), _mm256_cvtepi32_ps(_mm256_and_si256(hi, mask))};
  }
  static F SignedNumbers(const std::uint8_t* p) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)),
            _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8)))};
  }
  template <int Shift, int Mask>
  static Raw Bits(Raw raw) {
    const __m256i mask = _mm256_set1_epi32(0x01010101 * Mask);
    if constexpr (Shift >= 0) {
      return {_mm256_and_si256(_mm256_srli_epi32(raw.lo, Shift), mask),
              _mm256_and_si256(_mm256_srli_epi32(raw.hi, Shift), mask)};
    } else {
      return {_mm256_and_si256(_mm256_slli_epi32(raw.lo, -Shift), mask),
              _mm256_and_si256(_mm256_slli_epi32(raw.hi, -Shift), mask)};
    }
  }
  static Raw Or(Raw a, Raw b) { return {_mm256_or_si256(a.lo, b.lo), _mm256_or_si256(a.hi, b.hi)}; }
  static Raw Lookup(Raw raw, const std::int8_t (&numbers)[16]) {
    const __m256i table = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(numbers)));
    return {_mm256_shuffle_epi8(table, raw.lo), _mm256_shuffle_epi8(table, raw.hi)};
  }
  static constexpr Arithmetic kExact = Arithmetic::kFloat32;
  static constexpr bool kHasFixed24 = false;
  static constexpr InputForm kInt8Form = InputForm::kHalves;
  static Raw EvenBytes(Raw raw) {
    return {_mm256_srai_epi16(_mm256_slli_epi16(raw.lo, 8), 8), _mm256_srai_epi16(_mm256_slli_epi16(raw.hi, 8), 8)};
  }
  static Raw OddBytes(Raw raw) { return {_mm256_srai_epi16(raw.lo, 8), _mm256_srai_epi16(raw.hi, 8)}; }
  static I AddHalves(I acc, Raw w, std::int32_t x) {
    const __m256i v = _mm256_set1_epi32(x);
    return {_mm256_add_epi32(acc.lo, _mm256_madd_epi16(w.lo, v)), _mm256_add_epi32(acc.hi, _mm256_madd_epi16(w.hi, v))};
  }
  /// Sums of 16 bits, each of two of a dword's four products. Eight such, of 15 * 128 * 2 at most, fit; four of 31 and
  /// two of 63 times 127, which is a digit's most where there is one alone.
  static constexpr bool kWideSums = false;
  using NibbleSum = I;
  static NibbleSum NoNibbles() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
  static NibbleSum AddNibbles(NibbleSum acc, Raw w, std::int32_t x) {
    const __m256i v = _mm256_set1_epi32(x);
    return {_mm256_add_epi16(acc.lo, _mm256_maddubs_epi16(w.lo, v)),
            _mm256_add_epi16(acc.hi, _mm256_maddubs_epi16(w.hi, v))};
  }
  static I Total(NibbleSum acc) {
    const __m256i one = _mm256_set1_epi16(1);
    return {_mm256_madd_epi16(acc.lo, one), _mm256_madd_epi16(acc.hi, one)};
  }
  template <int J>
  static F Bf16(Raw raw) {
    return {_mm256_castsi256_ps(Bf16Bits<J>(raw.lo)), _mm256_castsi256_ps(Bf16Bits<J>(raw.hi))};
  }

 private:
  static __m256 AddExponentHalf(__m256 a, __m256 shifted) {
    return _mm256_castsi256_ps(
        _mm256_add_epi32(_mm256_castps_si256(a), _mm256_slli_epi32(_mm256_castps_si256(shifted), 23)));
  }
  template <int J>
  static __m256i LowByte(__m256i raw) {
    return _mm256_and_si256(_mm256_srli_epi32(raw, 8 * J), _mm256_set1_epi32(0xFF));
  }
  template <int J>
  static __m256i TopByte(__m256i raw) {
    const __m256i mask = _mm256_set1_epi32(static_cast<int>(0xFF000000u));
    if constexpr (J == 3) return _mm256_and_si256(raw, mask);
    return _mm256_and_si256(_mm256_slli_epi32(raw, 24 - 8 * J), mask);
  }
  template <int J>
  static __m256i Bf16Bits(__m256i raw) {
    if constexpr (J == 0) return _mm256_slli_epi32(raw, 16);
    return _mm256_and_si256(raw, _mm256_set1_epi32(static_cast<int>(0xFFFF0000u)));
  }
};

}  // namespace
}  // namespace skywork_rt::native
