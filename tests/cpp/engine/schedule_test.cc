#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>

#include "engine/doubles.h"
#include "engine/engine_fixture.h"
#include "support/sanitizers.h"

namespace skywork_rt {
namespace {

/// One way to run requests: how many at once, in what pieces, with or without reuse.
struct Way {
  std::string name;
  int max_batch = 1;
  std::size_t prefill_budget = 512;
  std::size_t max_chunk = 1 << 20;
  bool prefix_cache = false;
  bool mixed_steps = true;
  bool guesses = false;  // several tokens a step, half of them guessed wrong
  std::size_t block_tokens = 0;
  std::size_t max_cached_tokens = 1 << 20;
  bool optimistic = false;
};

const std::vector<Way>& AllWays() {
  static const std::vector<Way> ways = {
      {"batches of 2", 2},
      {"batches of 8", 8},
      {"batches of 16", 16},
      {"chunked", 8, 5},
      {"small chunks", 4, 64, 3},
      {"prefix-cached", 8, 512, 1 << 20, true},
      {"prefix-cached, chunked", 16, 7, 1 << 20, true},
      {"prefill and decode apart", 8, 16, 1 << 20, true, false},
      {"guessing", 8, 512, 1 << 20, false, true, true},
      {"guessing, chunked, prefix-cached", 16, 7, 3, true, true, true},
      {"blocks", 8, 512, 1 << 20, false, true, false, 4},
      {"blocks, prefix-cached", 8, 512, 1 << 20, true, true, false, 4},
      {"few blocks, prefix-cached, chunked, guessing", 8, 7, 3, true, true, true, 4, 200},
      {"few blocks of one token, prefix-cached", 8, 64, 1 << 20, true, true, false, 1, 200},
      {"few blocks, optimistic", 8, 64, 1 << 20, false, true, false, 4, 200, true},
      {"few blocks, optimistic, prefix-cached, chunked", 16, 9, 1 << 20, true, true, false, 4, 200, true},
      {"few blocks, optimistic, prefix-cached, guessing", 16, 64, 1 << 20, true, true, true, 4, 200, true},
  };
  return ways;
}

class Schedule {
 public:
  explicit Schedule(unsigned seed) : random_(seed) {}

  int Below(int n) { return static_cast<int>(random_() % static_cast<unsigned>(n)); }

  /// Prompts of 1 to 60 tokens, many of which begin alike; every kind of sampling.
  Request MakeRequest() {
    static const std::vector<TokenId> kStem = Counting(40);
    Request request;
    const int shared = Below(2) == 0 ? Below(41) : 0;
    request.prompt.assign(kStem.begin(), kStem.begin() + shared);
    for (int i = 1 + Below(20); i > 0; --i) request.prompt.push_back(Below(97));
    SamplingParams& params = request.sampling;
    params.max_tokens = 1 + Below(30);
    params.temperature = Below(2) == 0 ? 0.0f : 0.8f;
    params.seed = static_cast<std::uint64_t>(Below(1000));
    if (params.temperature > 0.0f) params.n = 1 + (Below(3) == 0 ? Below(2) : 0);
    if (Below(4) == 0) params.repetition_penalty = 1.3f;
    if (Below(4) == 0) params.top_k = 5;
    if (Below(5) == 0) params.logprobs = 2;
    if (Below(6) == 0) params.prompt_logprobs = 1;
    if (params.temperature == 0.0f && Below(6) == 0) {
      params.num_beams = 2;
      params.logprobs.reset();
    }
    request.priority = Below(3);
    return request;
  }

 private:
  std::mt19937 random_;
};

std::unique_ptr<Engine> Open(const Way& way) {
  PredictableOptions backend;
  backend.traits.max_chunk = way.max_chunk;
  backend.traits.mixed_steps = way.mixed_steps;
  backend.traits.max_batch = way.max_batch + (way.block_tokens == 0 ? 4 : 100);
  backend.traits.block_tokens = way.block_tokens;
  backend.traits.max_cached_tokens = way.max_cached_tokens;
  GeneratorOptions options;
  options.max_batch = way.max_batch;
  options.prefill_budget = way.prefill_budget;
  options.prefix_cache = way.prefix_cache;
  if (way.optimistic) options.admission = "optimistic";
  EngineConfig config = CheckedConfig(options);
  if (way.guesses) config.proposer = std::make_shared<KnowingProposer>([](std::size_t n) { return n % 7 < 3; });
  return std::make_unique<Engine>(std::make_unique<PredictableBackend>(backend), std::move(config));
}

void ExpectEqualLists(const std::vector<std::vector<TokenLogprob>>& a,
                      const std::vector<std::vector<TokenLogprob>>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    ASSERT_EQ(a[i].size(), b[i].size());
    for (std::size_t j = 0; j < a[i].size(); ++j) {
      EXPECT_EQ(a[i][j].token, b[i][j].token);
      EXPECT_EQ(a[i][j].logprob, b[i][j].logprob);
      EXPECT_EQ(a[i][j].rank, b[i][j].rank);
    }
  }
}

void ExpectEqual(const Result& a, const Result& b) {
  ASSERT_EQ(a.samples.size(), b.samples.size());
  for (std::size_t i = 0; i < a.samples.size(); ++i) {
    EXPECT_EQ(a.samples[i].token_ids, b.samples[i].token_ids);
    EXPECT_EQ(a.samples[i].finish_reason, b.samples[i].finish_reason);
    EXPECT_EQ(a.samples[i].cumulative_logprob, b.samples[i].cumulative_logprob);
    ExpectEqualLists(a.samples[i].logprobs, b.samples[i].logprobs);
  }
  ExpectEqualLists(a.prompt_logprobs, b.prompt_logprobs);
}

TEST(ScheduleTest, WhatARequestGetsDoesNotDependOnItsNeighbours) {
  constexpr int kSchedules = 200;
  std::map<std::string, std::uint64_t> reused, preempted;
  for (int s = 0; s < testing::Repeats(kSchedules); ++s) {
    Schedule schedule(static_cast<unsigned>(s));
    std::vector<Request> requests;
    std::vector<Result> alone;
    auto lonely = Open(Way{"alone", 2});  // two beams or samples are one request
    for (int i = 4 + schedule.Below(20); i > 0; --i) {
      requests.push_back(schedule.MakeRequest());
      alone.push_back(lonely->Submit(requests.back(), {})->Get());
    }
    for (const Way& way : AllWays()) {
      SCOPED_TRACE("schedule " + std::to_string(s) + ", " + way.name);
      auto engine = Open(way);
      std::vector<Engine::StatePtr> states;
      for (const Request& request : requests) states.push_back(engine->Submit(request, {}));
      for (std::size_t i = 0; i < states.size(); ++i) ExpectEqual(states[i]->Get(), alone[i]);
      reused[way.name] += engine->stats().prefix_hit_tokens;
      preempted[way.name] += engine->stats().preempted;
      ASSERT_FALSE(::testing::Test::HasFailure());
    }
  }
  for (const Way& way : AllWays()) {
    EXPECT_EQ(reused[way.name] > static_cast<std::uint64_t>(testing::Repeats(1000)), way.prefix_cache)
        << way.name << " reused " << reused[way.name] << " tokens";
    EXPECT_EQ(preempted[way.name] > static_cast<std::uint64_t>(testing::Repeats(100)), way.optimistic)
        << way.name << " preempted " << preempted[way.name] << " requests";
  }
}

}  // namespace
}  // namespace skywork_rt
