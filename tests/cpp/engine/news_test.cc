// How an event loop hears of a request: calls that say that there is something to take, and of the end.

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

#include "engine/engine_fixture.h"

namespace skywork_rt {
namespace {

using std::chrono::milliseconds;

/// Counts what it is told, and what came after the end.
struct Ear {
  std::atomic<int> news{0};
  std::atomic<int> ends{0};
  std::atomic<int> late{0};

  void Hear(bool ended) {
    if (ends != 0) ++late;
    ++(ended ? ends : news);
  }
};

NewsCallback Into(const std::shared_ptr<Ear>& ear) {
  return [ear](bool ended) { ear->Hear(ended); };
}

TEST(EngineNews, TheEndIsToldOnceAndLastWhateverItIs) {
  auto engine = MakeEngine({}, Slow());
  const auto good = engine->Submit(LongRequest({3}, 20), {});
  const auto cancelled = engine->Submit(LongRequest({4}, 400), {});
  Request late = LongRequest({5}, 400);
  late.deadline = milliseconds(20);
  const auto expired = engine->Submit(late, {});
  std::vector<std::shared_ptr<Ear>> ears;
  for (const auto& state : {good, cancelled, expired}) {
    ears.push_back(std::make_shared<Ear>());
    state->OnNews(Into(ears.back()));
  }
  cancelled->Cancel();
  for (const auto& state : {good, cancelled, expired}) EXPECT_TRUE(state->WaitFor(milliseconds::max()));
  EXPECT_GT(ears[0]->news, 0);
  for (const auto& ear : ears) {
    EXPECT_EQ(ear->ends, 1);
    EXPECT_EQ(ear->late, 0);
  }
}

TEST(EngineNews, TheEndDoesNotDependOnHowManySamplesThereAre) {
  auto engine = MakeEngine();
  Request request = GreedyRequest({3}, 4);
  request.sampling.num_beams = 4;
  request.sampling.n = 4;
  for (TokenId token = 1; token < 97; ++token) request.sampling.logit_bias.emplace_back(token, -INFINITY);
  const auto ear = std::make_shared<Ear>();
  const auto state = engine->Submit(request, {});
  state->OnNews(Into(ear));
  const Result result = state->Get();
  EXPECT_LT(result.samples.size(), 4U) << "else this test shows nothing";
  EXPECT_EQ(ear->ends, 1);
}

TEST(EngineNews, WhatIsThereAlreadyIsToldAtOnce) {
  auto engine = MakeEngine();
  const auto state = engine->Submit(LongRequest({3}, 5), {});
  EXPECT_TRUE(state->WaitFor(milliseconds::max()));
  const auto ear = std::make_shared<Ear>();
  state->OnNews(Into(ear));
  EXPECT_EQ(ear->ends, 1);
  EXPECT_EQ(ear.use_count(), 1) << "nothing more comes, so nothing is kept";
  Update update;
  EXPECT_EQ(state->NextFor(&update, milliseconds(0)), true);
  EXPECT_EQ(update.token_ids.size(), 5U);
  EXPECT_EQ(state->NextFor(&update, milliseconds(0)), false);
}

TEST(EngineNews, TakingAtEveryCallLosesNothing) {
  auto engine = MakeEngine();
  const auto state = engine->Submit(LongRequest({3}, 200), {});
  std::atomic<bool> news{false};
  std::atomic<bool> ended{false};
  state->OnNews([&](bool end) {
    if (end) ended = true;
    news = true;
  });
  std::vector<TokenId> seen;
  Update update;
  while (!ended || news) {
    if (!news.exchange(false)) {
      std::this_thread::yield();
      continue;
    }
    while (state->NextFor(&update, milliseconds(0)).value_or(false)) {
      seen.insert(seen.end(), update.token_ids.begin(), update.token_ids.end());
    }
  }
  EXPECT_EQ(seen, state->Get().samples[0].token_ids);
}

TEST(EngineNews, TheLastCallbackReplacesOthersAndIsDroppedAtTheEnd) {
  auto engine = MakeEngine({}, Slow());
  const auto state = engine->Submit(LongRequest({3}, 30), {});
  const auto first = std::make_shared<Ear>();
  const auto second = std::make_shared<Ear>();
  state->OnNews(Into(first));
  state->OnNews(Into(second));
  EXPECT_EQ(first.use_count(), 1);
  state->Get();
  EXPECT_EQ(first->ends, 0);
  EXPECT_EQ(second->ends, 1);
  while (second.use_count() != 1) std::this_thread::yield();  // the engine lets go of it right after the end
}

TEST(EngineNews, OneThatThrowsLosesNothing) {
  auto engine = MakeEngine();
  const auto state = engine->Submit(LongRequest({3}, 20), {});
  state->OnNews([](bool) { throw std::runtime_error("x"); });
  EXPECT_EQ(state->Get().samples[0].token_ids.size(), 20U);
}

TEST(EngineNews, ARequestWithACallbackHasNone) {
  auto engine = MakeEngine();
  const auto state = engine->Submit(LongRequest({3}, 2), [](const Update&) { return true; });
  EXPECT_EQ(CodeOf([&] { state->OnNews([](bool) {}); }), ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace skywork_rt
