#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <utility>

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
  bool give_ups = false;  // Forwards end halfway at random
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
      {"given up", 8, 512, 1 << 20, false, true, false, 0, 1 << 20, false, true},
      {"given up, apart, chunked, prefix-cached", 16, 7, 1 << 20, true, false, false, 0, 1 << 20, false, true},
      {"given up, guessing, prefix-cached", 8, 64, 1 << 20, true, true, true, 0, 1 << 20, false, true},
      {"given up, guessing, few blocks, optimistic", 8, 64, 1 << 20, true, true, true, 4, 200, true, true},
  };
  return ways;
}

/// Gives a third of all Forwards up, whether it is asked to or not.
class Fickle final : public PredictableBackend {
 public:
  using PredictableBackend::PredictableBackend;
  bool Forward(Span<const Chunk> chunks, Span<float> logits, ForwardWatch* watch) override {
    return random_() % 3 != 0 && PredictableBackend::Forward(chunks, logits, watch);
  }

 private:
  std::mt19937 random_{11};
};

/// Allows two tokens at each place, and guesses one of them.
std::shared_ptr<const LogitsMask> TwoWays() {
  const auto way = [](std::size_t position, TokenId first) { return first + static_cast<TokenId>(position % 7); };
  auto mask = std::make_shared<FunctionMask>(
      [=](std::size_t position, TokenId token) { return token == way(position, 50) || token == way(position, 60); });
  mask->set_likely([=](std::size_t position) {
    return std::vector<TokenId>{way(position, 50), way(position + 1, 60), way(position + 2, 50)};
  });
  return mask;
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
    if (params.num_beams == 1 && Below(3) == 0) request.mask = TwoWays();
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
  auto opened = way.give_ups ? std::make_unique<Fickle>(backend) : std::make_unique<PredictableBackend>(backend);
  return std::make_unique<Engine>(std::move(opened), std::move(config));
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
    EXPECT_EQ(preempted[way.name] > static_cast<std::uint64_t>(testing::Repeats(20)), way.optimistic)
        << way.name << " preempted " << preempted[way.name] << " requests";
  }
}

/// Cancels requests at random while the backend computes, on a clock by which every Forward is long.
class Cancelling {
 public:
  static constexpr std::size_t kLayers = 6;

  explicit Cancelling(unsigned seed) : random_(seed) {}

  std::unique_ptr<Engine> Open(const Way& way) {
    PredictableOptions backend;
    backend.layers = kLayers;
    backend.traits.mixed_steps = way.mixed_steps;
    backend.traits.max_batch = way.max_batch + 4;
    backend.between = [this](std::size_t done) {
      begun_ += done == 1 ? 1 : 0;
      ended_ += done + 1 == kLayers ? 1 : 0;
      now_ += std::chrono::seconds(1);
      const std::lock_guard<std::mutex> lock(mutex_);
      if (victims_.empty() || random_() % 12 != 0) return;
      std::swap(victims_[random_() % victims_.size()], victims_.back());
      victims_.back()->Cancel();
      victims_.pop_back();
    };
    GeneratorOptions options;
    options.max_batch = way.max_batch;
    options.prefill_budget = way.prefill_budget;
    options.prefix_cache = way.prefix_cache;
    EngineConfig config = CheckedConfig(options);
    config.clock = [this] { return start_ + now_; };
    if (way.guesses) config.proposer = std::make_shared<KnowingProposer>([](std::size_t n) { return n % 7 < 3; });
    return std::make_unique<Engine>(std::make_unique<PredictableBackend>(backend), std::move(config));
  }

  /// Forwards that were given up, but for those in the last layer. Of an engine that is closed.
  int given_up() const { return begun_ - ended_; }

  void Doom(Engine::StatePtr victim) {
    const std::lock_guard<std::mutex> lock(mutex_);
    victims_.push_back(std::move(victim));
  }
  void DoomTheRest() {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const auto& victim : victims_) victim->Cancel();
    victims_.clear();
  }

 private:
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::chrono::nanoseconds now_{0};  // of the engine's thread
  std::mutex mutex_;
  std::mt19937 random_;
  std::vector<Engine::StatePtr> victims_;
  int begun_ = 0;
  int ended_ = 0;
};

TEST(ScheduleTest, NorOnWhoIsCancelledInTheMidstOfAStep) {
  constexpr int kSchedules = 60;
  std::uint64_t cancelled = 0;
  int given_up = 0;
  for (int s = 0; s < testing::Repeats(kSchedules); ++s) {
    Schedule schedule(static_cast<unsigned>(1000 + s));
    std::vector<Request> requests;
    std::vector<Result> alone;
    auto lonely = Open(Way{"alone", 2});
    for (int i = 4 + schedule.Below(10); i > 0; --i) {
      requests.push_back(schedule.MakeRequest());
      alone.push_back(lonely->Submit(requests.back(), {})->Get());
    }
    for (const Way& way : AllWays()) {
      if (way.give_ups || way.max_chunk < 16) continue;
      SCOPED_TRACE("schedule " + std::to_string(s) + ", " + way.name);
      Cancelling cancelling(static_cast<unsigned>(s));
      auto engine = cancelling.Open(way);
      std::vector<Engine::StatePtr> states;
      std::vector<Engine::StatePtr> victims;
      for (const Request& request : requests) {
        victims.push_back(engine->Submit(schedule.MakeRequest(), {}));
        cancelling.Doom(victims.back());
        states.push_back(engine->Submit(request, {}));
      }
      for (std::size_t i = 0; i < states.size(); ++i) ExpectEqual(states[i]->Get(), alone[i]);
      cancelling.DoomTheRest();
      engine->Close(Generator::CloseMode::kFinish);
      const Stats stats = engine->stats();
      EXPECT_EQ(stats.requests, stats.finished + stats.cancelled);
      EXPECT_EQ(stats.queued, 0U);
      EXPECT_EQ(stats.running, 0U);
      cancelled += stats.cancelled;
      given_up += cancelling.given_up();
      ASSERT_FALSE(::testing::Test::HasFailure());
    }
  }
  EXPECT_GT(cancelled, static_cast<std::uint64_t>(testing::Repeats(kSchedules) * 5));
  EXPECT_GT(given_up, testing::Repeats(kSchedules)) << "of " << cancelled << " cancellations";
}

}  // namespace
}  // namespace skywork_rt
