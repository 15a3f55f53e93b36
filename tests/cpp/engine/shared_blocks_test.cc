// The cache shared by block: what samples, beams and prompts that begin alike take, what is kept, what goes first, and
// what optimistic admission does when room runs out.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <mutex>
#include <string>

#include "engine/doubles.h"
#include "engine/engine_fixture.h"

namespace skywork_rt {
namespace {

using ::testing::HasSubstr;

constexpr std::size_t kBlock = 16;

PredictableOptions Blocks(std::size_t tokens) {
  PredictableOptions backend;
  backend.max_length = 4096;
  backend.traits.block_tokens = kBlock;
  backend.traits.max_cached_tokens = tokens;
  backend.traits.max_batch = 1000;
  return backend;
}

GeneratorOptions Optimistic() {
  GeneratorOptions options;
  options.admission = "optimistic";
  return options;
}

/// An engine, and its backend to look at.
struct Watched {
  PredictableBackend* backend = nullptr;
  std::unique_ptr<Engine> engine;
};

Watched Open(const PredictableOptions& options, GeneratorOptions generator = {}) {
  auto backend = std::make_unique<PredictableBackend>(options);
  Watched watched;
  watched.backend = backend.get();
  watched.engine = std::make_unique<Engine>(std::move(backend), CheckedConfig(std::move(generator)));
  return watched;
}

TEST(SharedBlocks, SamplesCountASharedPromptOnce) {
  const Watched watched = Open(Blocks(1024 + 8 * 32));
  Request request = LongRequest(Counting(80), 30);
  for (int i = 0; i < 944; ++i) request.prompt.push_back(i % 90);
  request.sampling.n = 8;
  request.sampling.temperature = 1.0f;
  const Result result = RunOne(watched.engine.get(), request);
  EXPECT_EQ(result.samples.size(), 8U);
  EXPECT_LE(watched.backend->most_blocks(), (1024 + 8 * 32) / kBlock);
}

TEST(SharedBlocks, BeamsCountASharedPromptOnce) {
  const Watched watched = Open(Blocks(1024 + 4 * 32));
  Request request = LongRequest(Counting(80), 30);
  for (int i = 0; i < 944; ++i) request.prompt.push_back(i % 90);
  request.sampling.num_beams = 4;
  EXPECT_EQ(RunOne(watched.engine.get(), request).samples.size(), 1U);
}

TEST(SharedBlocks, WhatDoesNotFitEvenSharedIsRefusedWithNumbers) {
  const Watched watched = Open(Blocks(1024 + 8 * 16));
  Request request = LongRequest(std::vector<TokenId>(1024, 5), 17);
  request.sampling.n = 8;
  request.sampling.temperature = 1.0f;
  std::string message;
  EXPECT_EQ(CodeOf([&] { watched.engine->Submit(request, {}); }, &message), ErrorCode::kCapacity);
  EXPECT_THAT(message, HasSubstr("1280 cached tokens (8 x 1041, prompt + max_tokens, the prompt once)"));
  request.clip_max_tokens = true;
  EXPECT_EQ(RunOne(watched.engine.get(), request).samples[0].token_ids.size(), 16U);
}

TEST(SharedBlocks, RequestsThatBeginAlikeShareTheirBeginning) {
  const Watched watched = Open(Blocks(1024 + 4 * 48), {});
  std::vector<TokenId> stem(1024, 7);
  std::vector<Engine::StatePtr> states;
  for (TokenId i = 0; i < 4; ++i) {
    std::vector<TokenId> prompt = stem;
    prompt.push_back(i);
    states.push_back(watched.engine->Submit(LongRequest(prompt, 30), {}));
  }
  for (const auto& state : states) state->Get();
  EXPECT_LE(watched.backend->computed(), 1024U + 4 * 40) << "the stem is read once";
  EXPECT_LE(watched.engine->stats().cached_tokens, 1024U + 4 * 48) << "and counted once";
}

TEST(SharedBlocks, KeptBlocksGoFromTheTailOfTheLongestUnused) {
  const Watched watched = Open(Blocks(320));
  RunOne(watched.engine.get(), LongRequest(Counting(80, 0), 10));   // 6 blocks
  RunOne(watched.engine.get(), LongRequest(Counting(80, 10), 10));  // 6 blocks
  RunOne(watched.engine.get(), LongRequest(Counting(80, 5), 60));   // 9 blocks: one must go
  EXPECT_EQ(RunOne(watched.engine.get(), LongRequest(Counting(80, 5), 1)).cached_prompt_tokens, 79U);
  EXPECT_EQ(RunOne(watched.engine.get(), LongRequest(Counting(80, 10), 1)).cached_prompt_tokens, 79U);
  EXPECT_GE(RunOne(watched.engine.get(), LongRequest(Counting(80, 0), 1)).cached_prompt_tokens, 48U)
      << "the oldest has lost its tail only";
}

TEST(SharedBlocks, HundredsOfChatsStayWithinTheBoundAndNothingThatFitsIsRefused) {
  const Watched watched = Open(Blocks(640));
  for (int chat = 0; chat < 500; ++chat) {
    std::vector<TokenId> prompt;
    for (int i = 0; i < 200; ++i) prompt.push_back((chat * 7 + i * (chat % 13 + 1)) % 90 + 3);
    const Result result = RunOne(watched.engine.get(), LongRequest(prompt, 40));
    ASSERT_EQ(result.samples[0].token_ids.size(), 40U);
    ASSERT_LE(watched.engine->stats().cached_tokens, 640U);
  }
  EXPECT_LE(watched.backend->most_blocks(), 640 / kBlock);
}

TEST(SharedBlocks, SaltKeepsTenantsApart) {
  const Watched watched = Open(Blocks(4096));
  Request request = LongRequest(Counting(80), 4);
  request.cache_salt = "a";
  EXPECT_EQ(RunOne(watched.engine.get(), request).cached_prompt_tokens, 0U);
  EXPECT_EQ(RunOne(watched.engine.get(), request).cached_prompt_tokens, 79U);
  request.cache_salt = "b";
  EXPECT_EQ(RunOne(watched.engine.get(), request).cached_prompt_tokens, 0U);
  request.cache_salt = "";
  EXPECT_EQ(RunOne(watched.engine.get(), request).cached_prompt_tokens, 0U);
  request.cache_salt = std::string(257, 'x');
  EXPECT_EQ(CodeOf([&] { watched.engine->Submit(request, {}); }), ErrorCode::kInvalidArgument);
}

TEST(SharedBlocks, SaltKeepsTenantsApartWithoutBlocksToo) {
  auto engine = MakeEngine();
  Request request = LongRequest(Counting(80), 4);
  request.cache_salt = "a";
  RunOne(engine.get(), request);
  EXPECT_EQ(RunOne(engine.get(), request).cached_prompt_tokens, 79U);
  request.cache_salt = "b";
  EXPECT_EQ(RunOne(engine.get(), request).cached_prompt_tokens, 0U);
}

// ------------------------------------------------------------------------------------------------ optimistic

/// Twelve requests of which three could be reserved at once.
std::vector<Engine::StatePtr> SubmitTwelve(Engine* engine, std::vector<int> priorities = {}) {
  std::vector<Engine::StatePtr> states;
  for (TokenId i = 0; i < 12; ++i) {
    Request request = LongRequest(Counting(20, i), 200);
    if (!priorities.empty()) request.priority = priorities[static_cast<std::size_t>(i)];
    states.push_back(engine->Submit(std::move(request), {}));
  }
  return states;
}

TEST(OptimisticAdmission, RunsMoreAtOnceAndGivesTheSameAnswers) {
  const Watched watched = Open(Blocks(700), Optimistic());
  const auto states = SubmitTwelve(watched.engine.get());
  const Watched alone = Open(Blocks(4096));
  for (TokenId i = 0; i < 12; ++i) {
    EXPECT_EQ(states[static_cast<std::size_t>(i)]->Get().samples[0].token_ids,
              RunOne(alone.engine.get(), LongRequest(Counting(20, i), 200)).samples[0].token_ids);
  }
  const Stats stats = watched.engine->stats();
  EXPECT_GT(stats.preempted, 0U);
  EXPECT_EQ(stats.finished, 12U);
  EXPECT_EQ(stats.prompt_tokens, 12U * 20U) << "what is read again is nobody's prompt";
  const Watched reserving = Open(Blocks(700));
  for (const auto& state : SubmitTwelve(reserving.engine.get())) state->Get();
  EXPECT_LT(stats.steps, reserving.engine->stats().steps);
  EXPECT_EQ(reserving.engine->stats().preempted, 0U);
}

TEST(OptimisticAdmission, TheLowestPriorityThenTheYoungestGivesWay) {
  std::promise<void> submitted;
  PredictableOptions backend = Blocks(700);
  backend.layers = 2;
  backend.between = [all = submitted.get_future().share()](std::size_t) { all.wait(); };
  const Watched watched = Open(backend, Optimistic());
  std::mutex mutex;
  std::vector<int> order;
  std::vector<Engine::StatePtr> states;
  for (TokenId i = 0; i < 12; ++i) {
    Request request = LongRequest(Counting(20, i), 200);
    request.priority = i == 11 ? 1 : 0;
    states.push_back(watched.engine->Submit(std::move(request), [&, i](const Update& update) {
      if (update.finish_reason != FinishReason::kNone) {
        const std::lock_guard<std::mutex> lock(mutex);
        order.push_back(i);
      }
      return true;
    }));
  }
  submitted.set_value();
  for (const auto& state : states) state->Get();
  ASSERT_GT(watched.engine->stats().preempted, 0U);
  ASSERT_EQ(order.size(), 12U);
  const auto place = [&](int i) { return std::find(order.begin(), order.end(), i) - order.begin(); };
  EXPECT_LT(place(11), 3) << "the highest priority came last and ended among the first";
  EXPECT_LT(place(0), place(10)) << "the oldest stays";
  EXPECT_LT(place(1), place(9));
}

TEST(OptimisticAdmission, EachStayYieldsAToken) {
  // A backend that notes how often a prompt was computed cannot say more than this: what is computed stays in
  // proportion to what comes out.
  const Watched watched = Open(Blocks(320), Optimistic());
  std::vector<Engine::StatePtr> states;
  for (TokenId i = 0; i < 8; ++i) states.push_back(watched.engine->Submit(LongRequest(Counting(60, i), 200), {}));
  std::size_t tokens = 0;
  for (const auto& state : states) tokens += state->Get().samples[0].token_ids.size();
  EXPECT_EQ(tokens, 8U * 200U);
  const Stats stats = watched.engine->stats();
  EXPECT_LE(stats.preempted, tokens);
}

TEST(OptimisticAdmission, SamplesAndBeamsReserve) {
  const Watched watched = Open(Blocks(700), Optimistic());
  std::vector<Engine::StatePtr> states = SubmitTwelve(watched.engine.get());
  Request several = LongRequest(Counting(20), 100);
  several.sampling.n = 4;
  several.sampling.temperature = 1.0f;
  several.sampling.seed = 3;
  states.push_back(watched.engine->Submit(several, {}));
  several.sampling.n = 1;
  several.sampling.temperature = 0.0f;
  several.sampling.num_beams = 4;
  states.push_back(watched.engine->Submit(several, {}));
  for (const auto& state : states) EXPECT_NO_THROW(state->Get());
}

TEST(OptimisticAdmission, ARowThatWaitsForItsMaskDoesNotGiveWay) {
  const Watched watched = Open(Blocks(256), Optimistic());
  auto gate = std::make_shared<FunctionMask::Gate>();
  Request held = LongRequest(Counting(20), 40);
  held.mask = std::make_shared<FunctionMask>([](std::size_t, TokenId token) { return token % 2 == 0; }, gate);
  const auto waiting = watched.engine->Submit(held, {});
  std::vector<Engine::StatePtr> states;
  for (TokenId i = 0; i < 6; ++i) states.push_back(watched.engine->Submit(LongRequest(Counting(20, i), 120), {}));
  for (const auto& state : states) EXPECT_EQ(state->Get().samples[0].token_ids.size(), 120U);
  gate->Open(1000);
  const Result result = waiting->Get();
  EXPECT_EQ(result.samples[0].token_ids.size(), 40U);
  for (const TokenId token : result.samples[0].token_ids) EXPECT_EQ(token % 2, 0);
}

TEST(OptimisticAdmission, APreemptedRequestCanBeCancelledAndRunOutOfTime) {
  PredictableOptions backend = Blocks(320);
  const Watched watched = Open(backend, Optimistic());
  std::vector<Engine::StatePtr> states;
  for (TokenId i = 0; i < 8; ++i) states.push_back(watched.engine->Submit(LongRequest(Counting(60, i), 200), {}));
  while (watched.engine->stats().preempted == 0) std::this_thread::yield();
  for (const auto& state : states) state->Cancel();
  for (const auto& state : states) {
    const ErrorCode code = CodeOf([&] { state->Get(); });
    EXPECT_TRUE(code == ErrorCode::kCancelled || code == static_cast<ErrorCode>(0));
  }
  EXPECT_EQ(watched.engine->stats().queued, 0U);
}

TEST(OptimisticAdmission, IsRefusedWhereItWouldBeSeen) {
  std::string message;
  PredictableOptions rounding = Blocks(640);
  rounding.traits.bitwise = false;
  EXPECT_EQ(CodeOf([&] { Open(rounding, Optimistic()); }, &message), ErrorCode::kUnsupported);
  EXPECT_THAT(message, HasSubstr("Traits::bitwise"));
  PredictableOptions rows;
  EXPECT_EQ(CodeOf([&] { Open(rows, Optimistic()); }, &message), ErrorCode::kUnsupported);
  EXPECT_THAT(message, HasSubstr("Traits::block_tokens"));
  GeneratorOptions typo;
  typo.admission = "hopeful";
  EXPECT_EQ(CodeOf([&] { Open(rows, typo); }, &message), ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace skywork_rt
