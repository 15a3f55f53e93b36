// A mask on the logits before sampling: what it allows comes, and whoever waits for one holds up nobody.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "engine/doubles.h"

namespace skywork_rt {
namespace {

using ::testing::Each;
using ::testing::Ge;
using ::testing::HasSubstr;

Request Masked(Request request, FunctionMask::Rule allowed, std::shared_ptr<FunctionMask::Gate> gate = nullptr) {
  request.mask = std::make_shared<FunctionMask>(std::move(allowed), std::move(gate));
  return request;
}

bool AtLeast50(std::size_t /*position*/, TokenId token) {
  return token >= 50;
}

TEST(Mask, OnlyWhatItAllowsIsChosen) {
  const auto engine = MakeEngine();
  Request request = Masked(LongRequest(Counting(5), 20), AtLeast50);
  EXPECT_THAT(engine->Submit(request, {})->Get().samples[0].token_ids, Each(Ge(50)));
  request.sampling.temperature = 1.5f;
  request.sampling.seed = 3;
  request.sampling.n = 3;
  const Result sampled = engine->Submit(request, {})->Get();
  for (const Sample& sample : sampled.samples) EXPECT_THAT(sample.token_ids, Each(Ge(50)));
  EXPECT_NE(sampled.samples[0].token_ids, sampled.samples[1].token_ids) << "each sample has a mask of its own";
}

TEST(Mask, OneThatAllowsAllChangesNothing) {
  const auto engine = MakeEngine();
  Request request = GreedyRequest(Counting(6), 20);
  request.sampling.logprobs = 3;
  request.sampling.repetition_penalty = 1.2f;
  const Result plain = engine->Submit(request, {})->Get();
  const Result masked = engine->Submit(Masked(request, [](std::size_t, TokenId) { return true; }), {})->Get();
  EXPECT_EQ(masked.samples[0].token_ids, plain.samples[0].token_ids);
  EXPECT_EQ(masked.samples[0].cumulative_logprob, plain.samples[0].cumulative_logprob);
}

TEST(Mask, EndsTheOutputByAllowingNothingButItsEnd) {
  const auto engine = MakeEngine();
  const TokenId eos = PredictableOptions().eos_ids[0];
  const auto three = [&](std::size_t position, TokenId token) { return position < 3 ? token == 60 : token == eos; };
  const Result result = engine->Submit(Masked(GreedyRequest(Counting(5), 20), three), {})->Get();
  EXPECT_EQ(result.samples[0].token_ids, (std::vector<TokenId>{60, 60, 60, eos}));
  EXPECT_EQ(result.samples[0].finish_reason, FinishReason::kStop);
}

TEST(Mask, ALogprobIsThatOfTheUnmaskedLogits) {
  const auto engine = MakeEngine();
  Request request = Masked(LongRequest(Counting(5), 1), AtLeast50);
  request.sampling.logprobs = 0;
  const Result result = engine->Submit(request, {})->Get();
  EXPECT_LT(result.samples[0].logprobs[0][0].logprob, 0.0f);
  EXPECT_GE(result.samples[0].logprobs[0][0].rank, 1);
}

TEST(Mask, OneThatAllowsNothingEndsItsRequestOnly) {
  const auto engine = MakeEngine();
  const auto other = engine->Submit(LongRequest(Counting(5), 30), {});
  const auto none =
      engine->Submit(Masked(LongRequest(Counting(6), 30), [](std::size_t, TokenId) { return false; }), {});
  std::string message;
  EXPECT_EQ(CodeOf([&] { none->Get(); }, &message), ErrorCode::kInvalidArgument);
  EXPECT_THAT(message, HasSubstr("or the mask"));
  EXPECT_EQ(other->Get().samples[0].token_ids.size(), 30u);
}

TEST(Mask, IsRefusedWithBeams) {
  const auto engine = MakeEngine();
  Request request = Masked(GreedyRequest(Counting(5), 20), AtLeast50);
  request.sampling.num_beams = 2;
  std::string message;
  EXPECT_EQ(CodeOf([&] { engine->Submit(request, {}); }, &message), ErrorCode::kUnsupported);
  EXPECT_THAT(message, HasSubstr("mask"));
}

TEST(Mask, WhoeverWaitsForOneHoldsUpNobody) {
  const auto engine = MakeEngine();
  const auto gate = std::make_shared<FunctionMask::Gate>();
  const Request held = Masked(LongRequest(Counting(5), 10), AtLeast50, gate);
  const auto waiting = engine->Submit(held, {});
  const Request free = LongRequest(Counting(9, 30), 60);
  const Result alone = MakeEngine()->Submit(free, {})->Get();
  EXPECT_EQ(engine->Submit(free, {})->Get().samples[0].token_ids, alone.samples[0].token_ids)
      << "and it has the same tokens as alone";
  EXPECT_FALSE(waiting->WaitFor(std::chrono::milliseconds(20)));
  for (std::size_t position = 1; position <= 10; ++position) {  // as a thread that computes one mask after the other
    gate->Open(position);
    std::this_thread::yield();
  }
  gate->Open(10);
  const std::vector<TokenId> found = waiting->Get().samples[0].token_ids;
  EXPECT_EQ(found,
            MakeEngine()->Submit(Masked(LongRequest(Counting(5), 10), AtLeast50), {})->Get().samples[0].token_ids);
  EXPECT_GT(gate->refused, 0);
}

TEST(Mask, ARequestThatWaitsForOneCanBeCancelledAndRunsOutOfTime) {
  const auto engine = MakeEngine();
  const auto gate = std::make_shared<FunctionMask::Gate>();
  const auto cancelled = engine->Submit(Masked(LongRequest(Counting(5), 10), AtLeast50, gate), {});
  Request late = Masked(LongRequest(Counting(6), 10), AtLeast50, gate);
  late.deadline = std::chrono::milliseconds(30);
  const auto expired = engine->Submit(late, {});
  cancelled->Cancel();
  EXPECT_EQ(CodeOf([&] { cancelled->Get(); }), ErrorCode::kCancelled);
  EXPECT_EQ(CodeOf([&] { expired->Get(); }), ErrorCode::kDeadlineExceeded);
  EXPECT_EQ(engine->Submit(LongRequest(Counting(3), 5), {})->Get().samples[0].token_ids.size(), 5u);
}

TEST(Mask, MayWakeAnEngineThatIsGone) {
  const auto gate = std::make_shared<FunctionMask::Gate>();
  {
    const auto engine = MakeEngine();
    const auto waiting = engine->Submit(Masked(LongRequest(Counting(5), 10), AtLeast50, gate), {});
    while (gate->refused == 0) std::this_thread::yield();
  }
  gate->Open(10);
}

TEST(Mask, GoesWithGuesses) {
  EngineConfig config = CheckedConfig();
  config.proposer = std::make_shared<KnowingProposer>([](std::size_t n) { return n % 2 == 0; });
  Engine guessing(std::make_unique<PredictableBackend>(PredictableOptions()), std::move(config));
  const auto even = [](std::size_t position, TokenId token) { return position % 4 != 0 || token % 2 == 0; };
  const Request request = Masked(LongRequest(Counting(8), 30), even);
  EXPECT_EQ(guessing.Submit(request, {})->Get().samples[0].token_ids,
            MakeEngine()->Submit(request, {})->Get().samples[0].token_ids);
}

TEST(Mask, WhatItSaysIsLikelyComesInFewerSteps) {
  const auto sixty = [](std::size_t /*position*/, TokenId token) { return token == 60; };
  for (const auto& [likely, steps] : std::vector<std::pair<std::vector<TokenId>, std::uint64_t>>{
           {{}, 20}, {{60, 60, 60}, 6}, {{60, 61, 60}, 11}, {{61}, 20}, {{-1, 60}, 20}, {{60, 1 << 20}, 11}}) {
    for (const bool bitwise : {true, false}) {
      PredictableOptions backend;
      backend.traits.bitwise = bitwise;
      EngineConfig config = CheckedConfig();
      config.clock = StillClock();
      Engine engine(std::make_unique<PredictableBackend>(backend), std::move(config));
      auto mask = std::make_shared<FunctionMask>(sixty);
      mask->set_likely([tokens = likely](std::size_t) { return tokens; });
      Request request = LongRequest(Counting(5), 20);
      request.mask = mask;
      EXPECT_THAT(engine.Submit(request, {})->Get().samples[0].token_ids, Each(60));
      engine.Close(Generator::CloseMode::kFinish);
      EXPECT_EQ(engine.stats().steps, bitwise ? steps : 20u) << likely.size();
    }
  }
}

}  // namespace
}  // namespace skywork_rt
