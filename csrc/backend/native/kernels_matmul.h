#pragma once

// Matrix times activations. A part of kernels_impl.h.

#include "backend/native/kernels_common.h"

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
void PanelTile(const PackedMatrix& m, int panel, const float* x, const float* sums, float* out) {
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
  for (int t = 0; t < T; ++t) Simd::Store(out + 16 * t, acc[t]);
}

/// The same for activations rounded to int8: each group's dot product is exact in integers.
template <WeightKind Kind, int T>
void PanelTileInt8(const PackedMatrix& m, int panel, const std::int32_t* x, const float* scales,
                   const std::int32_t* offsets, const float* sums, float* out) {
  const std::uint8_t* weight_scales = m.Scales(panel);
  const std::uint8_t* codes = m.Codes(panel);
  const std::uint8_t* ahead = weight_scales + kPrefetchBytes;
  F acc[T];
  SKYWORK_RT_UNROLL
  for (int t = 0; t < T; ++t) acc[t] = Simd::Zero();
  for (int g = 0; g < m.groups; ++g) {
    PrefetchNext(ahead);
    Simd::I dot[T];
    SKYWORK_RT_UNROLL
    for (int t = 0; t < T; ++t) dot[t] = Simd::SetInt(Kind == WeightKind::kInt8 ? offsets[t] : 0);
    constexpr int kLines = static_cast<int>(CodeBytes(Kind) / 64);
    for (int i = 0; i < kLines; ++i) {
      PrefetchNext(ahead);
      const Raw raw = Simd::LoadRaw(codes + 64 * i);
      if constexpr (Kind == WeightKind::kInt8) {
        const Raw w = Simd::AddBias(raw);
        SKYWORK_RT_UNROLL
        for (int t = 0; t < T; ++t) dot[t] = Simd::Dot4(dot[t], w, x[i * T + t]);
      } else {
        const Raw low = Simd::LowHalves(raw);
        const Raw high = Simd::HighHalves(raw);
        SKYWORK_RT_UNROLL
        for (int t = 0; t < T; ++t) {
          dot[t] = Simd::Dot4(dot[t], low, x[2 * i * T + t]);
          dot[t] = Simd::Dot4(dot[t], high, x[(2 * i + 1) * T + t]);
        }
      }
    }
    const auto* half = reinterpret_cast<const std::uint16_t*>(weight_scales);
    const F scale = Simd::LoadHalf(half);
    SKYWORK_RT_UNROLL
    for (int t = 0; t < T; ++t) {
      acc[t] = Simd::Fma(Simd::Mul(scale, Simd::Set1(scales[t])), Simd::ToFloat(dot[t]), acc[t]);
    }
    if constexpr (Kind == WeightKind::kInt4) {
      const F minimum = Simd::LoadHalf(half + kPanelRows);
      SKYWORK_RT_UNROLL
      for (int t = 0; t < T; ++t) acc[t] = Simd::Fma(minimum, Simd::Set1(sums[t]), acc[t]);
    }
    weight_scales += ScaleBytes(Kind);
    codes += CodeBytes(Kind);
    x += kGroup / 4 * T;
    scales += T;
    offsets += T;
    sums += T;
  }
  SKYWORK_RT_UNROLL
  for (int t = 0; t < T; ++t) Simd::Store(out + 16 * t, acc[t]);
}

/// One tile of a PackedInput.
struct Tile {
  const float* values;
  const float* sums;
  const std::int32_t* codes;
  const float* code_scales;
  const std::int32_t* offsets;
};

using PanelFunction = void (*)(const PackedMatrix&, int, const Tile&, float*);

template <typename Codes, int T>
void MultiplyFloats(const PackedMatrix& m, int panel, const Tile& tile, float* out) {
  PanelTile<Codes, T>(m, panel, tile.values, tile.sums, out);
}

template <WeightKind Kind, int T>
void MultiplyCodes(const PackedMatrix& m, int panel, const Tile& tile, float* out) {
  PanelTileInt8<Kind, T>(m, panel, tile.codes, tile.code_scales, tile.offsets, tile.sums, out);
}

