#pragma once

// A panel of any weights times float activations. A part of kernels_impl.h.

#include "backend/native/kernels/kernels_common.h"

namespace skywork_rt::native {
namespace {

/// Inputs of a 64-byte line.
template <typename Type>
constexpr int kLineInputs = kGroup / static_cast<int>(Type::kCodeBytes / 64);

/// What the kernels of this file take a type to be.
template <typename Type>
constexpr bool kHasFloatLines = Type::kFloatLines&& Type::kScaleGroups == 1 && Type::kParts == 1 &&
                                kGroup % (Type::kCodeBytes / 64) == 0 &&
                                (Type::kScaleBytes != 0 || Type::kUnit == 1.0f) &&
                                (Type::kScaleBytes == 0 || Type::kScaleBytes == (Type::kMinimums ? 64 : 32));

/// Inputs J … kInputs - 1 of one 64-byte load from each of U groups, for T tokens.
template <typename Type, int T, int U, int J>
SKYWORK_RT_INLINE void Inputs(const std::uint8_t* p, const Raw (&raw)[U], const float* x, F (&dot)[U][T]) {
  SKYWORK_RT_UNROLL
  for (int u = 0; u < U; ++u) {
    const F w = Type::template Float<Simd, J>(p + static_cast<std::size_t>(u) * Type::kCodeBytes, raw[u]);
    SKYWORK_RT_UNROLL
    for (int t = 0; t < T; ++t) dot[u][t] = Simd::Fma(w, Simd::Set1(x[(u * kGroup + J) * T + t]), dot[u][t]);
  }
  if constexpr (J + 1 < kLineInputs<Type>) Inputs<Type, T, U, J + 1>(p, raw, x, dot);
}

/// Adds U groups' scaled dot products to acc[t]: acc = scale * dot + acc, then, with minimums, min * Σx + acc. `ahead`
/// is what is prefetched meanwhile, as many lines as U groups take.
template <typename Type, int T, int U>
SKYWORK_RT_INLINE void Groups(const std::uint8_t* scales, const std::uint8_t* codes, const float* x, const float* sums,
                              const std::uint8_t*& ahead, F (&acc)[T]) {
  static_assert(kHasFloatLines<Type>, "lines of equally many inputs, and a unit only where scales take it in");
  constexpr std::size_t kScaleLines = RoundUp(U * Type::kScaleBytes, 64) / 64;
  SKYWORK_RT_UNROLL
  for (std::size_t i = 0; i < kScaleLines; ++i) PrefetchNext(ahead);
  F dot[U][T];
  SKYWORK_RT_UNROLL
  for (int u = 0; u < U; ++u) {
    SKYWORK_RT_UNROLL
    for (int t = 0; t < T; ++t) dot[u][t] = Simd::Zero();
  }
#pragma GCC unroll 2
  for (int k = 0; k < kGroup; k += kLineInputs<Type>) {
    const std::uint8_t* p = codes + 64 * (k / kLineInputs<Type>);
    Raw raw[U];
    SKYWORK_RT_UNROLL
    for (int u = 0; u < U; ++u) {
      const std::uint8_t* line = p + static_cast<std::size_t>(u) * Type::kCodeBytes;
      PrefetchNext(ahead);
      raw[u] = Simd::LoadRaw(line);
    }
    Inputs<Type, T, U, 0>(p, raw, x + k * T, dot);
  }
  SKYWORK_RT_UNROLL
  for (int u = 0; u < U; ++u) {
    if constexpr (Type::kScaleBytes == 0) {
      SKYWORK_RT_UNROLL
      for (int t = 0; t < T; ++t) acc[t] = Simd::Add(acc[t], dot[u][t]);
    } else {
      const auto* half = reinterpret_cast<const std::uint16_t*>(scales + u * Type::kScaleBytes);
      const F scale = Simd::Mul(Simd::LoadHalf(half), Simd::Set1(Type::kUnit));
      SKYWORK_RT_UNROLL
      for (int t = 0; t < T; ++t) acc[t] = Simd::Fma(scale, dot[u][t], acc[t]);
      if constexpr (Type::kMinimums) {
        const F minimum = Simd::LoadHalf(half + kPanelRows);
        SKYWORK_RT_UNROLL
        for (int t = 0; t < T; ++t) acc[t] = Simd::Fma(minimum, Simd::Set1(sums[u * T + t]), acc[t]);
      }
    }
  }
}

/// One panel times one tile: out [T][16].
template <typename Type, int T>
void PanelFloats(const PackedMatrix& m, int panel, const float* x, const float* sums, float* out) {
  // With few tokens one chain of additions would wait for itself: several groups run side by side.
  constexpr int kAhead = T == 1 ? Simd::kSideBySide : T == 2 ? 2 : 1;
  const std::uint8_t* scales = m.Scales(panel);
  const std::uint8_t* codes = m.Codes(panel);
  const std::uint8_t* ahead = scales + kPrefetchBytes;
  F acc[T];
  SKYWORK_RT_UNROLL
  for (int t = 0; t < T; ++t) acc[t] = Simd::Zero();
  int g = 0;
  for (; g + kAhead <= m.groups; g += kAhead) {
    Groups<Type, T, kAhead>(scales, codes, x, sums, ahead, acc);
    scales += kAhead * Type::kScaleBytes;
    codes += kAhead * Type::kCodeBytes;
    x += kAhead * kGroup * T;
    sums += kAhead * T;
  }
  for (; g < m.groups; ++g) {
    Groups<Type, T, 1>(scales, codes, x, sums, ahead, acc);
    scales += Type::kScaleBytes;
    codes += Type::kCodeBytes;
    x += kGroup * T;
    sums += T;
  }
  SKYWORK_RT_UNROLL
  for (int t = 0; t < T; ++t) Simd::Store(out + kPanelRows * t, acc[t]);
}

using TileFunction = void (*)(const PackedMatrix&, int, const float*, const float*, float*);

template <typename Type>
TileFunction ChooseTile(int width) {
  switch (width) {
    case 1: return PanelFloats<Type, 1>;
    case 2: return PanelFloats<Type, 2>;
    case 4: return PanelFloats<Type, 4>;
    default: break;
  }
  if constexpr (Simd::kTile > 4) {
    switch (width) {
      case 8: return PanelFloats<Type, 8>;
      case 12: return PanelFloats<Type, 12>;
      case 16: return PanelFloats<Type, 16>;
      default: return PanelFloats<Type, 24>;
    }
  }
  return nullptr;
}

/// out [tokens][16], tile by tile; the last may write unused tokens.
template <typename Type>
void MultiplyFloats(const PackedMatrix& m, int panel, const PackedInput& input, float* out) {
  const float* x = input.floats;
  const float* sums = input.sums;
  for (int done = 0; done < input.tokens; done += kWidest) {
    const int width = input.tokens - done >= kWidest ? kWidest : TileWidth(input.tokens - done);
    ChooseTile<Type>(width)(m, panel, x, sums, out + kPanelRows * done);
    const auto groups = static_cast<std::size_t>(m.groups) * static_cast<std::size_t>(width);
    x += groups * kGroup;
    sums += groups;
  }
}

}  // namespace
}  // namespace skywork_rt::native
