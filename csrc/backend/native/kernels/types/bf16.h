#pragma once

#include <cstring>

#include "backend/native/kernels/types/integers.h"

namespace skywork_rt::native::types {

/// A weight is itself. Codes of a group: [16][16] dwords: inputs 2i (low half) and 2i + 1 (high half) of a row.
struct Bf16 : Floats<1024> {
  static constexpr const char* kName = "bf16";

  static float Code(const std::uint8_t* codes, int k, int lane) {
    std::uint16_t half = 0;
    std::memcpy(&half, codes + Place(k, lane), sizeof(half));
    const std::uint32_t bits = static_cast<std::uint32_t>(half) << 16;
    float code = 0;
    std::memcpy(&code, &bits, sizeof(code));
    return code;
  }
  static float Put(std::uint8_t* codes, int k, int lane, float code) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &code, sizeof(bits));
    bits &= 0xFFFF0000u;
    const auto half = static_cast<std::uint16_t>(bits >> 16);
    std::memcpy(codes + Place(k, lane), &half, sizeof(half));
    std::memcpy(&code, &bits, sizeof(code));
    return code;
  }

  template <typename S, int J>
  static SKYWORK_RT_INLINE typename S::F Float(const std::uint8_t*, const typename S::Raw& raw) {
    return S::template Bf16<J>(raw);
  }

 private:
  static constexpr int Place(int k, int lane) { return 64 * (k / 2) + 4 * lane + 2 * (k % 2); }
};

}  // namespace skywork_rt::native::types
