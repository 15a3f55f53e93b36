// The kernels, written once over sixteen lanes. A translation unit an instruction set includes a simd_*.h, which
// defines Simd, and then this. Everything has internal linkage: see the note in packed_matrix.h.
//
// All is compiled with -ffp-contract=off, so an operation is fused where it says Fma and nowhere else.

#include "backend/native/kernels.h"

namespace skywork_rt::native {
namespace {

// Sanitizer builds leave the loops as they are: a check at every access of an unrolled kernel takes minutes to compile.
#ifdef SKYWORK_RT_ROLLED_KERNELS
#define SKYWORK_RT_INLINE inline
#define SKYWORK_RT_UNROLL
#else
#define SKYWORK_RT_INLINE inline __attribute__((always_inline))
#define SKYWORK_RT_UNROLL _Pragma("GCC unroll 32")
#endif

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

// ---- matrix × activations ------------------------------------------------------------------------------------------

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

// ---- activations ---------------------------------------------------------------------------------------------------

/// sums[t] = the sum of the 32 inputs of token t, x [32][width]: i and i + 16 first, then in the order of ReduceAdd.
void GroupSums(const float* x, int width, float* sums) {
  float s[16 * kWidest];
  for (int i = 0; i < 16 * width; ++i) s[i] = x[i] + x[i + 16 * width];
  for (int half = 8 * width; half >= width; half /= 2) {
    for (int i = 0; i < half; ++i) s[i] += s[i + half];
  }
  for (int t = 0; t < width; ++t) sums[t] = s[t];
}

void Pack(const float* rows, std::size_t stride, int tokens, int width, int cols, float* values, float* sums) {
  const int groups = (cols + kGroup - 1) / kGroup;
  if (width == 1) {
    if (rows != values) __builtin_memcpy(values, rows, sizeof(float) * static_cast<std::size_t>(cols));
    for (int k = cols; k < groups * kGroup; ++k) values[k] = 0.0f;
    for (int g = 0; g < groups; ++g) {
      const float* x = values + g * kGroup;
      sums[g] = Simd::ReduceAdd(Simd::Add(Simd::Load(x), Simd::Load(x + 16)));
    }
    return;
  }
  for (int k = 0; k < cols; ++k) {
    float* out = values + static_cast<std::size_t>(k) * static_cast<std::size_t>(width);
    for (int t = 0; t < tokens; ++t) out[t] = rows[static_cast<std::size_t>(t) * stride + static_cast<std::size_t>(k)];
    for (int t = tokens; t < width; ++t) out[t] = 0.0f;
  }
  float* padding = values + static_cast<std::size_t>(cols) * static_cast<std::size_t>(width);
  for (int i = 0; i < (groups * kGroup - cols) * width; ++i) padding[i] = 0.0f;
  for (int g = 0; g < groups; ++g) GroupSums(values + g * kGroup * width, width, sums + g * width);
}

/// The codes of one group of one token: [8] dwords, `step` apart.
void QuantiseGroup(const float* x, std::size_t step, std::int32_t* codes, float* scale, std::int32_t* offset,
                   float* sum) {
  float most = 0.0f;
  for (int i = 0; i < kGroup; ++i) {
    const float size = __builtin_fabsf(x[i]);
    most = size > most ? size : most;
  }
  *scale = most / 127.0f;
  const float inverse = most > 0.0f ? 127.0f / most : 0.0f;
  std::int32_t total = 0;
  for (int quad = 0; quad < kGroup / 4; ++quad) {
    std::uint32_t packed = 0;
    for (int b = 0; b < 4; ++b) {
      float value = __builtin_rintf(x[4 * quad + b] * inverse);
      value = value > 127.0f ? 127.0f : value;  // also catches what is not a number, which no integer can hold
      value = value >= -127.0f ? value : -127.0f;
      const auto code = static_cast<std::int32_t>(value);
      total += code;
      packed |= (static_cast<std::uint32_t>(code) & 0xFFu) << (8 * b);
    }
    codes[static_cast<std::size_t>(quad) * step] = static_cast<std::int32_t>(packed);
  }
  *offset = -128 * total;
  *sum = *scale * static_cast<float>(total);
}

void Quantise(const float* rows, std::size_t stride, int tokens, int width, int cols, std::int32_t* codes,
              float* scales, std::int32_t* offsets, float* sums) {
  const int groups = (cols + kGroup - 1) / kGroup;
  for (int g = 0; g < groups; ++g) {
    const int inputs = cols - g * kGroup < kGroup ? cols - g * kGroup : kGroup;
    for (int t = 0; t < width; ++t) {
      float group[kGroup] = {};
      if (t < tokens) {
        __builtin_memcpy(group, rows + static_cast<std::size_t>(t) * stride + static_cast<std::size_t>(g * kGroup),
                         sizeof(float) * static_cast<std::size_t>(inputs));
      }
      const int at = g * width + t;
      QuantiseGroup(group, static_cast<std::size_t>(width), codes + g * (kGroup / 4) * width + t, scales + at,
                    offsets + at, sums + at);
    }
  }
}

void RmsNorm(const float* x, const float* weight, int n, float eps, float* out) {
  F squares = Simd::Zero();
  for (int i = 0; i < n; i += 16) {
    const F v = Simd::Load(x + i);
    squares = Simd::Fma(v, v, squares);
  }
  const float mean = Simd::ReduceAdd(squares) / static_cast<float>(n) + eps;
  const F scale = Simd::Set1(1.0f / __builtin_sqrtf(mean));
  for (int i = 0; i < n; i += 16) {
    Simd::Store(out + i, Simd::Mul(Simd::Mul(Simd::Load(x + i), scale), Simd::Load(weight + i)));
  }
}

void Rotate(float* head, const float* cosine, const float* sine, int head_dim, float scale) {
  const int half = head_dim / 2;
  for (int i = 0; i < half; ++i) {
    const float a = head[i];
    const float b = head[half + i];
    head[i] = __builtin_fmaf(a, cosine[i], -(b * sine[i])) * scale;
    head[half + i] = __builtin_fmaf(b, cosine[i], a * sine[i]) * scale;
  }
}

// ---- attention -----------------------------------------------------------------------------------------------------

SKYWORK_RT_INLINE F LoadCached(const float* p) {
  return Simd::Load(p);
}
SKYWORK_RT_INLINE F LoadCached(const std::uint16_t* p) {
  return Simd::LoadHalf(p);
}
SKYWORK_RT_INLINE void StoreCached(float* p, F a) {
  Simd::Store(p, a);
}
SKYWORK_RT_INLINE void StoreCached(std::uint16_t* p, F a) {
  Simd::StoreHalf(p, a);
}

template <typename C>
void StoreKey(const float* key, int head_dim, int slot, void* page) {
  auto* out = static_cast<C*>(page) + slot;
  for (int d = 0; d < head_dim; d += 16) {
    float part[16] = {};
    C cached[16];
    const int n = head_dim - d < 16 ? head_dim - d : 16;
    for (int i = 0; i < n; ++i) part[i] = key[d + i];
    StoreCached(cached, Simd::Load(part));
    for (int i = 0; i < n; ++i) out[(d + i) * kPageTokens] = cached[i];
  }
}

template <typename C>
void StoreValue(const float* value, int head_dim, int padded, int slot, void* page) {
  auto* out = static_cast<C*>(page) + static_cast<std::size_t>(slot) * static_cast<std::size_t>(padded);
  for (int d = 0; d < head_dim; d += 16) {
    float part[16] = {};
    const int n = head_dim - d < 16 ? head_dim - d : 16;
    for (int i = 0; i < n; ++i) part[i] = value[d + i];
    StoreCached(out + d, Simd::Load(part));
  }
}

/// What is read two steps after `step` when a block's `pages` are read one after the other, first all keys, then all
/// values. Pages lie far apart, so that the processor's own prefetching starts anew in each.
SKYWORK_RT_INLINE const std::uint8_t* PageAfter(const AttendArgs& a, int pages, int step) {
  if (!a.streaming) return nullptr;
  const int next = step + 2;
  const void* page = next < pages       ? a.keys[next]
                     : next < 2 * pages ? a.values[next - pages]
                                        : a.next_keys[next - 2 * pages];
  return static_cast<const std::uint8_t*>(page);
}

SKYWORK_RT_INLINE void PrefetchAt(const std::uint8_t* page, std::size_t offset) {
  if (page != nullptr) __builtin_prefetch(page + offset, 0, 2);
}

int PagesOf(int positions) {
  return (positions + kPageTokens - 1) / kPageTokens;
}

/// scores[q][position] = query · key: one chain over the dimensions.
template <typename C, int Q>
SKYWORK_RT_INLINE void Scores(const AttendArgs& a, int first) {
  const int pages = PagesOf(a.counts[first + Q - 1]);
  for (int page = 0; page < pages; ++page) {
    const C* keys = static_cast<const C*>(a.keys[page]);
    const std::uint8_t* ahead = PageAfter(a, pages, page);
    F s[Q];
    SKYWORK_RT_UNROLL
    for (int q = 0; q < Q; ++q) s[q] = Simd::Zero();
    for (int d = 0; d < a.head_dim; ++d) {
      const F k = LoadCached(keys + d * kPageTokens);
      PrefetchAt(ahead, static_cast<std::size_t>(d) * kPageTokens * sizeof(C));
      SKYWORK_RT_UNROLL
      for (int q = 0; q < Q; ++q) s[q] = Simd::Fma(k, Simd::Set1(a.queries[first + q][d]), s[q]);
    }
    SKYWORK_RT_UNROLL
    for (int q = 0; q < Q; ++q) Simd::Store(a.scores + (first + q) * kBlockTokens + page * kPageTokens, s[q]);
  }
}

/// Turns the scores of one query into exponentials and writes their maximum and sum.
void SoftmaxBlock(float* scores, int count, float* state) {
  F most = Simd::Set1(-__builtin_inff());
  for (int i = 0; i < count; i += 16) {
    const F s = Simd::FillTail(Simd::Load(scores + i), count - i, -__builtin_inff());
    Simd::Store(scores + i, s);
    most = Simd::Max(s, most);
  }
  const float maximum = Simd::ReduceMax(most);
  F sum = Simd::Zero();
  for (int i = 0; i < count; i += 16) {
    const F e = Exp(Simd::Sub(Simd::Load(scores + i), Simd::Set1(maximum)));
    Simd::Store(scores + i, e);
    sum = Simd::Add(sum, e);
  }
  state[0] = maximum;
  state[1] = Simd::ReduceAdd(sum);
}

/// Adds positions [begin, end) of `Strip` vectors of the values to acc.
template <typename C, int Q, int Strip>
SKYWORK_RT_INLINE void AddValues(const AttendArgs& a, int first, int d, int begin, int end, F (&acc)[Q][Strip]) {
  const int pages = PagesOf(a.counts[a.query_count - 1]);
  for (int pos = begin; pos < end; ++pos) {
    const int page = pos / kPageTokens;
    const std::size_t offset = static_cast<std::size_t>(pos % kPageTokens) * static_cast<std::size_t>(a.padded_dim) +
                               static_cast<std::size_t>(d);
    const C* row = static_cast<const C*>(a.values[page]) + offset;
    const std::uint8_t* ahead = PageAfter(a, pages, pages + page);
    F v[Strip];
    SKYWORK_RT_UNROLL
    for (int s = 0; s < Strip; ++s) {
      v[s] = LoadCached(row + 16 * s);
      PrefetchAt(ahead, (offset + 16 * s) * sizeof(C));
    }
    SKYWORK_RT_UNROLL
    for (int q = 0; q < Q; ++q) {
      const F e = Simd::Set1(a.scores[(first + q) * kBlockTokens + pos]);
      SKYWORK_RT_UNROLL
      for (int s = 0; s < Strip; ++s) acc[q][s] = Simd::Fma(e, v[s], acc[q][s]);
    }
  }
}

template <typename C, int Q, int Strip>
SKYWORK_RT_INLINE void ValueStrip(const AttendArgs& a, int first, int d) {
  F acc[Q][Strip];
  SKYWORK_RT_UNROLL
  for (int q = 0; q < Q; ++q) {
    SKYWORK_RT_UNROLL
    for (int s = 0; s < Strip; ++s) acc[q][s] = Simd::Zero();
  }
  // Together as far as all queries see, then each to its own end: nothing that a query may not see reaches its sum,
  // not even times zero.
  const int common = a.counts[first];
  AddValues<C, Q, Strip>(a, first, d, 0, common, acc);
  for (int q = 0; q < Q; ++q) {
    float* out = a.states[first + q] + kStateHeader + d;
    for (int s = 0; s < Strip; ++s) Simd::Store(out + 16 * s, acc[q][s]);
    if (a.counts[first + q] == common) continue;
    F rest[1][Strip];
    for (int s = 0; s < Strip; ++s) rest[0][s] = Simd::Load(out + 16 * s);
    AddValues<C, 1, Strip>(a, first + q, d, common, a.counts[first + q], rest);
    for (int s = 0; s < Strip; ++s) Simd::Store(out + 16 * s, rest[0][s]);
  }
}

template <typename C, int Q>
void AttendQueries(const AttendArgs& a, int first) {
  Scores<C, Q>(a, first);
  for (int q = first; q < first + Q; ++q) SoftmaxBlock(a.scores + q * kBlockTokens, a.counts[q], a.states[q]);
  int d = 0;
  for (; d + 16 * Simd::kStrip <= a.padded_dim; d += 16 * Simd::kStrip) ValueStrip<C, Q, Simd::kStrip>(a, first, d);
  for (; d < a.padded_dim; d += 16) ValueStrip<C, Q, 1>(a, first, d);
}

template <typename C>
void Attend(const AttendArgs& a) {
  int first = 0;
  while (first < a.query_count) {
    const int left = a.query_count - first;
    const int take = left < Simd::kQueries ? left : Simd::kQueries;
    switch (take) {
      case 1: AttendQueries<C, 1>(a, first); break;
      case 2: AttendQueries<C, 2>(a, first); break;
      default:
        if constexpr (Simd::kQueries >= 3) {
          switch (take) {
            case 3: AttendQueries<C, 3>(a, first); break;
            case 4: AttendQueries<C, 4>(a, first); break;
            case 5: AttendQueries<C, 5>(a, first); break;
            default: AttendQueries<C, 6>(a, first); break;
          }
        }
    }
    first += take;
  }
}

SKYWORK_RT_INLINE float ExpOf(float x) {
  float lanes[16];
  Simd::Store(lanes, Exp(Simd::Set1(x)));
  return lanes[0];
}

void Merge(float* running, const float* block, int padded_dim, bool first) {
  if (first) {
    __builtin_memcpy(running, block, sizeof(float) * static_cast<std::size_t>(kStateHeader + padded_dim));
    return;
  }
  const float most = running[0] > block[0] ? running[0] : block[0];
  const float before = ExpOf(running[0] - most);
  const float after = ExpOf(block[0] - most);
  running[0] = most;
  running[1] = __builtin_fmaf(block[1], after, running[1] * before);
  for (int d = kStateHeader; d < kStateHeader + padded_dim; d += 16) {
    const F kept = Simd::Mul(Simd::Load(running + d), Simd::Set1(before));
    Simd::Store(running + d, Simd::Fma(Simd::Load(block + d), Simd::Set1(after), kept));
  }
}

void FinishAttention(const float* running, int head_dim, float* out) {
  const float scale = 1.0f / running[1];
  for (int d = 0; d < head_dim; ++d) out[d] = running[kStateHeader + d] * scale;
}

constexpr Kernels MakeKernels(const char* name) {
  return {name,
          Simd::kTile,
          TileWidth,
          Matmul,
          Pack,
          Quantise,
          RmsNorm,
          Rotate,
          {StoreKey<float>, StoreKey<std::uint16_t>},
          {StoreValue<float>, StoreValue<std::uint16_t>},
          {Attend<float>, Attend<std::uint16_t>},
          Merge,
          FinishAttention};
}

#undef SKYWORK_RT_UNROLL
#undef SKYWORK_RT_INLINE

}  // namespace
}  // namespace skywork_rt::native
