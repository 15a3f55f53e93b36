#pragma once

#include <cstdint>
#include <cstring>

namespace skywork_rt::native {

/// IEEE binary16 to binary32, exact.
inline float HalfToFloat(std::uint16_t half) {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000u) << 16;
  const std::uint32_t exponent = half >> 10 & 0x1Fu;
  const std::uint32_t mantissa = half & 0x3FFu;
  std::uint32_t bits = 0;
  if (exponent == 0) {  // zero and subnormal: mantissa * 2^-24
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    std::memcpy(&bits, &magnitude, sizeof(bits));
  } else if (exponent == 31) {  // a signalling NaN turns quiet, as in hardware
    bits = 0x7F800000u | mantissa << 13 | (mantissa != 0 ? 0x400000u : 0u);
  } else {
    bits = (exponent + 112) << 23 | mantissa << 13;
  }
  bits |= sign;
  float value = 0;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

/// IEEE binary32 to binary16, to nearest with ties to even, as the F16C instructions do.
inline std::uint16_t FloatToHalf(float value) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof(bits));
  const std::uint32_t sign = bits >> 16 & 0x8000u;
  bits &= 0x7FFFFFFFu;
  if (bits > 0x7F800000u) return static_cast<std::uint16_t>(sign | 0x7E00u | (bits >> 13 & 0x3FFu));
  if (bits >= 0x477FF000u) return static_cast<std::uint16_t>(sign | 0x7C00u);
  if (bits < 0x38800000u) {  // subnormal: adding 0.5 leaves the rounded multiple of 2^-24 in the low bits
    float magnitude = 0;
    std::memcpy(&magnitude, &bits, sizeof(magnitude));
    magnitude += 0.5f;
    std::uint32_t shifted = 0;
    std::memcpy(&shifted, &magnitude, sizeof(shifted));
    return static_cast<std::uint16_t>(sign | (shifted - 0x3F000000u));
  }
  bits += 0xFFFu + (bits >> 13 & 1u);
  return static_cast<std::uint16_t>(sign | (bits - 0x38000000u) >> 13);
}

}  // namespace skywork_rt::native
