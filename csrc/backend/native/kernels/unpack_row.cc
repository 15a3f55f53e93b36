#include "backend/native/kernels/kernels.h"

namespace skywork_rt::native {
namespace {

template <typename Type>
void UnpackGroup(const std::uint8_t* unit, int in_unit, const std::uint8_t* codes, int lane, int inputs, float* out) {
  for (int k = 0; k < inputs; ++k) {
    out[k] = Type::Code(codes, k, lane);
    if constexpr (Type::kIntegers) {
      const int part = k * Type::kParts / kGroup;
      out[k] *= Type::Scales::Scale(unit, in_unit, part, lane);
      if constexpr (Type::kMinimums) out[k] += Type::Scales::Minimum(unit, in_unit, part, lane);
    }
  }
}

template <typename Type>
void Unpack(const PackedMatrix& matrix, int row, float* out) {
  const std::uint8_t* scales = matrix.Scales(row / kPanelRows);
  const std::uint8_t* codes = matrix.Codes(row / kPanelRows);
  for (int g = 0; g < matrix.groups; ++g) {
    const int k = g * kGroup;
    const int inputs = matrix.cols - k < kGroup ? matrix.cols - k : kGroup;
    const std::uint8_t* unit = scales + static_cast<std::size_t>(g / Type::kScaleGroups) * Type::kScaleBytes;
    UnpackGroup<Type>(unit, g % Type::kScaleGroups, codes, row % kPanelRows, inputs, out + k);
    codes += Type::kCodeBytes;
  }
}

}  // namespace

void UnpackRow(const PackedMatrix& matrix, int row, float* out) {
  WithType(matrix.kind, [&](auto type) { Unpack<decltype(type)>(matrix, row, out); });
}

}  // namespace skywork_rt::native
