#pragma once

// What the parts of kernels_impl.h share.

#include "backend/native/kernels/kernels.h"
#include "backend/native/kernels/unroll.h"

namespace skywork_rt::native {
namespace {

using F = Simd::F;
using Raw = Simd::Raw;

constexpr int kWidest = Simd::kTile;

// With few tokens a matrix is read at the memory's speed, and with 8 or 16 its lines are still waited for. The
// processor's own prefetching stops at the end of each page and is led astray by groups read side by side. Asking
// early, and for the second-level cache (the first has too few outstanding misses to keep the memory busy), makes
// reading nearly twice as fast. Every line is asked for once and in the order of memory, scales and codes alike: a line
// left out stalls its panel.
constexpr std::size_t kPrefetchBytes = 16384;

SKYWORK_RT_INLINE void PrefetchNext(const std::uint8_t*& ahead) {
  __builtin_prefetch(ahead, 0, 2);
  ahead += 64;
}

int TileWidth(int tokens) {
  for (const int width : Simd::kWidths) {
    if (tokens <= width) return width;
  }
  return Simd::kTile;
}

/// e^x to 2 units in the last place for -87 <= x <= 88; 0 below, large and finite above.
SKYWORK_RT_INLINE F Exp(F x) {
  const F clamped = Simd::Min(Simd::Max(x, Simd::Set1(-88.0f)), Simd::Set1(88.0f));
  const F magic = Simd::Set1(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer in the low bits
  const F shifted = Simd::Fma(clamped, Simd::Set1(1.44269504f), magic);
  const F n = Simd::Sub(shifted, magic);
  F r = Simd::Fma(n, Simd::Set1(-0x1.62e400p-1f), clamped);  // ln 2 in two parts, the first short enough to be exact
  r = Simd::Fma(n, Simd::Set1(-0x1.7f7d1cp-20f), r);
  F p = Simd::Set1(1.0f / 5040.0f);
  p = Simd::Fma(p, r, Simd::Set1(1.0f / 720.0f));
  p = Simd::Fma(p, r, Simd::Set1(1.0f / 120.0f));
  p = Simd::Fma(p, r, Simd::Set1(1.0f / 24.0f));
  p = Simd::Fma(p, r, Simd::Set1(1.0f / 6.0f));
  p = Simd::Fma(p, r, Simd::Set1(0.5f));
  p = Simd::Fma(p, r, Simd::Set1(1.0f));
  p = Simd::Fma(p, r, Simd::Set1(1.0f));
  return Simd::KeepFrom(x, -87.0f, Simd::AddExponent(p, shifted));
}

SKYWORK_RT_INLINE F Silu(F x) {
  return Simd::Div(x, Simd::Add(Simd::Set1(1.0f), Exp(Simd::Sub(Simd::Zero(), x))));
}

}  // namespace
}  // namespace skywork_rt::native
