#pragma once

// Activations to fixed-point digits: see digits.h. A part of kernels_impl.h. Plain loops, which compilers turn into
// vectors well here.

#include "backend/native/kernels/kernels_common.h"

namespace skywork_rt::native {
namespace {

template <typename Type>
constexpr InputForm FormOf(Arithmetic arithmetic) {
  if constexpr (Type::kIntegers) {  // however many digits
    if (arithmetic != Arithmetic::kFloat32) return Type::template Group<Simd, 1>::Record::kForm;
  }
  return InputForm::kFloats;
}

InputForm Form(WeightKind kind, Arithmetic arithmetic) {
  return WithType(kind, [=](auto type) { return FormOf<decltype(type)>(arithmetic); });
}

/// A group as whole numbers times `step`.
struct FixedGroup {
  std::int32_t numbers[kGroup];
  float step;
};

SKYWORK_RT_INLINE float FloatOfBits(std::uint32_t bits) {
  float value = 0;
  __builtin_memcpy(&value, &bits, sizeof(value));
  return value;
}

/// The largest magnitude's bits. They order as the floats do, and infinities and what is not a number come above all.
SKYWORK_RT_INLINE std::uint32_t LargestBits(const float* x) {
  std::uint32_t bits[kGroup];
  __builtin_memcpy(bits, x, sizeof(bits));
  std::uint32_t most = 0;
  for (std::uint32_t b : bits) {
    b &= 0x7FFFFFFFu;
    most = b > most ? b : most;
  }
  return most;
}

/// What a group is rounded by: x = step * f, f = x * inverse.
struct Scale {
  float step;
  float inverse;
};

/// Multiplying by powers of two is exact: what is rounded is rounded once, to a whole number.
SKYWORK_RT_INLINE Scale Scale24(std::uint32_t largest_bits) {
  // The exponent of the largest, one more where its 24 bits, of which one is rounded away, would exceed kLargestFixed24
  // (a half is rounded to even, which is up there); 2^-100 at least, so that the step is a normal number.
  constexpr std::uint32_t kCarry = 0x01000000u - (2u * kLargestFixed24 + 1u);
  const std::uint32_t carried = (largest_bits + kCarry) >> 23;
  const std::uint32_t exponent = carried < 27 ? 27 : carried;
  return {FloatOfBits((exponent - 22) << 23), FloatOfBits((276 - exponent) << 23)};
}

SKYWORK_RT_INLINE Scale Scale8(std::uint32_t largest_bits) {
  const float largest = FloatOfBits(largest_bits);
  // Dividing 127 by less would overflow.
  return {largest / 127.0f, largest > 0x1p-100f ? 127.0f / largest : 0.0f};
}

template <Arithmetic How>
SKYWORK_RT_INLINE void Round(const float* x, FixedGroup* group) {
  constexpr std::uint32_t kInfinityBits = 0x7F800000u;
  const std::uint32_t largest = LargestBits(x);
  if (largest >= kInfinityBits) {  // makes every product that reads the group not a number
    __builtin_memset(group->numbers, 0, sizeof(group->numbers));
    group->step = __builtin_nanf("");
    return;
  }
  const Scale scale = How == Arithmetic::kFixed24 ? Scale24(largest) : Scale8(largest);
  group->step = scale.step;
  for (int i = 0; i < kGroup; ++i) {
    group->numbers[i] = static_cast<std::int32_t>(__builtin_rintf(x[i] * scale.inverse));
  }
}

template <int Digits>
SKYWORK_RT_INLINE void WriteSums(const FixedGroup& group, ByteRecord<Digits>* record) {
  std::int32_t totals[2] = {};  // of 16 numbers of 24 bits
  for (int i = 0; i < kGroup / 2; ++i) totals[0] += group.numbers[i];
  for (int i = kGroup / 2; i < kGroup; ++i) totals[1] += group.numbers[i];
  record->sum = group.step * static_cast<float>(totals[0] + totals[1]);
  for (int half = 0; half < 2; ++half) record->sum_of_half[half] = group.step * static_cast<float>(totals[half]);
}

template <int Digits>
SKYWORK_RT_INLINE void Write(const FixedGroup& group, ByteRecord<Digits>* record) {
  // Adding 128 to each digit makes them unsigned, whose bytes can be cut out; taking it away again flips a bit.
  constexpr std::int32_t kBias = Digits == 1 ? 0x80 : 0x808080;
  for (int d = 0; d < Digits; ++d) {
    std::uint8_t bytes[kGroup];  // of one digit: loads of more than one store wrote would wait for the cache
    std::int32_t total = 0;
    for (int i = 0; i < kGroup; ++i) {
      const std::int32_t digit = (group.numbers[i] + kBias) >> (8 * d) & 0xFF;
      bytes[i] = static_cast<std::uint8_t>(digit ^ 0x80);
      total += digit;
    }
    __builtin_memcpy(record->codes[d], bytes, sizeof(bytes));
    record->offsets[d] = -128 * (total - 128 * kGroup);
  }
  record->step = group.step;
  WriteSums(group, record);
}

SKYWORK_RT_INLINE void Write(const FixedGroup& group, HalfRecord* record) {
  std::int16_t halves[kGroup];
  for (int i = 0; i < kGroup; i += 4) {
    halves[i] = static_cast<std::int16_t>(group.numbers[i]);
    halves[i + 1] = static_cast<std::int16_t>(group.numbers[i + 2]);
    halves[i + 2] = static_cast<std::int16_t>(group.numbers[i + 1]);
    halves[i + 3] = static_cast<std::int16_t>(group.numbers[i + 3]);
  }
  __builtin_memcpy(record->codes, halves, sizeof(halves));
  record->step = group.step;
}

template <typename Record, Arithmetic How>
void SplitInto(const float* row, int cols, void* records, std::size_t stride) {
  auto* record = static_cast<Record*>(records);
  for (int k = 0; k < cols; k += kGroup, record += stride) {
    FixedGroup group;
    float tail[kGroup] = {};
    const float* x = row + k;
    if (cols - k < kGroup) {
      __builtin_memcpy(tail, x, sizeof(float) * static_cast<std::size_t>(cols - k));
      x = tail;
    }
    Round<How>(x, &group);
    Write(group, record);
  }
}

void Split(const float* row, int cols, InputForm form, Arithmetic arithmetic, void* records, std::size_t stride) {
  if (form == InputForm::kHalves) return SplitInto<HalfRecord, Arithmetic::kFixed8>(row, cols, records, stride);
  if (arithmetic == Arithmetic::kFixed8) {
    return SplitInto<ByteRecord<1>, Arithmetic::kFixed8>(row, cols, records, stride);
  }
  SplitInto<ByteRecord<3>, Arithmetic::kFixed24>(row, cols, records, stride);
}

}  // namespace
}  // namespace skywork_rt::native
