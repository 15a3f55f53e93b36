#include "bench/time_sampling.h"

#include <chrono>

#include "sampling/sampler.h"

namespace skywork_rt {

std::vector<double> TimeSampling(const SamplingParams& params, Span<const float> logits, Span<const TokenId> history,
                                 std::size_t count) {
  using Clock = std::chrono::steady_clock;
  Validate(params, static_cast<int>(logits.size()));
  ModelSpec model;
  model.vocab_size = static_cast<int>(logits.size());
  Sampler sampler(params, model, params.seed.value_or(0), 0, history);
  std::vector<float> row(logits.begin(), logits.end());
  SamplingScratch scratch;
  std::vector<double> seconds;
  seconds.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    const auto begin = Clock::now();
    sampler.Sample(Span<float>(row), &scratch);
    seconds.push_back(std::chrono::duration<double>(Clock::now() - begin).count());
  }
  return seconds;
}

}  // namespace skywork_rt