template <int T>
PanelFunction ChooseForWidth(WeightKind kind, bool rounded) {
  switch (kind) {
    case WeightKind::kF32: return MultiplyFloats<F32Codes, T>;
    case WeightKind::kBf16: return MultiplyFloats<Bf16Codes, T>;
    case WeightKind::kInt8: return rounded ? MultiplyCodes<WeightKind::kInt8, T> : MultiplyFloats<Int8Codes, T>;
    case WeightKind::kInt4: return rounded ? MultiplyCodes<WeightKind::kInt4, T> : MultiplyFloats<Int4Codes, T>;
  }
  return nullptr;
}

PanelFunction ChoosePanelTile(WeightKind kind, bool rounded, int width) {
  switch (width) {
    case 1: return ChooseForWidth<1>(kind, rounded);
    case 2: return ChooseForWidth<2>(kind, rounded);
    case 4: return ChooseForWidth<4>(kind, rounded);
    default: break;
  }
  if constexpr (Simd::kTile > 4) {
    switch (width) {
      case 8: return ChooseForWidth<8>(kind, rounded);
      case 12: return ChooseForWidth<12>(kind, rounded);
      case 16: return ChooseForWidth<16>(kind, rounded);
      default: return ChooseForWidth<24>(kind, rounded);
    }
  }
  return nullptr;
}

void Finish(const MatmulArgs& args, int panel, int tokens, int first_token, const float* acc, const float* gate) {
  const int row = panel * kPanelRows;
  const int rows = args.matrix->rows - row < kPanelRows ? args.matrix->rows - row : kPanelRows;
  F bias = Simd::Zero();
  if (args.bias != nullptr) {
    float padded[kPanelRows] = {};
    for (int i = 0; i < rows; ++i) padded[i] = args.bias[row + i];
    bias = Simd::Load(padded);
  }
  for (int t = 0; t < tokens; ++t) {
    float* out = args.out + static_cast<std::size_t>(first_token + t) * args.out_stride + row;
    F value = Simd::Load(acc + 16 * t);
    if (args.bias != nullptr) value = Simd::Add(value, bias);
    if (args.epilogue == Epilogue::kSwiGlu) value = Simd::Mul(Silu(Simd::Load(gate + 16 * t)), value);
    if (rows == kPanelRows) {
      if (args.epilogue == Epilogue::kAdd) value = Simd::Add(Simd::Load(out), value);
      Simd::Store(out, value);
    } else {
      float part[kPanelRows];
      Simd::Store(part, value);
      for (int i = 0; i < rows; ++i) out[i] = args.epilogue == Epilogue::kAdd ? out[i] + part[i] : part[i];
    }
  }
}

void Matmul(const MatmulArgs& args, int panel_begin, int panel_end) {
  const PackedMatrix& m = *args.matrix;
  const PackedInput& input = *args.input;
  const int full = input.tokens / kWidest;
  const int rest = input.tokens % kWidest;
  const int narrow = rest == 0 ? 0 : TileWidth(rest);
  alignas(64) float acc[kWidest * kPanelRows];
  alignas(64) float gate[kWidest * kPanelRows];
  const bool rounded = input.codes != nullptr;
  for (int panel = panel_begin; panel < panel_end; ++panel) {
    Tile tile{input.values, input.sums, input.codes, input.code_scales, input.offsets};
    for (int i = 0; i < full + (rest != 0 ? 1 : 0); ++i) {
      const int width = i < full ? kWidest : narrow;
      ChoosePanelTile(m.kind, rounded, width)(m, panel, tile, acc);
      if (args.gate != nullptr) ChoosePanelTile(args.gate->kind, rounded, width)(*args.gate, panel, tile, gate);
      Finish(args, panel, i < full ? kWidest : rest, i * kWidest, acc, gate);
      const auto groups = static_cast<std::size_t>(m.groups) * static_cast<std::size_t>(width);
      tile.sums += groups;
      if (rounded) {
        tile.codes += groups * (kGroup / 4);
        tile.code_scales += groups;
        tile.offsets += groups;
      } else {
        tile.values += groups * kGroup;
      }
    }
  }
}

}  // namespace
}  // namespace skywork_rt::native
