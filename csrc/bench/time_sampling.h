#pragma once

#include <cstddef>
#include <vector>

#include "skywork_rt/model_spec.h"
#include "skywork_rt/sampling.h"
#include "skywork_rt/span.h"

namespace skywork_rt {

/// Seconds of each of `count` choices of the next token by one Sampler, from the same row of raw logits [vocab_size]
/// after the same history: what a row costs a step. Throws what Validate and Sampler::Sample throw.
std::vector<double> TimeSampling(const SamplingParams& params, Span<const float> logits, Span<const TokenId> history,
                                 std::size_t count);

}  // namespace skywork_rt
