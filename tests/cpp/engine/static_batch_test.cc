// Backends that read prompts whole, and those whose sequences begin and go on together (Traits::whole_prompts,
// static_batch). The predictable backend throws at every step that is neither.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "engine/doubles.h"
#include "engine/engine_fixture.h"

namespace skywork_rt {
namespace {

using testing::HasSubstr;

PredictableOptions Whole() {
  PredictableOptions options;
  options.traits.max_batch = 4;
  options.traits.can_fork = false;
  options.traits.can_truncate = false;
  options.traits.mixed_steps = false;
  options.traits.whole_prompts = true;
  return options;
}

PredictableOptions Static() {
  PredictableOptions options = Whole();
  options.traits.static_batch = true;
  options.traits.only_last_logits = true;
  return options;
}

struct Kind {
  const char* name;
  PredictableOptions (*options)();
};

class WholePrompts : public testing::TestWithParam<Kind> {};

TEST_P(WholePrompts, ElevenRequestsOfAllLengthsComeToWhatTheyCouldAlone) {
  GeneratorOptions options;
  options.prefill_budget = 8;
  const auto engine = MakeEngine(options, GetParam().options());
  std::vector<Engine::StatePtr> states;
  for (int i = 0; i < 11; ++i) {
    states.push_back(engine->Submit(LongRequest(Counting(1 + i * 7 % 60, 5 + i), 3 + i % 5), {}));
  }
  for (int i = 0; i < 11; ++i) {
    const std::vector<TokenId> all = states[static_cast<std::size_t>(i)]->Get().samples[0].token_ids;
    std::vector<TokenId> history = Counting(1 + i * 7 % 60, 5 + i);
    for (const TokenId token : all) {
      std::vector<float> row(97);
      PredictableBackend::Logits(Span<const TokenId>(history), Span<float>(row));
      EXPECT_EQ(std::max_element(row.begin(), row.end()) - row.begin(), token) << "request " << i;
      history.push_back(token);
    }
    EXPECT_EQ(all.size(), static_cast<std::size_t>(3 + i % 5));
  }
}

TEST_P(WholePrompts, APromptDoesNotBeginFromCachedTokens) {
  const auto engine = MakeEngine({}, GetParam().options());
  RunOne(engine.get(), LongRequest(Counting(30), 4));
  EXPECT_EQ(RunOne(engine.get(), LongRequest(Counting(40), 4)).cached_prompt_tokens, 0u);
  EXPECT_FALSE(engine->options().prefix_cache);
}

TEST_P(WholePrompts, ACancelledRequestLeavesItsBatch) {
  PredictableOptions options = GetParam().options();
  options.hook = Slow().hook;
  const auto engine = MakeEngine({}, options);
  const auto gone = engine->Submit(LongRequest(Counting(5), 300), {});
  const auto stays = engine->Submit(LongRequest(Counting(7), 20), {});
  std::this_thread::sleep_for(std::chrono::milliseconds(8));
  gone->Cancel();
  EXPECT_EQ(stays->Get().samples[0].token_ids.size(), 20u);
  EXPECT_EQ(CodeOf([&] { gone->Get(); }), ErrorCode::kCancelled);
  EXPECT_EQ(RunOne(engine.get(), LongRequest(Counting(3), 5)).samples[0].token_ids.size(), 5u);
}

INSTANTIATE_TEST_SUITE_P(Kinds, WholePrompts, testing::Values(Kind{"Joining", &Whole}, Kind{"Static", &Static}),
                         [](const auto& kind) { return std::string(kind.param.name); });

TEST(StaticBatch, RequestsThatComeOneByOneBeginTogetherOnceTheBatchIsFull) {
  std::atomic<int> forwards{0};
  PredictableOptions options = Static();
  options.hook = [&](BackendOp op, std::uint64_t) { forwards += op == BackendOp::kForward ? 1 : 0; };
  EngineConfig config = CheckedConfig();
  config.gather = std::chrono::seconds(60);
  Engine engine(std::make_unique<PredictableBackend>(options), config);
  std::vector<Engine::StatePtr> states;
  for (int i = 0; i < 4; ++i) states.push_back(engine.Submit(LongRequest(Counting(4, 5 + i), 6), {}));
  for (const auto& state : states) state->Get();
  EXPECT_EQ(forwards, 6) << "a prompt's step, whose logits give the first token, and five more";
}

TEST(StaticBatch, AFewRequestsWaitForMoreOnlyForAMoment) {
  const auto engine = MakeEngine({}, Static());
  const auto start = std::chrono::steady_clock::now();
  RunOne(engine.get(), LongRequest(Counting(4), 3));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

TEST(StaticBatch, AllWaitWhileTheMaskOfOneIsNotReady) {
  EngineConfig config = CheckedConfig();
  config.gather = std::chrono::seconds(60);
  PredictableOptions options = Static();
  options.traits.max_batch = 2;
  Engine engine(std::make_unique<PredictableBackend>(options), config);
  const auto gate = std::make_shared<FunctionMask::Gate>();
  Request masked = LongRequest(Counting(4), 6);
  masked.mask = std::make_shared<FunctionMask>([](std::size_t, TokenId token) { return token % 2 == 0; }, gate);
  const auto held = engine.Submit(masked, {});
  const auto other = engine.Submit(LongRequest(Counting(5), 8), {});
  for (std::size_t position = 1; position <= 6; ++position) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    gate->Open(position);
  }
  const Result result = held->Get();
  for (const TokenId token : result.samples[0].token_ids) EXPECT_EQ(token % 2, 0);
  EXPECT_GT(gate->refused, 0);
  EXPECT_EQ(other->Get().samples[0].token_ids.size(), 8u);
}

TEST(StaticBatch, WhatItCannotDoIsRefusedAtAdmissionByName) {
  const auto engine = MakeEngine({}, Static());
  const auto refused = [&](const Request& request) {
    std::string message;
    EXPECT_EQ(CodeOf([&] { engine->Check(request); }, &message), ErrorCode::kUnsupported);
    return message;
  };
  Request several = GreedyRequest(Counting(4), 4);
  several.sampling.n = 2;
  EXPECT_THAT(refused(several), HasSubstr("can_fork"));
  Request scored = GreedyRequest(Counting(4), 4);
  scored.sampling.prompt_logprobs = 0;
  EXPECT_THAT(refused(scored), HasSubstr("only_last_logits"));
  const auto whole = MakeEngine({}, Whole());
  EXPECT_NO_THROW(whole->Check(scored));
}

}  // namespace
}  // namespace skywork_rt
