// What choosing a token costs at Skywork's vocabulary, on one core. Run it alone, or through
// benchmarks/sampling_recipe.py, which sets the recipe's numpy chain beside it.

#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <random>
#include <vector>

#include "sampling/beam_search.h"
#include "sampling/sampler.h"
#include "skywork_rt/sampling.h"

namespace skywork_rt {
namespace {

constexpr int kVocab = 65519;
constexpr std::size_t kRows = 4;       // in turns, so that no branch learns one row
constexpr std::size_t kHistory = 512;  // prompt tokens

/// Standard deviation of the logits: 3 is a language model's, 0.01 leaves nearly all tokens equally likely.
std::vector<std::vector<float>> Rows(float spread) {
  std::mt19937 generator(1);
  std::normal_distribution<float> normal(0.0f, spread);
  std::vector<std::vector<float>> rows(kRows, std::vector<float>(kVocab));
  for (std::vector<float>& row : rows) {
    for (float& x : row) x = normal(generator);
  }
  return rows;
}

std::vector<TokenId> History() {
  std::mt19937 generator(2);
  std::vector<TokenId> history(kHistory);
  for (TokenId& token : history) token = static_cast<TokenId>(generator() % kVocab);
  return history;
}

ModelSpec Model() {
  ModelSpec model;
  model.vocab_size = kVocab;
  model.eos_ids = {2};
  return model;
}

using Change = std::function<void(SamplingParams*)>;

void Sample(benchmark::State& state, float spread, const Change& change) {
  SamplingParams params;
  change(&params);
  std::vector<std::vector<float>> rows = Rows(spread);
  Sampler sampler(params, Model(), 42, 0, History());
  std::size_t step = 0;
  for (auto _ : state) {
    const TokenId token = sampler.Sample(rows[step++ % kRows]).token;
    sampler.Accept(token);
    benchmark::DoNotOptimize(token);
  }
}

void Beams(benchmark::State& state) {
  SamplingParams params;
  params.temperature = 0.0f;
  params.num_beams = 4;
  const std::vector<std::vector<float>> rows = Rows(3.0f);
  std::vector<float> logits(4 * kVocab);
  BeamSearch search(params, Model(), History(), 1 << 30);
  search.Advance({logits.data(), kVocab});
  for (auto _ : state) {
    state.PauseTiming();
    for (std::size_t i = 0; i < 4; ++i) std::copy(rows[i].begin(), rows[i].end(), logits.data() + i * kVocab);
    state.ResumeTiming();
    search.Advance(logits);
  }
}

void Register(const char* name, float spread, const Change& change) {
  benchmark::RegisterBenchmark(name, [=](benchmark::State& state) {
    Sample(state, spread, change);
  })->Unit(benchmark::kMicrosecond);
}

void RegisterAll() {
  constexpr float kModel = 3.0f;
  constexpr float kFlat = 0.01f;
  Register("greedy", kModel, [](SamplingParams* p) { p->temperature = 0.0f; });
  Register("k50_p0.9_t0.8_r1.1", kModel, [](SamplingParams* p) {
    p->top_k = 50;
    p->top_p = 0.9f;
    p->temperature = 0.8f;
    p->repetition_penalty = 1.1f;
  });
  Register("temperature", kModel, [](SamplingParams* p) { p->temperature = 0.8f; });
  Register("temperature_flat", kFlat, [](SamplingParams* p) { p->temperature = 0.8f; });
  Register("top_p", kModel, [](SamplingParams* p) { p->top_p = 0.9f; });
  Register("top_p_flat", kFlat, [](SamplingParams* p) { p->top_p = 0.9f; });
  Register("min_p", kModel, [](SamplingParams* p) { p->min_p = 0.05f; });
  Register("typical_p", kModel, [](SamplingParams* p) { p->typical_p = 0.9f; });
  Register("min_p_flat", kFlat, [](SamplingParams* p) { p->min_p = 0.05f; });
  Register("typical_p_flat", kFlat, [](SamplingParams* p) { p->typical_p = 0.9f; });
  Register("greedy_logprobs5", kModel, [](SamplingParams* p) {
    p->temperature = 0.0f;
    p->logprobs = 5;
  });
  benchmark::RegisterBenchmark("beam4_step", Beams)->Unit(benchmark::kMicrosecond);
}

}  // namespace
}  // namespace skywork_rt

int main(int argc, char** argv) {
  skywork_rt::RegisterAll();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
