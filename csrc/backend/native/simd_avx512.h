#pragma once

#include <immintrin.h>

#include <cstdint>

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
  static Raw AddBias(Raw raw) { return _mm512_xor_si512(raw, _mm512_set1_epi32(static_cast<int>(0x80808080u))); }
  static Raw LowHalves(Raw raw) { return _mm512_and_si512(raw, _mm512_set1_epi32(0x0F0F0F0F)); }
  static Raw HighHalves(Raw raw) { return LowHalves(_mm512_srli_epi32(raw, 4)); }
  static I Dot4(I acc, Raw w, std::int32_t x) {
#if defined(__AVX512VNNI__)
    return _mm512_dpbusd_epi32(acc, w, _mm512_set1_epi32(x));
#else  // by halves of 16 bits: the instruction for bytes saturates
    const __m512i v = _mm512_set1_epi32(x);
    const __m512i even = _mm512_madd_epi16(_mm512_and_si512(w, _mm512_set1_epi32(0x00FF00FF)),
                                           _mm512_srai_epi16(_mm512_slli_epi16(v, 8), 8));
    const __m512i odd = _mm512_madd_epi16(_mm512_srli_epi16(w, 8), _mm512_srai_epi16(v, 8));
    return _mm512_add_epi32(acc, _mm512_add_epi32(even, odd));
#endif
  }
  template <int J>
  static F Bf16(Raw raw) {
    if constexpr (J == 0) return _mm512_castsi512_ps(_mm512_slli_epi32(raw, 16));
    return _mm512_castsi512_ps(_mm512_and_si512(raw, _mm512_set1_epi32(static_cast<int>(0xFFFF0000u))));
  }
};

}  // namespace
}  // namespace skywork_rt::native
