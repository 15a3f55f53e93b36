#pragma once

// A panel of integer weights times float activations, where lines of codes do not become floats by themselves: groups
// are unpacked to floats, w = fma(scale, code, minimum), and multiplied as f32 weights are. One kernel for all such
// types. A part of kernels_impl.h.

#include "backend/native/kernels/kernels_common.h"
#include "backend/native/kernels/kernels_matmul_floats.h"

namespace skywork_rt::native {
namespace {

/// Four inputs of all rows as floats: out [4][16].
template <typename Codes, int J = 0>
SKYWORK_RT_INLINE void UnpackQuad(const Raw& quad, F scale, F minimum, float* out) {
  F code;
  if constexpr (Codes::kSigned) {
    code = Simd::Mul(Simd::template Int8<J>(quad), Simd::Set1(types::Int8::kUnit));
  } else {
    code = Simd::template Byte<J>(quad);
  }
  Simd::Store(out + kPanelRows * J, Simd::Fma(scale, code, minimum));
  if constexpr (J < 3) UnpackQuad<Codes, J + 1>(quad, scale, minimum, out);
}

/// A group as floats: out [32][16]. `in_unit` is the group's place in the unit of scales.
template <typename Type>
void UnpackGroup(const std::uint8_t* unit, int in_unit, const std::uint8_t* codes, float* out) {
  F scale[Type::kParts];
  F minimum[Type::kParts];
  Type::Scales::template Read<Simd>(unit, in_unit, scale, minimum);
  Raw quads[kGroup / 4];
  types::LoadQuads<Simd, typename Type::Codes>(codes, quads);
  for (int q = 0; q < kGroup / 4; ++q) {
    const int part = q * Type::kParts / (kGroup / 4);
    UnpackQuad<typename Type::Codes>(quads[q], scale[part], minimum[part], out + 4 * kPanelRows * q);
  }
}

/// A type's groups, to whoever does not know it.
struct Unpacker {
  void (*unpack)(const std::uint8_t* unit, int in_unit, const std::uint8_t* codes, float* out);
  std::size_t scale_bytes;
  int scale_groups;
  std::size_t code_bytes;
};

template <int T, int U>
SKYWORK_RT_INLINE void UnpackedGroups(const Unpacker& type, const std::uint8_t* scales, const std::uint8_t* codes,
                                      int group, const float* x, F (&acc)[T]) {
  alignas(64) float weights[U * kGroup * kPanelRows];
  for (int u = 0; u < U; ++u) {
    const int g = group + u;
    const auto unit = static_cast<std::size_t>(g / type.scale_groups);
    type.unpack(scales + unit * type.scale_bytes, g % type.scale_groups,
                codes + static_cast<std::size_t>(g) * type.code_bytes, weights + u * kGroup * kPanelRows);
  }
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(weights);
  const std::uint8_t* nothing = bytes;  // what is prefetched lies there already
  Groups<types::F32, T, U>(nullptr, bytes, x, nullptr, nothing, acc);
}

/// One panel times one tile: out [T][16].
template <int T>
void PanelUnpacked(const PackedMatrix& m, const Unpacker& type, int panel, const float* x, float* out) {
  constexpr int kAhead = T == 1 ? Simd::kSideBySide : T == 2 ? 2 : 1;
  const std::uint8_t* scales = m.Scales(panel);
  const std::uint8_t* codes = m.Codes(panel);
  F acc[T];
  SKYWORK_RT_UNROLL
  for (int t = 0; t < T; ++t) acc[t] = Simd::Zero();
  int g = 0;
  for (; g + kAhead <= m.groups; g += kAhead) {
    UnpackedGroups<T, kAhead>(type, scales, codes, g, x, acc);
    x += kAhead * kGroup * T;
  }
  for (; g < m.groups; ++g) {
    UnpackedGroups<T, 1>(type, scales, codes, g, x, acc);
    x += kGroup * T;
  }
  SKYWORK_RT_UNROLL
  for (int t = 0; t < T; ++t) Simd::Store(out + kPanelRows * t, acc[t]);
}

using UnpackedTile = void (*)(const PackedMatrix&, const Unpacker&, int, const float*, float*);

UnpackedTile ChooseUnpackedTile(int width) {
  switch (width) {
    case 1: return PanelUnpacked<1>;
    case 2: return PanelUnpacked<2>;
    case 4: return PanelUnpacked<4>;
    default: break;
  }
  if constexpr (Simd::kTile > 4) {
    switch (width) {
      case 8: return PanelUnpacked<8>;
      case 12: return PanelUnpacked<12>;
      case 16: return PanelUnpacked<16>;
      default: return PanelUnpacked<24>;
    }
  }
  return nullptr;
}

/// out [tokens][16], tile by tile; the last may write unused tokens.
template <typename Type>
void MultiplyUnpacked(const PackedMatrix& m, int panel, const PackedInput& input, float* out) {
  const Unpacker type{UnpackGroup<Type>, Type::kScaleBytes, Type::kScaleGroups, Type::kCodeBytes};
  const float* x = input.floats;
  for (int done = 0; done < input.tokens; done += kWidest) {
    const int width = input.tokens - done >= kWidest ? kWidest : TileWidth(input.tokens - done);
    ChooseUnpackedTile(width)(m, type, panel, x, out + kPanelRows * done);
    x += static_cast<std::size_t>(m.groups) * static_cast<std::size_t>(width) * kGroup;
  }
}

}  // namespace
}  // namespace skywork_rt::native
