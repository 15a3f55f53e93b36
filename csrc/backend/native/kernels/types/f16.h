#pragma once

#include "backend/native/half.h"
#include "backend/native/kernels/types/integers.h"

namespace skywork_rt::native::types {

/// A weight is itself. Codes of a group: [32][16] float16: input, row.
struct F16 : Floats<1024> {
  static constexpr const char* kName = "f16";

  static float Code(const std::uint8_t* codes, int k, int lane) { return HalfAt(codes + 32 * k, lane); }
  static float Put(std::uint8_t* codes, int k, int lane, float code) {
    PutHalfAt(codes + 32 * k, lane, code);
    return Code(codes, k, lane);
  }
  template <typename S, int J>
  static SKYWORK_RT_INLINE typename S::F Float(const std::uint8_t* line, const typename S::Raw&) {
    return LoadHalves<S>(line + 32 * J);
  }
};

}  // namespace skywork_rt::native::types
