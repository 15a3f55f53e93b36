#pragma once

#include <cstddef>
#include <cstdint>

#include "skywork_rt/export.h"

namespace skywork_rt {

/// Loops over one row of logits, compiled once an instruction set and chosen at run time. Every version works on 16
/// lanes in the same order and without fused multiply-add, so all give the same bits.
struct RowKernels {
  /// Elements of one block of kGroupBlock whose index is equal modulo kLanes share one group maximum.
  static constexpr std::size_t kLanes = 16;
  static constexpr std::size_t kGroupBlock = 128;

  struct Scan {
    float max;     // of the elements that are not NaN; -inf when there are none
    bool has_nan;  // any element
  };
  const char* name;
  /// Largest element, and whether there is a NaN. `group_max`, when not null, receives GroupCount(n) maxima: entry
  /// 16 * b + l is that of the elements 128 * b + l, 128 * b + l + 16, ... of block b.
  Scan (*scan)(const float* x, std::size_t n, float* group_max);
  /// Index of the first element that equals `value`, n when there is none.
  std::size_t (*find)(const float* x, std::size_t n, float value);
  /// How many elements are greater than x[index], plus those before `index` that equal it.
  std::size_t (*count_before)(const float* x, std::size_t n, std::size_t index);
  /// With score = (x - max) * inverse_temperature, which is at most 0, and weight = exp(score): the sum of the weights.
  /// Scores below -87 weigh nothing. Blocks of 128 are summed in float32, eight to a lane, and then in double.
  double (*mass)(const float* x, std::size_t n, float max, float inverse_temperature);
  /// The sum of weight * score, likewise.
  double (*weighted_score)(const float* x, std::size_t n, float max, float inverse_temperature);
  /// weights[i] = exp(scores[i]) for scores of at most 0, the same bits as in `mass`.
  void (*weights)(const float* scores, std::size_t n, float* weights);
  /// masked[i] = x[i] where bit i % 32 of allowed[i / 32] is set, else -inf.
  void (*mask)(const float* x, const std::uint32_t* allowed, std::size_t n, float* masked);

  static constexpr std::size_t GroupCount(std::size_t n) { return (n + kGroupBlock - 1) / kGroupBlock * kLanes; }
};

/// The version for ChosenInstructionSet() at the time of the first call, which throws what that throws.
SKYWORK_RT_API const RowKernels& Rows();

/// All versions that this CPU runs, ended by nullptr; the first one is the plain one. For tests.
const RowKernels* const* AllRowKernels();

}  // namespace skywork_rt
