// How requests end before they are done, and how an engine does: cancelling, deadlines, a full queue, closing.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "engine/engine_fixture.h"

namespace skywork_rt {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(EngineEnds, CancellingFreesTheCacheAtTheNextStep) {
  auto engine = MakeEngine(NoPrefixCache(), Slow());
  const auto state = engine->Submit(LongRequest(Counting(30), 400), {});
  Update update;
  ASSERT_TRUE(state->Next(&update));
  for (int i = 0; i < 1000 && engine->stats().cached_tokens < 30; ++i) std::this_thread::sleep_for(milliseconds(1));
  EXPECT_GE(engine->stats().cached_tokens, 30U);
  state->Cancel();
  state->Cancel();
  EXPECT_EQ(CodeOf([&] { state->Get(); }), ErrorCode::kCancelled);
  EXPECT_EQ(engine->stats().cached_tokens, 0U);
  EXPECT_EQ(engine->stats().running, 0U);
  EXPECT_EQ(engine->stats().cancelled, 1U);
}

TEST(EngineEnds, ClientThatGoesAwayMidStreamLeavesNothing) {
  auto engine = MakeEngine(NoPrefixCache(), Slow());
  {
    RequestHandle handle(engine->Submit(LongRequest(Counting(30), 400), {}));
    Update update;
    ASSERT_TRUE(handle.Next(&update));
    handle.Cancel();
  }
  for (int i = 0; i < 1000 && engine->stats().cancelled == 0; ++i) std::this_thread::sleep_for(milliseconds(1));
  EXPECT_EQ(engine->stats().cached_tokens, 0U);
}

TEST(EngineEnds, DroppingTheHandleAloneDoesNotCancel) {
  auto engine = MakeEngine({}, Slow());
  static_cast<void>(engine->Submit(LongRequest({3}, 20), {}));
  engine->Close(Generator::CloseMode::kFinish);
  EXPECT_EQ(engine->stats().finished, 1U);
  EXPECT_EQ(engine->stats().generated_tokens, 20U);
}

TEST(EngineEnds, DeadlineEndsRunningAndWaitingRequests) {
  GeneratorOptions options = NoPrefixCache();
  options.max_batch = 1;
  auto engine = MakeEngine(options, Slow(milliseconds(5)));
  Request late = LongRequest({3}, 400);
  late.deadline = milliseconds(60);
  const auto running = engine->Submit(late, {});
  const auto waiting = engine->Submit(late, {});
  std::string message;
  EXPECT_EQ(CodeOf([&] { running->Get(); }, &message), ErrorCode::kDeadlineExceeded);
  EXPECT_THAT(message, HasSubstr("60 ms"));
  EXPECT_EQ(CodeOf([&] { waiting->Get(); }), ErrorCode::kDeadlineExceeded);
  EXPECT_EQ(engine->stats().failed, 2U);
  EXPECT_EQ(engine->stats().cached_tokens, 0U);
}

TEST(EngineEnds, FullQueueRefusesWithTheNumbers) {
  GeneratorOptions options;
  options.max_batch = 1;
  options.max_queue = 2;
  auto engine = MakeEngine(options, Slow());
  std::vector<Engine::StatePtr> states;
  std::string message;
  ErrorCode code{};
  for (int i = 0; i < 4 && code == ErrorCode{}; ++i) {  // one runs, two wait
    code = CodeOf([&] { states.push_back(engine->Submit(LongRequest({3}, 400), {})); }, &message);
  }
  EXPECT_EQ(code, ErrorCode::kBusy);
  EXPECT_THAT(message, HasSubstr("max_queue is 2"));
  EXPECT_GE(engine->stats().refused, 1U);
  EXPECT_LE(engine->stats().queued, 2U);
}

TEST(EngineEnds, HigherPriorityRunsFirst) {
  GeneratorOptions options;
  options.max_batch = 1;
  auto engine = MakeEngine(options, Slow());
  const auto running = engine->Submit(LongRequest({3}, 20), {});
  std::vector<int> order;  // written on the engine's thread, read after it has ended
  for (const int priority : {0, 0, 5, 1}) {
    Request request = LongRequest({4}, 1);
    request.priority = priority;
    engine->Submit(request, [&order, priority](const Update&) {
      order.push_back(priority);
      return true;
    });
  }
  engine->Close(Generator::CloseMode::kFinish);
  EXPECT_THAT(order, ElementsAre(5, 1, 0, 0));
}

TEST(EngineEnds, CloseMayFinishWhatIsThere) {
  auto engine = MakeEngine();
  std::vector<Engine::StatePtr> states;
  for (TokenId i = 3; i < 60; ++i) states.push_back(engine->Submit(LongRequest({i}, 30), {}));
  engine->Close(Generator::CloseMode::kFinish);
  for (const auto& state : states) EXPECT_EQ(state->Get().samples[0].token_ids.size(), 30U);
  EXPECT_EQ(CodeOf([&] { engine->Submit(LongRequest({3}, 3), {}); }), ErrorCode::kClosed);
  EXPECT_EQ(engine->stats().finished, 57U);
  EXPECT_EQ(engine->stats().cached_tokens, 0U);
}

TEST(EngineEnds, CloseMayCancelWhatIsThere) {
  auto engine = MakeEngine({}, Slow());
  std::vector<Engine::StatePtr> states;
  for (TokenId i = 3; i < 60; ++i) states.push_back(engine->Submit(LongRequest({i}, 400), {}));
  engine->Close(Generator::CloseMode::kCancel);
  for (const auto& state : states) EXPECT_EQ(CodeOf([&] { state->Get(); }), ErrorCode::kCancelled);
}

TEST(EngineEnds, CancellingCloseOvertakesAFinishingOne) {
  auto engine = MakeEngine({}, Slow(milliseconds(5)));
  const auto state = engine->Submit(LongRequest({3}, 500), {});
  std::thread patient([&] { engine->Close(Generator::CloseMode::kFinish); });
  std::this_thread::sleep_for(milliseconds(20));
  engine->Close(Generator::CloseMode::kCancel);
  patient.join();
  EXPECT_EQ(CodeOf([&] { state->Get(); }), ErrorCode::kCancelled);
}

TEST(EngineEnds, HandlesOutliveTheirGenerator) {
  auto generator = std::make_unique<Generator>(std::make_unique<PredictableBackend>(Slow()), GeneratorOptions{});
  RequestHandle handle = generator->Submit(LongRequest({3}, 400));
  generator.reset();
  EXPECT_EQ(CodeOf([&] { handle.Get(); }), ErrorCode::kCancelled);
  handle.Cancel();
  EXPECT_EQ(CodeOf([] { RequestHandle().Get(); }), ErrorCode::kInvalidArgument) << "a handle of no request";
}

}  // namespace
}  // namespace skywork_rt
