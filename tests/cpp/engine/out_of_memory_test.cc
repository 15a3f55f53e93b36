// Memory that runs out, at every allocation in turn: no request is lost, nothing hangs, and the engine lives on.

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/doubles.h"
#include "engine/engine_fixture.h"
#include "engine/failing_allocator.h"
#include "support/sanitizers.h"

namespace skywork_rt {
namespace {

using std::chrono::milliseconds;

/// Runs out of memory before the call, or not at all.
template <typename Call>
auto Whole(const Call& call) {
  ::operator delete(::operator new(1));
  const Shelter shelter;
  return call();
}

/// A backend that may run out of memory before it does something, never halfway: its interface says all or nothing.
/// When it goes it tells how many sequences were still open.
class Fragile final : public Backend {
 public:
  Fragile(const PredictableOptions& options, std::size_t* left_open) : backend_(options), left_open_(left_open) {}
  ~Fragile() override { *left_open_ = backend_.open_sequences(); }

  const ModelSpec& model() const override { return backend_.model(); }
  Traits traits() const override { return backend_.traits(); }
  std::size_t Length(SeqId seq) const override { return backend_.Length(seq); }
  SeqId Open(std::size_t max_tokens) override {
    return Whole([&] { return backend_.Open(max_tokens); });
  }
  using Backend::Forward;
  bool Forward(Span<const Chunk> chunks, Span<float> logits, ForwardWatch* watch) override {
    return Whole([&] { return backend_.Forward(chunks, logits, watch); });
  }
  void Reorder(Span<const SeqId> from, Span<const SeqId> to) override {
    Whole([&] { backend_.Reorder(from, to); });
  }
  void Copy(SeqId from, SeqId to, std::size_t length) override {
    Whole([&] { backend_.Copy(from, to, length); });
  }
  void Truncate(SeqId seq, std::size_t length) override {
    Whole([&] { backend_.Truncate(seq, length); });
  }
  void Close(SeqId seq) override {
    Whole([&] { backend_.Close(seq); });
  }

