// A step that is still long when somebody goes: who hears of it when, what is given up, and what is computed again.
// Counted in layers of a backend and in calls of Forward, on a clock that the backend moves.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <numeric>
#include <thread>
#include <utility>
#include <vector>

#include "engine/doubles.h"
#include "engine/engine_fixture.h"

namespace skywork_rt {
namespace {

using std::chrono::hours;
using ::testing::HasSubstr;

constexpr std::size_t kLayers = 40;

/// What one Forward computed.
struct Call {
  std::vector<std::size_t> chunks;  // tokens of each
  std::size_t layers = 0;
  bool whole = false;

  std::size_t tokens() const { return std::accumulate(chunks.begin(), chunks.end(), std::size_t{0}); }
};

/// An engine on a backend of many layers, each of which takes a second of its clock for each token. Its first Forward,
/// of a request that nobody looks at, lasts until Go, so that what a test submits before is in one step. From then on
/// the script is called behind every layer but the last, on the engine's thread.
class GiveUp : public ::testing::Test {
 protected:
  using Script = std::function<void(const Call& call)>;

  class Layered final : public PredictableBackend {
   public:
    Layered(PredictableOptions options, std::vector<Call>* calls)
        : PredictableBackend(std::move(options)), calls_(calls) {}

    bool Forward(Span<const Chunk> chunks, Span<float> logits, ForwardWatch* watch) override {
      calls_->emplace_back();  // of the Forward that waits for Go too, until it has ended
      for (const Chunk& chunk : chunks) calls_->back().chunks.push_back(chunk.tokens.size());
      const bool whole = PredictableBackend::Forward(chunks, logits, watch);
      calls_->back().whole = whole;
      if (first_) calls_->clear();
      first_ = false;
      return whole;
    }

   private:
    std::vector<Call>* calls_;
    bool first_ = true;
  };

  void Open(Script script, GeneratorOptions options = NoPrefixCache(), std::shared_ptr<Proposer> proposer = nullptr,
            bool mixed_steps = true) {
    options.prefill_stretch = 0;
    PredictableOptions backend;
    backend.layers = kLayers;
    backend.traits.mixed_steps = mixed_steps;
    backend.between = [this, script = std::move(script)](std::size_t done) {
      if (!went_) {
        if (done == 1) waits_.set_value();
        go_.wait();
        went_ = done + 1 == kLayers;
        return;
      }
      now_ += token_ * static_cast<int>(calls_.back().tokens());
      calls_.back().layers = done;
      script(calls_.back());
    };
    EngineConfig config = CheckedConfig(options);
    config.clock = [this] { return start_ + now_; };
    config.proposer = std::move(proposer);
    engine_ = std::make_unique<Engine>(std::make_unique<Layered>(backend, &calls_), std::move(config));
    engine_->Submit(LongRequest({96}, 1), {});
    waits_.get_future().wait();
  }

  void Go() { may_go_.set_value(); }

  std::size_t GivenUp() const {
    std::size_t count = 0;
    for (const Call& call : calls_) count += call.whole ? 0 : 1;
    return count;
  }

  /// Waits for the end of everything that can end by itself; afterwards the script's and the backend's notes are read.
  void Close() { engine_->Close(Generator::CloseMode::kFinish); }

  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::chrono::nanoseconds now_{0};
  std::chrono::microseconds token_ = std::chrono::seconds(1);
  std::vector<Call> calls_;
  bool went_ = false;
  std::promise<void> waits_;
  std::promise<void> may_go_;
  std::shared_future<void> go_ = may_go_.get_future().share();
  std::unique_ptr<Engine> engine_;
};

/// A callback that notes the bad end, and how many calls come after it.
struct Ear {
  std::atomic<bool> heard{false};
  std::atomic<int> after{0};

