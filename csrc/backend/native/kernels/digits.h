#pragma once

#include <cstddef>
#include <cstdint>

#include "backend/native/kernels/panel.h"

// Activations as the integer kernels read them. As in panel.h: no standard containers.

namespace skywork_rt::native {

/// How weights of integer types are multiplied. (Others: always kFloat32.)
///
/// kFloat32: weights become floats, activations are what they are.
///
/// The others make integers of each group of 32 activations of a token, x = step * f: weights are small integers
/// already, some processors multiply four times as many of them an instruction as floats, and a sum of integers is
/// exact, hence the same in any order.
///
/// kFixed24, for activations="f32": f has 24 bits and step is the power of two that lets the largest of the group just
/// fit, but at least 2^-122. An activation is rounded by at most 1.004 * 2^-23 of that largest; a float32 dot product
/// loses as much with each addition. Processors multiply bytes, so f is three of them.
///
/// kFixed8, for activations="int8": f has 8 bits and step is the largest of the group divided by 127.
enum class Arithmetic : int { kFloat32 = 0, kFixed24 = 1, kFixed8 = 2 };

/// kHalves: for int8 weights on sets whose product of bytes would saturate. They do not compute kFixed24.
enum class InputForm : int { kFloats = 0, kBytes = 1, kHalves = 2 };

constexpr std::int32_t kLargestFixed24 = 0x7F7F7F;  // three signed bytes hold it and its negative

constexpr int DigitCount(Arithmetic arithmetic) {
  return arithmetic == Arithmetic::kFixed24 ? 3 : 1;
}

/// A group of one token. Digits are signed bytes, from the lowest to the highest.
template <int Digits>
struct ByteRecord {
  static constexpr InputForm kForm = InputForm::kBytes;
  std::int32_t codes[Digits][kGroup / 4];  // four inputs a dword, lowest byte first
  std::int32_t offsets[Digits];            // -128 times the sum of the digits; for codes taken as 128 more
  float step;
  float sum;             // step * Σ f; for minimums
  float sum_of_half[2];  // the same of the first 16 inputs and of the others
};

struct HalfRecord {
  static constexpr InputForm kForm = InputForm::kHalves;
  std::int32_t codes[kGroup / 2];  // two inputs a dword: of each four, the first and third, then the other two
  float step;
};

constexpr std::size_t RecordBytes(InputForm form, Arithmetic arithmetic) {
  if (form == InputForm::kHalves) return sizeof(HalfRecord);
  return arithmetic == Arithmetic::kFixed24 ? sizeof(ByteRecord<3>) : sizeof(ByteRecord<1>);
}

}  // namespace skywork_rt::native
