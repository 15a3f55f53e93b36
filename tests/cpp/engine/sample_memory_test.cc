// What 1,000 samples hold: counted bytes, at the vocabulary of Skywork.

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "engine/active_request.h"
#include "engine/engine_fixture.h"
#include "engine/failing_allocator.h"
#include "support/sanitizers.h"

namespace skywork_rt {
namespace {

constexpr int kVocab = 65519;
constexpr int kTokens = 2;
constexpr int kSamples = testing::Size(1000, 400);  // what is counted is an average

/// Bytes that a running sample holds after a few tokens, on average; each of `requests` requests has `n`.
double BytesOfASample(int requests, int n, const std::function<void(SamplingParams*)>& change) {
  ModelSpec model;
  model.vocab_size = kVocab;
  std::vector<float> row(kVocab);
  for (std::size_t i = 0; i < row.size(); ++i) row[i] = static_cast<float>(i * 7919 % 1009) * 1e-4f;  // flat
  SamplingScratch scratch;
  const auto link = std::make_shared<EngineLink>();
  std::vector<std::unique_ptr<ActiveRequest>> active;
  active.reserve(static_cast<std::size_t>(requests));
  std::int64_t before = 0;
  for (int i = 0; i <= requests; ++i) {  // the first one fills the scratch, and is not counted
    if (i == 1) {
      active.clear();
      before = FailingAllocator::LiveBytes();
    }
    Request request = Drawn(Counting(16), 2 * kTokens, static_cast<std::uint64_t>(i), n);
    change(&request.sampling);
    auto state = std::make_shared<internal::RequestState>(static_cast<std::uint64_t>(i) + 1, std::move(request),
                                                          16 + 2 * kTokens, i, UpdateCallback{}, link);
    active.push_back(std::make_unique<ActiveRequest>(std::move(state), model, nullptr, 0));
    for (int token = 0; token < kTokens; ++token) {
      for (int sample = 0; sample < n; ++sample) active.back()->Next(sample, Span<float>(row), &scratch);
    }
  }
  return static_cast<double>(FailingAllocator::LiveBytes() - before) / (requests * n);
}

TEST(SampleMemory, ThousandSamplesHoldNoScratchOfTheirOwn) {
  const auto plain = [](SamplingParams* params) { params->temperature = 0.8f; };
  const auto every = [](SamplingParams* params) {
    params->temperature = 0.8f;
    params->top_p = 0.95f;
    params->repetition_penalty = 1.1f;
    params->frequency_penalty = 0.1f;
    params->no_repeat_ngram_size = 3;
  };
  EXPECT_LT(BytesOfASample(kSamples, 1, plain), 4 * 1024);
  EXPECT_LT(BytesOfASample(kSamples, 1, every), 6 * 1024);
  EXPECT_LT(BytesOfASample(1, kSamples, plain), 2 * 1024);
  EXPECT_LT(BytesOfASample(1, kSamples, every), 5 * 1024);
}

TEST(SampleMemory, LogProbabilitiesAddTheirOwnEntriesOnly) {
  const auto ranked = [](SamplingParams* params) {
    params->logprobs = 5;
    params->prompt_logprobs = 5;
  };
  EXPECT_LT(BytesOfASample(kSamples, 1, ranked), 6 * 1024);
}

}  // namespace
}  // namespace skywork_rt
