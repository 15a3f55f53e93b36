#pragma once

#include "backend/native/half.h"
#include "backend/native/kernels/digits.h"

// Sixteen lanes in plain C++: what every other Simd must equal to the bit.

namespace skywork_rt::native {
namespace {

struct Simd {
  struct F {
    float lane[16];
  };
  struct Raw {
    std::uint32_t lane[16];
  };
  struct I {
    std::int32_t lane[16];
  };
  static constexpr int kTile = 4;
  static constexpr int kWidths[] = {1, 2, 4};
  static constexpr int kSideBySide = 4;  // groups of a row whose chains run side by side
  static constexpr int kQueries = 2;     // queries of one pass over a page
  static constexpr int kStrip = 1;       // vectors of the output held in registers

  template <typename G>
  static F Map(G g) {
    F r;
    for (int i = 0; i < 16; ++i) r.lane[i] = g(i);
    return r;
  }

  static F Set1(float x) {
    return Map([=](int) { return x; });
  }
  static F Zero() { return Set1(0.0f); }
  static F Load(const float* p) {
    return Map([=](int i) { return p[i]; });
  }
  static void Store(float* p, F a) {
    for (int i = 0; i < 16; ++i) p[i] = a.lane[i];
  }
  static F LoadHalf(const std::uint16_t* p) {
    return Map([=](int i) { return HalfToFloat(p[i]); });
  }
  static void StoreHalf(std::uint16_t* p, F a) {
    for (int i = 0; i < 16; ++i) p[i] = FloatToHalf(a.lane[i]);
  }

  static F Add(F a, F b) {
    return Map([&](int i) { return a.lane[i] + b.lane[i]; });
  }
  static F Sub(F a, F b) {
    return Map([&](int i) { return a.lane[i] - b.lane[i]; });
  }
  static F Mul(F a, F b) {
    return Map([&](int i) { return a.lane[i] * b.lane[i]; });
  }
  static F Div(F a, F b) {
    return Map([&](int i) { return a.lane[i] / b.lane[i]; });
  }
  static F Fma(F a, F b, F c) {
    return Map([&](int i) { return __builtin_fmaf(a.lane[i], b.lane[i], c.lane[i]); });
  }
  /// As maxps: b when either is NaN.
  static F Max(F a, F b) {
    return Map([&](int i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; });
  }
  static F Min(F a, F b) {
    return Map([&](int i) { return a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]; });
  }
  /// value where x >= bound, else 0.
  static F KeepFrom(F x, float bound, F value) {
    return Map([&](int i) { return x.lane[i] >= bound ? value.lane[i] : 0.0f; });
  }
  /// a in the first `count` lanes, `fill` in the others.
  static F FillTail(F a, int count, float fill) {
    return Map([&](int i) { return i < count ? a.lane[i] : fill; });
  }
  /// Adds to a's exponent the integer in the low bits of `shifted`.
  static F AddExponent(F a, F shifted) {
    return Map([&](int i) {
      std::uint32_t bits = 0;
      std::uint32_t n = 0;
      std::memcpy(&bits, &a.lane[i], 4);
      std::memcpy(&n, &shifted.lane[i], 4);
      bits += n << 23;
      float r = 0;
      std::memcpy(&r, &bits, 4);
      return r;
    });
  }
  /// Lane i plus lane i + 8, then + 4, + 2, + 1.
  static float ReduceAdd(F a) {
    for (int width = 8; width >= 1; width /= 2) {
      for (int i = 0; i < width; ++i) a.lane[i] += a.lane[i + width];
    }
    return a.lane[0];
  }
  static float ReduceMax(F a) {
    for (int width = 8; width >= 1; width /= 2) {
      for (int i = 0; i < width; ++i) a.lane[i] = a.lane[i] > a.lane[i + width] ? a.lane[i] : a.lane[i + width];
    }
    return a.lane[0];
  }

