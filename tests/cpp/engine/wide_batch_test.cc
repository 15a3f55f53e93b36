// Many sequences at once: what the pool chooses is what the engine's own thread would have chosen, in the same order.

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <limits>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "engine/doubles.h"
#include "engine/engine_fixture.h"

namespace skywork_rt {
namespace {

constexpr int kVocab = 32768;  // large enough for a batch of a few rows to be worth the pool
constexpr int kRequests = 24;
constexpr int kTokens = 6;

/// Holds the first step back until every request is there, so that batches are the same in every run.
struct StartingGate {
  std::mutex mutex;
  std::condition_variable opened;
  std::condition_variable entered;
  bool open = false;
  bool waits = false;

  /// Returns when the engine stands before the gate: what is submitted now comes together.
  void Expect() {
    std::unique_lock<std::mutex> lock(mutex);
    entered.wait(lock, [&] { return waits; });
  }

  void Open() {
    const std::lock_guard<std::mutex> lock(mutex);
    open = true;
    opened.notify_all();
  }
  void Wait() {
    std::unique_lock<std::mutex> lock(mutex);
    waits = true;
    entered.notify_all();
    opened.wait(lock, [&] { return open; });
  }
};

PredictableOptions WideBackend(StartingGate* gate) {
  PredictableOptions options;
  options.vocab_size = kVocab;
  options.traits.max_batch = 64;
  options.hook = [gate](BackendOp op, std::uint64_t) {
    if (op == BackendOp::kForward) gate->Wait();
  };
  return options;
}

GeneratorOptions WideOptions(int threads) {
  GeneratorOptions options = NoPrefixCache();
  options.threads = threads;
  options.max_batch = 64;
  options.prefill_stretch = 0.0;  // steps that measured time does not change
  return options;
}

/// The i-th of a mixed lot: greedy and drawn, with log-probabilities, penalties, bans, several samples, beams, masks.
Request Mixed(int i) {
  Request request = Drawn(Counting(4, i), kTokens, static_cast<std::uint64_t>(i));
  request.sampling.ignore_eos = true;
  if (i % 3 == 0) request.sampling.temperature = 0.0f;
  if (i % 4 == 1) request.sampling.logprobs = 2;
  if (i % 5 == 2) request.sampling.top_p = 0.7f;
  if (i % 5 == 3) request.sampling.repetition_penalty = 1.2f;
  if (i % 5 == 4) request.sampling.no_repeat_ngram_size = 1;
  if (i % 7 == 3) request.sampling.n = 3;
  if (i % 11 == 5) {
    request.sampling.temperature = 0.0f;
    request.sampling.num_beams = 2;
    request.sampling.logprobs.reset();
  } else if (i % 11 == 7) {
    const auto odd = [](std::size_t, TokenId token) { return token % 2 == 1; };
    request.mask = std::make_unique<FunctionMask>(odd, nullptr, kVocab);
  }
  return request;
}

struct Delivery {
  int request;
  int sample;
  std::vector<TokenId> tokens;
  std::vector<float> logprobs;
  bool operator==(const Delivery& other) const {
    return std::tie(request, sample, tokens, logprobs) ==
           std::tie(other.request, other.sample, other.tokens, other.logprobs);
  }
};

/// Every update of the whole lot, in the order in which the engine called back.
std::vector<Delivery> DeliveriesOf(int threads) {
  StartingGate gate;
  auto engine = MakeEngine(WideOptions(threads), WideBackend(&gate));
  std::vector<Delivery> deliveries;  // of the engine's thread until the last request has ended
  std::vector<Engine::StatePtr> states;
  states.push_back(engine->Submit(LongRequest({1}, 1), {}));
  gate.Expect();
  for (int i = 0; i < kRequests; ++i) {
    states.push_back(engine->Submit(Mixed(i), [&deliveries, i](const Update& update) {
      Delivery delivery{i, update.sample, update.token_ids, {}};
      for (const auto& of_token : update.logprobs) {
        for (const TokenLogprob& each : of_token) delivery.logprobs.push_back(each.logprob);
      }
      deliveries.push_back(std::move(delivery));
      return true;
    }));
  }
  gate.Open();
  for (const Engine::StatePtr& state : states) state->Get();
  return deliveries;
}

std::size_t ThreadsOfThisProcess() {
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  return static_cast<std::size_t>(std::distance(begin(tasks), end(tasks)));
}

TEST(WideBatch, TheRowsOfAStepAreChosenOnThePool) {
  constexpr std::size_t kThreads = 19;  // more than all other tests of this program have together
  ASSERT_LT(ThreadsOfThisProcess(), kThreads);
  EXPECT_FALSE(DeliveriesOf(kThreads).empty());
  EXPECT_GE(ThreadsOfThisProcess(), kThreads) << "the backend here computes on none of them";
}

TEST(WideBatch, TokensTheirOrderAndEveryBitAreTheSameForAnyNumberOfThreads) {
  const std::vector<Delivery> alone = DeliveriesOf(1);
  EXPECT_GE(alone.size(), static_cast<std::size_t>(kRequests * (kTokens - 1)));
  for (const int threads : {2, 5}) EXPECT_TRUE(DeliveriesOf(threads) == alone) << threads << " threads";
}

/// The predictable backend, but that a sequence which begins with `kDamaged` has a NaN in every row of logits.
class DamagedRows final : public PredictableBackend {
 public:
  static constexpr TokenId kDamaged = 99;
  using PredictableBackend::PredictableBackend;

  using Backend::Forward;
  bool Forward(Span<const Chunk> chunks, Span<float> logits, ForwardWatch* watch) override {
    if (!PredictableBackend::Forward(chunks, logits, watch)) return false;
    std::size_t row = 0;
    for (const Chunk& chunk : chunks) {
      if (chunk.tokens[0] == kDamaged) damaged_ = chunk.seq;
      for (std::size_t r = 0; r < chunk.logit_rows.size(); ++r, ++row) {
        if (chunk.seq == damaged_) logits[row * kVocab + 3] = std::numeric_limits<float>::quiet_NaN();
      }
    }
    return true;
  }

 private:
  SeqId damaged_ = 0;
};

TEST(WideBatch, ADamagedRowEndsItsOwnRequestOnly) {
  StartingGate gate;
  Engine engine(std::make_unique<DamagedRows>(WideBackend(&gate)), CheckedConfig(WideOptions(4)));
  std::vector<Engine::StatePtr> states;
  for (int i = 0; i < kRequests; ++i) {
    const bool damaged = i == 7;
    states.push_back(engine.Submit(LongRequest(Counting(4, damaged ? DamagedRows::kDamaged : i), kTokens), {}));
  }
  gate.Open();
  std::string message;
  for (int i = 0; i < kRequests; ++i) {
    const auto& state = states[static_cast<std::size_t>(i)];
    if (i == 7) {
      EXPECT_EQ(CodeOf([&] { state->Get(); }, &message), ErrorCode::kBackend);
      EXPECT_NE(message.find("output position 0 of sample 0: the logit of token 3"), std::string::npos) << message;
    } else {
      EXPECT_EQ(state->Get().samples[0].token_ids.size(), static_cast<std::size_t>(kTokens));
    }
  }
}

}  // namespace
}  // namespace skywork_rt
