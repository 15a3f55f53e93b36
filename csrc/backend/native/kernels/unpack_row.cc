#include <cstring>

#include "backend/native/half.h"
#include "backend/native/kernels/kernels.h"

namespace skywork_rt::native {
namespace {

float Half(const std::uint8_t* p) {
  std::uint16_t half = 0;
  std::memcpy(&half, p, sizeof(half));
  return HalfToFloat(half);
}

template <typename Type>
void UnpackGroup(const std::uint8_t* scales, const std::uint8_t* codes, int lane, int inputs, float* out) {
  for (int k = 0; k < inputs; ++k) out[k] = Type::Code(codes, k, lane);
  if constexpr (Type::kScaleBytes != 0) {
    const float scale = Half(scales + 2 * lane);
    for (int k = 0; k < inputs; ++k) out[k] *= scale;
  }
  if constexpr (Type::kMinimums) {
    const float minimum = Half(scales + 2 * (kPanelRows + lane));
    for (int k = 0; k < inputs; ++k) out[k] += minimum;
  }
}

template <typename Type>
void Unpack(const PackedMatrix& matrix, int row, float* out) {
  const std::uint8_t* scales = matrix.Scales(row / kPanelRows);
  const std::uint8_t* codes = matrix.Codes(row / kPanelRows);
  for (int k = 0; k < matrix.cols; k += kGroup) {
    const int inputs = matrix.cols - k < kGroup ? matrix.cols - k : kGroup;
    UnpackGroup<Type>(scales, codes, row % kPanelRows, inputs, out + k);
    scales += Type::kScaleBytes;
    codes += Type::kCodeBytes;
  }
}

}  // namespace

void UnpackRow(const PackedMatrix& matrix, int row, float* out) {
  WithType(matrix.kind, [&](auto type) { Unpack<decltype(type)>(matrix, row, out); });
}

}  // namespace skywork_rt::native