  static Raw LoadRaw(const std::uint8_t* p) {
    Raw r;
    std::memcpy(r.lane, p, sizeof(r.lane));
    return r;
  }
  /// Byte J of each dword as a signed number, times 2^24.
  template <int J>
  static F Int8(const Raw& raw) {
    return Map(
        [&](int i) { return static_cast<float>(static_cast<std::int32_t>((raw.lane[i] >> (8 * J) & 0xFFu) << 24)); });
  }
  /// The four bits from `Shift` on of each dword.
  template <int Shift>
  static F Nibble(const Raw& raw) {
    return Map([&](int i) { return static_cast<float>(raw.lane[i] >> Shift & 0xFu); });
  }
  /// Byte J of each dword as an unsigned number.
  template <int J>
  static F Byte(const Raw& raw) {
    return Map([&](int i) { return static_cast<float>(raw.lane[i] >> (8 * J) & 0xFFu); });
  }
  /// Each of 16 bytes, moved down by `Shift`, as far as `Mask` has bits, as a number.
  template <int Shift, int Mask>
  static F Numbers(const std::uint8_t* p) {
    return Map([=](int i) { return static_cast<float>(p[i] >> Shift & Mask); });
  }
  static F SignedNumbers(const std::uint8_t* p) {
    return Map([=](int i) { return static_cast<float>(static_cast<std::int8_t>(p[i])); });
  }
  /// Each byte moved down by `Shift` (up, where it is negative), as far as `Mask`, which no bit of a neighbour reaches,
  /// has bits.
  template <int Shift, int Mask>
  static Raw Bits(Raw raw) {
    for (std::uint32_t& lane : raw.lane) {
      lane = (Shift >= 0 ? lane >> (Shift >= 0 ? Shift : 0) : lane << (Shift < 0 ? -Shift : 0)) & 0x01010101u * Mask;
    }
    return raw;
  }
  static Raw Or(Raw a, const Raw& b) {
    for (int i = 0; i < 16; ++i) a.lane[i] |= b.lane[i];
    return a;
  }
  /// Each byte, below 16, as the number of that place.
  static Raw Lookup(Raw raw, const std::int8_t (&numbers)[16]) {
    for (std::uint32_t& lane : raw.lane) {
      std::uint32_t found = 0;
      for (int b = 0; b < 4; ++b) {
        found |= static_cast<std::uint32_t>(static_cast<std::uint8_t>(numbers[lane >> (8 * b) & 0xFu])) << (8 * b);
      }
      lane = found;
    }
    return raw;
  }
  static I SetInt(std::int32_t x) {
    I r;
    for (std::int32_t& lane : r.lane) lane = x;
    return r;
  }
  static F ToFloat(const I& a) {
    return Map([&](int i) { return static_cast<float>(a.lane[i]); });
  }
  /// Turns int8 codes into unsigned ones, larger by 128.
  static Raw AddBias(Raw raw) {
    for (std::uint32_t& lane : raw.lane) lane ^= 0x80808080u;
    return raw;
  }
  /// acc plus, in each lane, the four products of unsigned bytes of w and signed bytes of x.
  static I Dot4(I acc, const Raw& w, std::int32_t x) {
    for (int i = 0; i < 16; ++i) {
      for (int b = 0; b < 4; ++b) {
        const auto weight = static_cast<std::int32_t>(w.lane[i] >> (8 * b) & 0xFFu);
        acc.lane[i] += weight * static_cast<std::int8_t>(static_cast<std::uint32_t>(x) >> (8 * b) & 0xFFu);
      }
    }
    return acc;
  }
  template <int N>
  static I ShiftLeft(I a) {
    for (std::int32_t& lane : a.lane) lane *= 1 << N;
    return a;
  }
  /// Rounds down.
  template <int N>
  static I ShiftRight(I a) {
    for (std::int32_t& lane : a.lane) lane >>= N;
    return a;
  }
  static I LowFour(I a) {
    for (std::int32_t& lane : a.lane) lane &= 0xF;
    return a;
  }
  static I AddInt(I a, const I& b) {
    for (int i = 0; i < 16; ++i) a.lane[i] += b.lane[i];
    return a;
  }
  static constexpr Arithmetic kExact = Arithmetic::kFloat32;
  static constexpr bool kHasFixed24 = true;
  static constexpr InputForm kInt8Form = InputForm::kBytes;
  static constexpr bool kWideSums = true;  // NibbleSum holds any sum of a group
  using NibbleSum = I;
  static NibbleSum NoNibbles() { return SetInt(0); }
  static NibbleSum AddNibbles(const NibbleSum& acc, const Raw& w, std::int32_t x) { return Dot4(acc, w, x); }
  static I Total(const NibbleSum& acc) { return acc; }
  /// Half J of each dword as bfloat16.
  template <int J>
  static F Bf16(const Raw& raw) {
    return Map([&](int i) {
      const std::uint32_t bits = J == 0 ? raw.lane[i] << 16 : raw.lane[i] & 0xFFFF0000u;
      float r = 0;
      std::memcpy(&r, &bits, 4);
      return r;
    });
  }
};

}  // namespace
}  // namespace skywork_rt::native
