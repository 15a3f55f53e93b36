// How what a request yields reaches its owner: updates that are waited for, and callbacks.

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>

#include "engine/engine_fixture.h"

namespace skywork_rt {
namespace {

using std::chrono::milliseconds;

TEST(EngineUpdates, UpdatesTogetherAreTheResult) {
  auto engine = TextEngine();
  Request request = Drawn(Counting(5), 40, 4, 3);
  request.sampling.logprobs = 1;
  const auto state = engine->Submit(request, {});
  std::vector<Sample> seen(3);
  Update update;
  while (state->Next(&update)) {
    Sample& sample = seen.at(static_cast<std::size_t>(update.sample));
    EXPECT_EQ(sample.finish_reason, FinishReason::kNone) << "nothing comes after the end";
    sample.token_ids.insert(sample.token_ids.end(), update.token_ids.begin(), update.token_ids.end());
    sample.text += update.text;
    EXPECT_EQ(update.logprobs.size(), update.token_ids.size());
    sample.finish_reason = update.finish_reason;
  }
  const Result result = state->Get();
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(seen[i].token_ids, result.samples[i].token_ids);
    EXPECT_EQ(seen[i].text, result.samples[i].text);
    EXPECT_EQ(seen[i].finish_reason, result.samples[i].finish_reason);
  }
}

TEST(EngineUpdates, UpdatesThatNobodyTakesAreMerged) {
  auto engine = MakeEngine();
  const auto state = engine->Submit(LongRequest({3}, 100), {});
  state->Get();
  Update update;
  ASSERT_TRUE(state->Next(&update));
  EXPECT_EQ(update.token_ids.size(), 100U);
  EXPECT_FALSE(state->Next(&update));
}

TEST(EngineUpdates, WaitingForAnUpdateGivesUpInTime) {
  auto engine = MakeEngine({}, Slow(milliseconds(100)));
  const auto state = engine->Submit(LongRequest({3}, 3), {});
  Update update;
  EXPECT_EQ(state->NextFor(&update, milliseconds(1)), std::nullopt);
  EXPECT_FALSE(state->WaitFor(milliseconds(1)));
  EXPECT_TRUE(state->WaitFor(milliseconds::max())) << "the longest wait does not overflow";
}

TEST(EngineUpdates, TimesArePositiveAndInOrder) {
  auto engine = MakeEngine({}, Slow());
  const Timings times = RunOne(engine.get(), LongRequest({3}, 5)).timings;
  EXPECT_GT(times.queued, 0.0);
  EXPECT_GT(times.first_token, times.queued);
  EXPECT_GT(times.total, times.first_token);
}

TEST(EngineUpdates, CallbackSeesEveryStep) {
  auto engine = MakeEngine();
  std::vector<TokenId> seen;
  FinishReason last = FinishReason::kNone;
  const auto state = engine->Submit(LongRequest({3}, 10), [&](const Update& update) {
    seen.insert(seen.end(), update.token_ids.begin(), update.token_ids.end());
    last = update.finish_reason;
    return true;
  });
  EXPECT_EQ(state->Get().samples[0].token_ids, seen);
  EXPECT_EQ(last, FinishReason::kLength);
  Update update;
  EXPECT_EQ(CodeOf([&] { state->Next(&update); }), ErrorCode::kInvalidArgument);
}

TEST(EngineUpdates, CallbackThatReturnsFalseCancelsAndHearsOfIt) {
  std::atomic<int> tokens{0};  // the engine's thread uses both until the engine is gone
  std::promise<FinishReason> end;
  auto engine = MakeEngine(NoPrefixCache());
  const auto state = engine->Submit(LongRequest({3}, 400), [&](const Update& update) {
    if (update.finish_reason == FinishReason::kError) end.set_value(update.finish_reason);
    tokens += static_cast<int>(update.token_ids.size());
    return tokens < 5;
  });
  EXPECT_EQ(CodeOf([&] { state->Get(); }), ErrorCode::kCancelled);
  EXPECT_EQ(end.get_future().get(), FinishReason::kError);
  EXPECT_EQ(tokens, 5);
  EXPECT_EQ(engine->stats().cached_tokens, 0U);
}

TEST(EngineUpdates, CallbackThatThrowsLosesOnlyItsOwnRequest) {
  auto engine = MakeEngine();
  const auto bad = engine->Submit(LongRequest({3}, 50), [](const Update&) -> bool { throw std::runtime_error("x"); });
  const auto good = engine->Submit(LongRequest({4}, 50), {});
  EXPECT_EQ(CodeOf([&] { bad->Get(); }), ErrorCode::kCancelled);
  EXPECT_EQ(good->Get().samples[0].token_ids.size(), 50U);
}

TEST(EngineUpdates, CallbackMaySubmitButNotWaitOrClose) {
  auto engine = MakeEngine();
  std::promise<Engine::StatePtr> second;
  std::promise<std::pair<ErrorCode, ErrorCode>> refusals;
  Engine::StatePtr first = engine->Submit(LongRequest({3}, 1), [&](const Update&) {
    Engine::StatePtr state = engine->Submit(LongRequest({4}, 2), {});
    refusals.set_value({CodeOf([&] { state->Get(); }), CodeOf([&] { engine->Close(Generator::CloseMode::kCancel); })});
    second.set_value(std::move(state));
    return true;
  });
  first->Get();
  const auto [wait, close] = refusals.get_future().get();
  EXPECT_EQ(wait, ErrorCode::kInvalidArgument);
  EXPECT_EQ(close, ErrorCode::kInvalidArgument);
  EXPECT_EQ(second.get_future().get()->Get().samples[0].token_ids.size(), 2U);
}

}  // namespace
}  // namespace skywork_rt
