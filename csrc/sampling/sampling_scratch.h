#pragma once

#include <vector>

#include "sampling/candidates.h"
#include "sampling/distribution.h"
#include "sampling/logit_changes.h"
#include "sampling/logprobs.h"
#include "skywork_rt/generator.h"

namespace skywork_rt {

/// What choosing a token needs for the moment, and nobody has to remember: 1 to 3 MB at a vocabulary of 65519. Whoever
/// chooses has one a thread and lends it to every sample in turn; no choice depends on what an earlier one left in it.
struct SamplingScratch {
  Candidates candidates;
  Distribution distribution;
  LogprobRanker ranker;
  LogitChanges changes;
  std::vector<float> masked;           // a row of its own under a mask, most of whose tokens may be out
  std::vector<TokenLogprob> logprobs;  // of the last choice
};

}  // namespace skywork_rt
