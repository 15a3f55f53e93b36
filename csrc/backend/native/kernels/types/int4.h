#pragma once

#include "backend/native/kernels/types/integers.h"

namespace skywork_rt::native::types {

/// w = scale * code + minimum. Scales of a group: 16 float16 scales, then 16 float16 minimums. Codes: [4][16] dwords:
/// byte b holds input 8i + b in its low and 8i + 4 + b in its high four bits.
struct Int4 : Integers<Unsigned<4>, HalfPairs> {
  static constexpr const char* kName = "int4";

  static constexpr bool kFloatLines = true;
  static constexpr float kUnit = 1.0f;
  template <typename S, int J>
  static SKYWORK_RT_INLINE typename S::F Float(const std::uint8_t*, const typename S::Raw& raw) {
    return S::template Nibble<8 * (J % 4) + Plane<4>::Shift(J)>(raw);
  }
};

}  // namespace skywork_rt::native::types
