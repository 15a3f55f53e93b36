#pragma once

#include "backend/native/kernels/types/integers.h"

namespace skywork_rt::native::types {

/// w = scale * code. Scales of a group: 16 float16. Codes: [8][16] dwords: inputs 4i … 4i + 3 of a row, lowest byte
/// first.
struct Int8 : Integers<SignedBytes, HalfScales<>> {
  static constexpr const char* kName = "int8";

  static constexpr bool kFloatLines = true;
  static constexpr float kUnit = 0x1p-24f;  // Float gives the code times 2^24, which no rounding can tell from the code
  template <typename S, int J>
  static SKYWORK_RT_INLINE typename S::F Float(const std::uint8_t*, const typename S::Raw& raw) {
    return S::template Int8<J>(raw);
  }
};

}  // namespace skywork_rt::native::types
