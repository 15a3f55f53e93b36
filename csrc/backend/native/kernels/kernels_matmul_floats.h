#pragma once

// A panel of any weights times float activations. A part of kernels_impl.h.

#include "backend/native/kernels/kernels_common.h"

namespace skywork_rt::native {
namespace {

struct F32Codes {
  static constexpr WeightKind kKind = WeightKind::kF32;
  static constexpr int kInputs = 1;  // of a 64-byte load
  static constexpr float kUnit = 1.0f;
  template <int J>
  static SKYWORK_RT_INLINE F Get(const std::uint8_t* p, const Raw&) {
    return Simd::Load(reinterpret_cast<const float*>(p));
  }
};
struct Bf16Codes {
  static constexpr WeightKind kKind = WeightKind::kBf16;
  static constexpr int kInputs = 2;
  static constexpr float kUnit = 1.0f;
  template <int J>
  static SKYWORK_RT_INLINE F Get(const std::uint8_t*, const Raw& raw) {
    return Simd::Bf16<J>(raw);
  }
};
struct Int8Codes {
  static constexpr WeightKind kKind = WeightKind::kInt8;
  static constexpr int kInputs = 4;
  static constexpr float kUnit = 0x1p-24f;  // Get gives the code times 2^24, which no rounding can tell from the code
  template <int J>
  static SKYWORK_RT_INLINE F Get(const std::uint8_t*, const Raw& raw) {
    return Simd::Int8<J>(raw);
  }
};
struct Int4Codes {
  static constexpr WeightKind kKind = WeightKind::kInt4;
  static constexpr int kInputs = 8;
  static constexpr float kUnit = 1.0f;
  template <int J>
  static SKYWORK_RT_INLINE F Get(const std::uint8_t*, const Raw& raw) {
    return Simd::Nibble < J < 4 ? 8 * J : 8 * (J - 4) + 4 > (raw);
  }
};

/// Inputs J … kInputs - 1 of one 64-byte load from each of U groups, for T tokens.
template <typename Codes, int T, int U, int J>
SKYWORK_RT_INLINE void Inputs(const std::uint8_t* p, const Raw (&raw)[U], const float* x, F (&dot)[U][T]) {
  SKYWORK_RT_UNROLL
  for (int u = 0; u < U; ++u) {
    const F w = Codes::template Get<J>(p + static_cast<std::size_t>(u) * CodeBytes(Codes::kKind), raw[u]);
    SKYWORK_RT_UNROLL
    for (int t = 0; t < T; ++t) dot[u][t] = Simd::Fma(w, Simd::Set1(x[(u * kGroup + J) * T + t]), dot[u][t]);
  }
  if constexpr (J + 1 < Codes::kInputs) Inputs<Codes, T, U, J + 1>(p, raw, x, dot);
}

/// Adds U groups' scaled dot products to acc[t]: acc = scale * dot + acc, then, with minimums, min * Σx + acc. `ahead`
/// is what is prefetched meanwhile, as many lines as U groups take.
template <typename Codes, int T, int U>
SKYWORK_RT_INLINE void Groups(const std::uint8_t* scales, const std::uint8_t* codes, const float* x, const float* sums,
                              const std::uint8_t*& ahead, F (&acc)[T]) {
  constexpr std::size_t kScaleLines = RoundUp(U * ScaleBytes(Codes::kKind), 64) / 64;
  SKYWORK_RT_UNROLL
  for (std::size_t i = 0; i < kScaleLines; ++i) PrefetchNext(ahead);
  F dot[U][T];
  SKYWORK_RT_UNROLL
  for (int u = 0; u < U; ++u) {
    SKYWORK_RT_UNROLL
    for (int t = 0; t < T; ++t) dot[u][t] = Simd::Zero();
  }
#pragma GCC unroll 2
  for (int k = 0; k < kGroup; k += Codes::kInputs) {
    const std::uint8_t* p = codes + 64 * (k / Codes::kInputs);
    Raw raw[U];
    SKYWORK_RT_UNROLL
    for (int u = 0; u < U; ++u) {
      const std::uint8_t* line = p + static_cast<std::size_t>(u) * CodeBytes(Codes::kKind);
      PrefetchNext(ahead);
      raw[u] = Simd::LoadRaw(line);
    }
    Inputs<Codes, T, U, 0>(p, raw, x + k * T, dot);
  }
  SKYWORK_RT_UNROLL
  for (int u = 0; u < U; ++u) {
    if constexpr (ScaleBytes(Codes::kKind) == 0) {
      SKYWORK_RT_UNROLL
      for (int t = 0; t < T; ++t) acc[t] = Simd::Add(acc[t], dot[u][t]);
    } else {
      const auto* half = reinterpret_cast<const std::uint16_t*>(scales + u * ScaleBytes(Codes::kKind));
      const F scale = Simd::Mul(Simd::LoadHalf(half), Simd::Set1(Codes::kUnit));
      SKYWORK_RT_UNROLL
      for (int t = 0; t < T; ++t) acc[t] = Simd::Fma(scale, dot[u][t], acc[t]);
      if constexpr (Codes::kKind == WeightKind::kInt4) {
        const F minimum = Simd::LoadHalf(half + kPanelRows);
        SKYWORK_RT_UNROLL
        for (int t = 0; t < T; ++t) acc[t] = Simd::Fma(minimum, Simd::Set1(sums[u * T + t]), acc[t]);
      }
    }
  }
}

/// One panel times one tile: out [T][16].
template <typename Codes, int T>
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
    Groups<Codes, T, kAhead>(scales, codes, x, sums, ahead, acc);
    scales += kAhead * ScaleBytes(Codes::kKind);
    codes += kAhead * CodeBytes(Codes::kKind);
    x += kAhead * kGroup * T;
    sums += kAhead * T;
  }
  for (; g < m.groups; ++g) {
    Groups<Codes, T, 1>(scales, codes, x, sums, ahead, acc);
    scales += ScaleBytes(Codes::kKind);
    codes += CodeBytes(Codes::kKind);
    x += kGroup * T;
    sums += T;
  }
  SKYWORK_RT_UNROLL
  for (int t = 0; t < T; ++t) Simd::Store(out + kPanelRows * t, acc[t]);
}

using TileFunction = void (*)(const PackedMatrix&, int, const float*, const float*, float*);

template <typename Codes>
TileFunction ChooseTile(int width) {
  switch (width) {
    case 1: return PanelFloats<Codes, 1>;
    case 2: return PanelFloats<Codes, 2>;
    case 4: return PanelFloats<Codes, 4>;
    default: break;
  }
  if constexpr (Simd::kTile > 4) {
    switch (width) {
      case 8: return PanelFloats<Codes, 8>;
      case 12: return PanelFloats<Codes, 12>;
      case 16: return PanelFloats<Codes, 16>;
      default: return PanelFloats<Codes, 24>;
    }
  }
  return nullptr;
}

/// out [tokens][16], tile by tile; the last may write unused tokens.
template <typename Codes>
void MultiplyFloats(const PackedMatrix& m, int panel, const PackedInput& input, float* out) {
  const float* x = input.floats;
  const float* sums = input.sums;
  for (int done = 0; done < input.tokens; done += kWidest) {
    const int width = input.tokens - done >= kWidest ? kWidest : TileWidth(input.tokens - done);
    ChooseTile<Codes>(width)(m, panel, x, sums, out + kPanelRows * done);
    const auto groups = static_cast<std::size_t>(m.groups) * static_cast<std::size_t>(width);
    x += groups * kGroup;
    sums += groups;
  }
}

}  // namespace
}  // namespace skywork_rt::native
