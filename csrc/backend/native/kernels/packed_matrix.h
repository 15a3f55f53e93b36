#pragma once

#include <cstddef>
#include <cstdint>

// No standard containers here: the kernels' translation units include this header, and an inline function of the
// library that they compiled for a newer instruction set could be the copy that the linker keeps.

namespace skywork_rt::native {

/// How the weights of a matrix are stored. int8: w = scale * code; int4: w = scale * code + minimum.
enum class WeightKind : int { kF32 = 0, kBf16 = 1, kInt8 = 2, kInt4 = 3 };
constexpr int kWeightKinds = 4;

constexpr int kPanelRows = 16;  // rows (outputs) of a panel: one a lane of the widest vector
constexpr int kGroup = 32;      // consecutive inputs of a row that share a scale

constexpr std::size_t RoundUp(std::size_t n, std::size_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

/// Bytes that a group of 16 rows takes in the panel's scales and in its codes.
constexpr std::size_t ScaleBytes(WeightKind kind) {
  return kind == WeightKind::kInt8 ? 32 : kind == WeightKind::kInt4 ? 64 : 0;
}
constexpr std::size_t CodeBytes(WeightKind kind) {
  return kind == WeightKind::kF32 ? 2048 : kind == WeightKind::kBf16 ? 1024 : kind == WeightKind::kInt8 ? 512 : 256;
}

/// A [rows, cols] matrix as the kernels read it and as the weights file holds it: ceil(rows / 16) panels of 16 rows,
/// one after the other. What fills up the last panel and the last group does not matter, as long as it is finite. A
/// panel is its scales (padded to 64 bytes), then its codes:
///
///   scales, for each group: int8 16 float16 scales; int4 16 float16 scales, then 16 float16 minimums
///   codes, for each group of 32 inputs k:
///     f32   [32][16] float: input, row
///     bf16  [16][16] dwords: inputs 2i (low half) and 2i + 1 (high half) of a row
///     int8  [8][16] dwords: inputs 4i … 4i + 3 of a row, lowest byte first
///     int4  [4][16] dwords: byte b holds input 8i + b in its low and 8i + 4 + b in its high four bits
struct PackedMatrix {
  const std::uint8_t* data = nullptr;  // 64-byte aligned, panels * panel_bytes
  WeightKind kind = WeightKind::kF32;
  int rows = 0;
  int cols = 0;
  int groups = 0;               // ceil(cols / 32)
  int panels = 0;               // ceil(rows / 16)
  std::size_t scale_bytes = 0;  // of a panel, padded
  std::size_t panel_bytes = 0;

  static constexpr PackedMatrix Shape(WeightKind kind, int rows, int cols) {
    PackedMatrix m;
    m.kind = kind;
    m.rows = rows;
    m.cols = cols;
    m.groups = static_cast<int>(RoundUp(static_cast<std::size_t>(cols), kGroup) / kGroup);
    m.panels = static_cast<int>(RoundUp(static_cast<std::size_t>(rows), kPanelRows) / kPanelRows);
    m.scale_bytes = RoundUp(static_cast<std::size_t>(m.groups) * ScaleBytes(kind), 64);
    m.panel_bytes = m.scale_bytes + static_cast<std::size_t>(m.groups) * CodeBytes(kind);
    return m;
  }

  constexpr const std::uint8_t* Scales(int panel) const { return data + static_cast<std::size_t>(panel) * panel_bytes; }
  constexpr const std::uint8_t* Codes(int panel) const { return Scales(panel) + scale_bytes; }
  constexpr std::size_t Bytes() const { return static_cast<std::size_t>(panels) * panel_bytes; }
};

}  // namespace skywork_rt::native
