#pragma once

#include "backend/native/kernels/panel.h"
#include "backend/native/kernels/types/types.h"

namespace skywork_rt::native {

/// A [rows, cols] matrix as the kernels read it and as the weights file holds it: ceil(rows / 16) panels of 16 rows,
/// one after the other. What fills up the last panel and the last group does not matter, as long as it is finite. A
/// panel is its scales (padded to 64 bytes), then its codes, both group by group of 32 inputs, or scales eight groups
/// at a time: how those of a group lie is said where its type is defined, in types/.
struct PackedMatrix {
  const std::uint8_t* data = nullptr;  // 64-byte aligned, panels * panel_bytes
  WeightKind kind{};
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
    const auto unit_groups = static_cast<std::size_t>(FactsOf(kind).scale_groups);
    const std::size_t units = RoundUp(static_cast<std::size_t>(m.groups), unit_groups) / unit_groups;
    m.scale_bytes = RoundUp(units * FactsOf(kind).scale_bytes, 64);
    m.panel_bytes = m.scale_bytes + static_cast<std::size_t>(m.groups) * FactsOf(kind).code_bytes;
    return m;
  }

  constexpr const std::uint8_t* Scales(int panel) const { return data + static_cast<std::size_t>(panel) * panel_bytes; }
  constexpr const std::uint8_t* Codes(int panel) const { return Scales(panel) + scale_bytes; }
  constexpr std::size_t Bytes() const { return static_cast<std::size_t>(panels) * panel_bytes; }
};

}  // namespace skywork_rt::native
