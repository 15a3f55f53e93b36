#pragma once

#include <cstring>

#include "backend/native/kernels/types/integers.h"

namespace skywork_rt::native::types {

/// A weight is itself. Codes of a group: [32][16] float: input, row.
struct F32 : Floats<2048> {
  static constexpr const char* kName = "f32";

  static float Code(const std::uint8_t* codes, int k, int lane) {
    float code = 0;
    std::memcpy(&code, codes + 64 * k + 4 * lane, sizeof(code));
    return code;
  }
  static float Put(std::uint8_t* codes, int k, int lane, float code) {
    std::memcpy(codes + 64 * k + 4 * lane, &code, sizeof(code));
    return code;
  }

  template <typename S, int J>
  static SKYWORK_RT_INLINE typename S::F Float(const std::uint8_t* line, const typename S::Raw&) {
    return S::Load(reinterpret_cast<const float*>(line));
  }
};

}  // namespace skywork_rt::native::types