 private:
  PredictableBackend backend_;
  std::size_t* left_open_;
};

/// One request of each kind of work that an engine does. Their prompts begin alike, so that some reuse others' caches.
std::vector<Request> AllKinds() {
  std::vector<Request> requests;
  requests.push_back(LongRequest(Counting(12), 6));
  requests.push_back(Drawn(Counting(12), 5, 7, 3));
  requests.push_back(LongRequest(Counting(9), 6));
  requests.back().sampling.num_beams = 3;
  requests.back().sampling.n = 2;
  requests.push_back(LongRequest(Counting(12), 8));
  requests.back().sampling.stop = {"no such text", "\n"};
  requests.push_back(Drawn(Counting(20), 5, 3));
  requests.back().sampling.logprobs = 2;
  requests.back().sampling.prompt_logprobs = 1;
  requests.push_back(LongRequest(Counting(14), 4));
  requests.back().deadline = milliseconds(60'000);
  requests.push_back(Drawn(Counting(12), 6, 5, 2));
  requests.back().sampling.ignore_eos = true;
  requests.back().mask = std::make_shared<FunctionMask>(
      [](std::size_t position, TokenId token) { return (token + static_cast<TokenId>(position)) % 2 == 0; });
  requests.push_back(LongRequest({5}, 400));  // it is cancelled
  return requests;
}

std::vector<std::vector<TokenId>> Tokens(const Result& result) {
  std::vector<std::vector<TokenId>> tokens;
  for (const Sample& sample : result.samples) tokens.push_back(sample.token_ids);
  return tokens;
}

/// What a failure left of one schedule.
struct Outcome {
  std::vector<Engine::StatePtr> states;  // nullptr: Submit refused
  std::int64_t allocations = 0;
};

/// Submits everything while allocations from `first` on fail, `count` of them.
Outcome RunAll(Engine* engine, std::int64_t first, std::int64_t count) {
  std::vector<Request> requests = AllKinds();
  const std::size_t cancelled = requests.size() - 1;
  Outcome outcome;
  outcome.states.resize(requests.size());
  std::vector<std::atomic<int>> ends(requests.size());
  FailingAllocator::Arm(first, count);
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const UpdateCallback callback = i == 3 ? UpdateCallback([](const Update&) { return true; }) : UpdateCallback();
    const Exposure exposure;
    try {
      outcome.states[i] = engine->Submit(std::move(requests[i]), callback);
      if (i != 3) outcome.states[i]->OnNews([end = &ends[i]](bool ended) { *end += ended ? 1 : 0; });
    } catch (const Error& error) {
      EXPECT_TRUE(error.code() == ErrorCode::kCapacity || error.code() == ErrorCode::kClosed) << error.what();
    } catch (const std::bad_alloc&) {  // of the copies that the caller makes
    }
  }
  if (outcome.states[cancelled] != nullptr) outcome.states[cancelled]->Cancel();
  for (std::size_t i = 0; i < outcome.states.size(); ++i) {
    if (outcome.states[i] == nullptr) continue;
    EXPECT_TRUE(outcome.states[i]->WaitFor(milliseconds(20'000))) << "lost: request " << outcome.states[i]->id();
    EXPECT_EQ(ends[i], i != 3 ? 1 : 0) << "the end was not told once: request " << outcome.states[i]->id();
  }
  outcome.allocations = FailingAllocator::Disarm();
  return outcome;
}

void ExpectRightOrFailed(const Engine::StatePtr& state, const std::vector<std::vector<TokenId>>& expected) {
  if (state == nullptr || !state->WaitFor(milliseconds(0))) return;
  try {
    EXPECT_EQ(Tokens(state->Get()), expected);
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()), "");
  }
}

class OutOfMemory : public ::testing::Test {
 protected:
  std::unique_ptr<Engine> MakeFragile() {
    EngineConfig config = CheckedConfig();
    config.vocabulary = ByteVocabulary(97);
    if (guesses_) {
      config.proposer = std::make_shared<KnowingProposer>([](std::size_t position) { return position % 3 == 0; });
    }
    config.options.admission = admission_;
    return std::make_unique<Engine>(std::make_unique<Fragile>(backend_, &left_open_), config);
  }

  /// A cache of blocks, so small that kept ones must go and that, where they may, requests give way.
  void ShareBlocks() {
    backend_.traits.block_tokens = 4;
    backend_.traits.max_cached_tokens = 448;
    admission_ = "optimistic";
  }

  /// The results without any failure; empty for the request that is cancelled.
  void SetUp() override {
    auto engine = MakeFragile();
    for (Request& request : AllKinds()) {
      const bool endless = request.prompt.size() == 1;
      expected_.push_back(endless ? std::vector<std::vector<TokenId>>()
                                  : Tokens(engine->Submit(std::move(request), {})->Get()));
    }
  }

  /// Runs the schedule once, and gives the number of allocations in it.
  std::int64_t Survive(std::int64_t first, std::int64_t count) {
    auto engine = MakeFragile();
    const Outcome outcome = RunAll(engine.get(), first, count);
    for (std::size_t i = 0; i + 1 < outcome.states.size(); ++i) ExpectRightOrFailed(outcome.states[i], expected_[i]);
    EXPECT_EQ(Tokens(RunOne(engine.get(), LongRequest(Counting(12), 6))), expected_[0]) << "the engine goes on";
    const Stats stats = engine->stats();
    EXPECT_EQ(stats.requests, stats.finished + stats.cancelled + stats.failed);
    EXPECT_EQ(stats.queued, 0U);
    EXPECT_EQ(stats.running, 0U);
    engine->Close(Generator::CloseMode::kCancel);
    EXPECT_EQ(left_open_, 0U) << "sequences of the backend were lost";
    return outcome.allocations;
  }

  /// Lets `count` allocations fail from the first, the second, ... to the last.
  void Sweep(std::int64_t count) {
    const std::int64_t stride = testing::Repeats(100) == 100 ? 1 : 10;
    for (std::int64_t first = 0;; first += stride) {
      const std::int64_t allocations = Survive(first, count);
      if (HasFailure()) FAIL() << "at allocation " << first << " of " << allocations;
      if (allocations <= first) {
        RecordProperty("allocations", std::to_string(allocations));
        EXPECT_GT(allocations, 300) << "the schedule does too little to say anything";
        break;
      }
    }
  }

  const Shelter shelter_;
  bool guesses_ = false;
  std::string admission_ = "reserve";
  PredictableOptions backend_;
  std::vector<std::vector<std::vector<TokenId>>> expected_;
  std::size_t left_open_ = 0;
};

TEST_F(OutOfMemory, OneAllocationThatFailsLosesNothing) {
  Sweep(1);
}

TEST_F(OutOfMemory, OneThatFailsBesideGuessesLosesNothing) {
  guesses_ = true;
  Sweep(1);
}

TEST_F(OutOfMemory, OneThatFailsBesideSharedBlocksLosesNothing) {
  ShareBlocks();
  Sweep(1);
}

TEST_F(OutOfMemory, AFewThatFailLoseNothing) {
  Sweep(20);
}

TEST_F(OutOfMemory, AllThatFailLoseNothing) {
  Sweep(FailingAllocator::kForEver);
}

}  // namespace
}  // namespace skywork_rt
