#pragma once

#include <vector>

#include "skywork_rt/model_spec.h"
#include "skywork_rt/sampling.h"

namespace skywork_rt::testing {

/// What every processor and sampler does, written as plainly as can be: double precision, whole rows, full sorts.
struct Reference {
  std::vector<double> probabilities;  // of every token; 0 for those that are cut
  bool close_call = false;            // a cut fell within 1e-6 of another token: float32 may decide otherwise
};

Reference ReferenceDistribution(const std::vector<float>& logits, const SamplingParams& params,
                                const std::vector<TokenId>& eos_ids, const std::vector<TokenId>& prompt,
                                const std::vector<TokenId>& output);

/// The probability that a chi-square variable with `freedom` degrees exceeds `value` (Wilson and Hilferty 1931).
double ChiSquareTail(double value, int freedom);

}  // namespace skywork_rt::testing
