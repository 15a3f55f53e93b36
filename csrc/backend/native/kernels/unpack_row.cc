#include <cstring>

#include "backend/native/half.h"
#include "backend/native/kernels/kernels.h"

namespace skywork_rt::native {
namespace {

template <typename T>
T Read(const std::uint8_t* p) {
  T value;
  std::memcpy(&value, p, sizeof(value));
  return value;
}

/// The dword that holds input k of lane `lane`, when a load covers `inputs` inputs.
std::uint32_t Dword(const std::uint8_t* codes, int k, int inputs, int lane) {
  return Read<std::uint32_t>(codes + 64 * (k / inputs) + 4 * lane);
}

float Weight(WeightKind kind, const std::uint8_t* codes, int k, int lane, float scale, float minimum) {
  switch (kind) {
    case WeightKind::kF32: return Read<float>(codes + 64 * k + 4 * lane);
    case WeightKind::kBf16: {
      const std::uint32_t dword = Dword(codes, k, 2, lane);
      const std::uint32_t bits = k % 2 == 0 ? dword << 16 : dword & 0xFFFF0000u;
      float value = 0;
      std::memcpy(&value, &bits, sizeof(value));
      return value;
    }
    case WeightKind::kInt8: {
      const auto code = static_cast<std::int8_t>(Dword(codes, k, 4, lane) >> (8 * (k % 4)) & 0xFFu);
      return scale * static_cast<float>(code);
    }
    case WeightKind::kInt4: {
      const int j = k % 8;
      const std::uint32_t code = Dword(codes, k, 8, lane) >> (j < 4 ? 8 * j : 8 * (j - 4) + 4) & 0xFu;
      return scale * static_cast<float>(code) + minimum;
    }
  }
  return 0.0f;
}

}  // namespace

void UnpackRow(const PackedMatrix& matrix, int row, float* out) {
  const int panel = row / kPanelRows;
  const int lane = row % kPanelRows;
  for (int g = 0; g < matrix.groups; ++g) {
    const std::uint8_t* scales = matrix.Scales(panel) + static_cast<std::size_t>(g) * ScaleBytes(matrix.kind);
    const std::uint8_t* codes = matrix.Codes(panel) + static_cast<std::size_t>(g) * CodeBytes(matrix.kind);
    const bool scaled = ScaleBytes(matrix.kind) != 0;
    const float scale = scaled ? HalfToFloat(Read<std::uint16_t>(scales + 2 * lane)) : 1.0f;
    const float minimum =
        matrix.kind == WeightKind::kInt4 ? HalfToFloat(Read<std::uint16_t>(scales + 32 + 2 * lane)) : 0.0f;
    const int inputs = matrix.cols - g * kGroup < kGroup ? matrix.cols - g * kGroup : kGroup;
    for (int k = 0; k < inputs; ++k) out[g * kGroup + k] = Weight(matrix.kind, codes, k, lane, scale, minimum);
  }
}

}  // namespace skywork_rt::native