  UpdateCallback Callback() {
    return [this](const Update& update) {
      if (heard) ++after;
      if (update.finish_reason == FinishReason::kError) heard = true;
      return true;
    };
  }
};

TEST_F(GiveUp, CancellingInTheThirdLayerOfFortyEndsTheForwardByTheFourth) {
  Engine::StatePtr state;
  Open([&](const Call& call) {
    if (call.layers == 3) state->Cancel();
  });
  state = engine_->Submit(LongRequest(Counting(80), 5), {});
  Go();
  EXPECT_EQ(CodeOf([&] { state->Get(); }), ErrorCode::kCancelled);
  EXPECT_EQ(engine_->stats().cached_tokens, 0U);
  EXPECT_EQ(engine_->stats().running, 0U);
  EXPECT_EQ(engine_->stats().cancelled, 1U);
  Close();
  ASSERT_EQ(calls_.size(), 1U);
  EXPECT_EQ(calls_[0].layers, 3U);
  EXPECT_FALSE(calls_[0].whole);
}

TEST_F(GiveUp, ADeadlineEndsTheForwardToo) {
  Open([&](const Call& call) {
    if (call.layers == 5) now_ += hours(2);
  });
  Request request = LongRequest(Counting(80), 5);
  request.deadline = hours(1);
  const auto state = engine_->Submit(request, {});
  Go();
  std::string message;
  EXPECT_EQ(CodeOf([&] { state->Get(); }, &message), ErrorCode::kDeadlineExceeded);
  EXPECT_THAT(message, HasSubstr("3600000 ms"));
  EXPECT_EQ(engine_->stats().cached_tokens, 0U);
  EXPECT_EQ(engine_->stats().failed, 1U);
  Close();
  ASSERT_EQ(calls_.size(), 1U);
  EXPECT_EQ(calls_[0].layers, 5U);
}

TEST_F(GiveUp, ClosingEndsTheForwardWhoeverIsInIt) {
  std::thread closer;
  Open([&](const Call& call) {
    if (call.layers != 7) return;
    closer = std::thread([&] { engine_->Close(Generator::CloseMode::kCancel); });
    while (CodeOf([&] { engine_->Check(LongRequest({3}, 3)); }) != ErrorCode::kClosed) std::this_thread::yield();
  });
  std::vector<Engine::StatePtr> states;
  for (TokenId i = 3; i < 6; ++i) states.push_back(engine_->Submit(LongRequest(Counting(50, i), 5), {}));
  Go();
  for (const auto& state : states) EXPECT_EQ(CodeOf([&] { state->Get(); }), ErrorCode::kCancelled);
  closer.join();
  EXPECT_EQ(calls_.back().layers, 7U);
  EXPECT_FALSE(calls_.back().whole);
  EXPECT_EQ(GivenUp(), 1U);
}

TEST_F(GiveUp, OthersAreComputedAgainOnceAndASecondEndIsHeardWhileTheyAre) {
  Ear second_ear;
  std::atomic<bool> heard_in_time{false};
  Engine::StatePtr first;
  Engine::StatePtr second;
  std::size_t cancelled_in = 0;
  Open([&](const Call& call) {
    if (cancelled_in == 0 && call.tokens() > 150 && call.layers == 3) {
      first->Cancel();
      cancelled_in = calls_.size();
    } else if (calls_.size() == cancelled_in + 1 && call.layers == 3) {
      second->Cancel();
    } else if (calls_.size() == cancelled_in + 1 && call.layers == 4) {
      heard_in_time = second_ear.heard.load();
    }
  });
  const auto a = engine_->Submit(LongRequest({3}, 12), {});
  const auto b = engine_->Submit(LongRequest({4}, 12), {});
  first = engine_->Submit(LongRequest(Counting(80, 0), 12), {});
  second = engine_->Submit(LongRequest(Counting(80, 9), 12), second_ear.Callback());
  Go();
  EXPECT_EQ(CodeOf([&] { first->Get(); }), ErrorCode::kCancelled);
  EXPECT_EQ(CodeOf([&] { second->Get(); }), ErrorCode::kCancelled);
  EXPECT_EQ(a->Get().samples[0].token_ids, RunOne(MakeEngine().get(), LongRequest({3}, 12)).samples[0].token_ids);
  EXPECT_EQ(b->Get().samples[0].token_ids, RunOne(MakeEngine().get(), LongRequest({4}, 12)).samples[0].token_ids);
  Close();
  EXPECT_TRUE(heard_in_time) << "at the next layer";
  EXPECT_EQ(second_ear.after, 0) << "and nothing comes after the end";
  EXPECT_EQ(GivenUp(), 1U);
  EXPECT_TRUE(calls_[cancelled_in].whole) << "what was begun again is not given up again";
  EXPECT_EQ(engine_->stats().cancelled, 2U);
  EXPECT_EQ(engine_->stats().finished, 3U);
  EXPECT_EQ(engine_->stats().cached_tokens, 0U);
}

TEST_F(GiveUp, WhatWasRepeatedToItsEndMayBeGivenUpAgain) {
  std::vector<Engine::StatePtr> prompts;
  Open([&](const Call& call) {
    if (call.layers != 2) return;
    if (call.tokens() > 1) {
      prompts.back()->Cancel();
    } else if (prompts.size() < 3) {
      prompts.push_back(engine_->Submit(LongRequest(Counting(85), 4), {}));
    }
  });
  const auto stream = engine_->Submit(LongRequest({3}, 40), {});
  Go();
  EXPECT_EQ(stream->Get().samples[0].token_ids.size(), 40U);
  Close();
  EXPECT_EQ(GivenUp(), 3U);
  EXPECT_EQ(calls_.size(), 43U) << "each cost the stream one step";
  for (std::size_t i = 0; i + 1 < calls_.size(); ++i) EXPECT_TRUE(calls_[i].whole || calls_[i + 1].whole) << i;
}

TEST_F(GiveUp, AForwardGoesOnWhereThoseThatStayWouldWaitLonger) {
  Ear ear;
  std::atomic<bool> heard_in_time{false};
  Engine::StatePtr small;
  Open([&](const Call& call) {
    if (calls_.size() == 1 && call.layers == 30) small->Cancel();
    if (calls_.size() == 1 && call.layers == 31) heard_in_time = ear.heard.load();
  });
  const auto large = engine_->Submit(LongRequest(Counting(85), 3), {});
  small = engine_->Submit(LongRequest({4, 5}, 3), ear.Callback());
  Go();
  large->Get();
  Close();
  EXPECT_TRUE(heard_in_time);
  EXPECT_EQ(GivenUp(), 0U);
  EXPECT_EQ(engine_->stats().cancelled, 1U);
}

TEST_F(GiveUp, WhoWaitsOrHasJustComeHearsWhileOthersAreComputed) {
  Ear queued_ear;
  Ear arrived_ear;
  Ear late_ear;
  Engine::StatePtr queued;
  std::atomic<int> heard_in_time{0};
  Open(
      [&](const Call& call) {
        if (calls_.size() != 1) return;
        if (call.layers == 4) {
          const auto arrived = engine_->Submit(LongRequest({7}, 3), arrived_ear.Callback());
          Request late = LongRequest({8}, 3);
          late.deadline = hours(1);
          engine_->Submit(late, late_ear.Callback());
          queued->Cancel();
          arrived->Cancel();
        }
        if (call.layers == 5) heard_in_time += (queued_ear.heard ? 1 : 0) + (arrived_ear.heard ? 1 : 0);
        if (call.layers == 9) now_ += hours(2);
        if (call.layers == 10) heard_in_time += late_ear.heard ? 1 : 0;
      },
      [] {
        GeneratorOptions options = NoPrefixCache();
        options.max_batch = 1;
        return options;
      }());
  const auto running = engine_->Submit(LongRequest(Counting(60), 3), {});
  queued = engine_->Submit(LongRequest({5}, 3), queued_ear.Callback());
  Go();
  EXPECT_EQ(running->Get().samples[0].token_ids.size(), 3U);
  Close();
  EXPECT_EQ(heard_in_time, 3);
  EXPECT_EQ(GivenUp(), 0U);
  const Stats stats = engine_->stats();
  EXPECT_EQ(stats.cancelled, 2U);
  EXPECT_EQ(stats.failed, 1U);
  EXPECT_EQ(stats.finished, 2U);
  EXPECT_EQ(stats.queued, 0U);
}

TEST_F(GiveUp, AShortRestIsComputed) {
  token_ = std::chrono::microseconds(20);
  Engine::StatePtr state;
  Open([&](const Call& call) {
    if (call.layers == 3) state->Cancel();
  });
  state = engine_->Submit(LongRequest(Counting(80), 5), {});
  Go();
  EXPECT_EQ(CodeOf([&] { state->Get(); }), ErrorCode::kCancelled);
  Close();
  EXPECT_EQ(GivenUp(), 0U) << "the end of a step of 64 ms is soon enough";
}

TEST_F(GiveUp, GuessesOfAForwardThatIsGivenUpAreMadeAnew) {
  Engine::StatePtr prompt;
  Open(
      [&](const Call& call) {
        if (call.layers == 2 && call.tokens() > 80) prompt->Cancel();
      },
      NoPrefixCache(), std::make_shared<KnowingProposer>([](std::size_t n) { return n % 3 == 0; }));
  const auto stream = engine_->Submit(LongRequest({3}, 40), {});
  Request request = LongRequest(Counting(85), 4);
  request.priority = -1;
  prompt = engine_->Submit(request, {});
  Go();
  EXPECT_EQ(stream->Get().samples[0].token_ids, RunOne(MakeEngine().get(), LongRequest({3}, 40)).samples[0].token_ids);
  EXPECT_EQ(CodeOf([&] { prompt->Get(); }), ErrorCode::kCancelled);
  Close();
  EXPECT_EQ(GivenUp(), 1U);
}

TEST_F(GiveUp, WhereStepsAreNotMixedWhoWasToldIsLeftOutOfBoth) {
  Engine::StatePtr stream;
  Ear ear;
  bool cancelled = false;
  Open(
      [&](const Call& call) {
        if (cancelled || call.tokens() != 2 || call.layers != 3) return;  // the two that decode
        cancelled = true;
        stream->Cancel();
      },
      [] {
        GeneratorOptions options = NoPrefixCache();
        options.prefill_budget = 20;
        return options;
      }(),
      nullptr, false);
  stream = engine_->Submit(LongRequest({3}, 40), ear.Callback());
  const auto other = engine_->Submit(LongRequest({4}, 40), {});
  const auto prompt = engine_->Submit(LongRequest(Counting(85), 4), {});
  Go();
  EXPECT_EQ(other->Get().samples[0].token_ids.size(), 40U);
  EXPECT_EQ(prompt->Get().samples[0].token_ids.size(), 4U);
  Close();
  EXPECT_TRUE(ear.heard);
  EXPECT_EQ(ear.after, 0);
  EXPECT_EQ(engine_->stats().cancelled, 1U);
}

TEST_F(GiveUp, ABackendThatFailsAfterSomebodyWasToldEndsNobodyTwice) {
  Ear ear;
  Engine::StatePtr small;
  Open([&](const Call& call) {
    if (call.chunks.size() == 2 && call.layers == 30) small->Cancel();
    if (call.chunks.size() == 2 && call.layers == 31) throw Error(ErrorCode::kBackend, "the device is on fire");
  });
  const auto large = engine_->Submit(LongRequest(Counting(85), 3), {});
  small = engine_->Submit(LongRequest({4, 5}, 300), ear.Callback());
  Go();
  EXPECT_EQ(CodeOf([&] { large->Get(); }), ErrorCode::kBackend);
  EXPECT_EQ(CodeOf([&] { small->Get(); }), ErrorCode::kCancelled);
  Close();
  EXPECT_TRUE(ear.heard);
  EXPECT_EQ(ear.after, 0);
  EXPECT_EQ(engine_->stats().cancelled, 1U);
  EXPECT_EQ(engine_->stats().failed, 1U);
  EXPECT_EQ(engine_->stats().cached_tokens, 0U);
}

}  // namespace
}  // namespace skywork_rt
