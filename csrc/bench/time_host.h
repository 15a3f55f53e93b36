#pragma once

#include <cstddef>
#include <vector>

namespace skywork_rt {

/// Seconds a row of logits, one entry a step.
struct HostTimes {
  std::vector<double> host;    // between two calls of the backend: all that an engine does about a step
  std::vector<double> argmax;  // of the index of each row's largest logit and nothing else, on the calling thread
};

/// What a step costs beside its backend: `rows` greedy requests decode side by side on a backend that computes nothing
/// and gives each a row of `vocab_size` logits. Steps that are timed take turns with steps whose rows are looked
/// through for the argmax alone, `steps` of each. `threads`: as GeneratorOptions::threads. Throws what
/// Generator::Submit throws.
HostTimes TimeHost(std::size_t rows, std::size_t vocab_size, std::size_t steps, int threads);

}  // namespace skywork_rt
