#include "engine/stress_clients.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <numeric>
#include <random>
#include <thread>

#include "engine/engine_fixture.h"

namespace skywork_rt {
namespace {

using std::chrono::milliseconds;

/// One client: sends requests of every kind, follows some, abandons some, and checks what comes back.
class Client {
 public:
  Client(Engine* engine, StressCounts* counts, unsigned seed, const StressTraits& traits)
      : engine_(engine), counts_(counts), random_(seed), traits_(traits), vocab_(engine->model().vocab_size) {}

  void Run() {
    for (int i = 0; i < kStressRequestsPerThread; ++i) {
      SendOne();
      while (pending_.size() > 12) Settle();
    }
    while (!pending_.empty()) Settle();
  }

 private:
  struct Pending {
    RequestHandle handle;
    Request request;
    bool cancels = false;
    bool reads = false;
    bool has_callback = false;
    std::shared_ptr<std::atomic<std::size_t>> heard;
  };

  int Below(int n) { return static_cast<int>(random_() % static_cast<unsigned>(n)); }

  Request MakeRequest() {
    Request request;
    const int shared = Below(3) == 0 ? Below(30) : 0;
    request.prompt = Counting(static_cast<std::size_t>(shared), 5);
    for (int i = 1 + Below(40); i > 0; --i) request.prompt.push_back(Below(vocab_));
    request.sampling.max_tokens = 1 + Below(40);
    request.sampling.temperature = Below(2) == 0 ? 0.0f : 1.0f;
    if (request.sampling.temperature > 0.0f && Below(5) == 0) request.sampling.n = 2 + Below(3);
    if (request.sampling.temperature == 0.0f && Below(8) == 0) request.sampling.num_beams = 2 + Below(3);
    if (Below(10) == 0) request.sampling.prompt_logprobs = 1;
    request.priority = Below(4);
    if (Below(10) == 0) request.deadline = milliseconds(1 + Below(30));
    return request;
  }

  /// Spoils a request in one of the ways that must be refused at once.
  void Spoil(Request* request) {
    switch (Below(6)) {
      case 0: request->prompt.clear(); break;
      case 1: request->prompt[0] = vocab_ + Below(1000); break;
      case 2: request->sampling.max_tokens = 100000; break;
      case 3: request->sampling.temperature = -1.0f; break;
      case 4: request->sampling.stop = {"x"}; break;
      case 5: request->deadline = milliseconds(0); break;
    }
  }

  void SendOne() {
    Pending pending;
    pending.request = MakeRequest();
    const bool bad = Below(12) == 0;
    if (bad) Spoil(&pending.request);
    pending.cancels = Below(8) == 0;
    pending.has_callback = Below(3) == 0;
    pending.reads = !pending.has_callback && Below(2) == 0;
    pending.heard = std::make_shared<std::atomic<std::size_t>>(0);
    UpdateCallback callback;
    if (pending.has_callback) {
      callback = [heard = pending.heard, limit = pending.cancels ? std::size_t{3} : std::size_t{100000}](
                     const Update& update) { return (*heard += update.token_ids.size()) < limit; };
    }
    try {
      pending.handle = RequestHandle(engine_->Submit(pending.request, std::move(callback)));
    } catch (const Error& error) {
      ++counts_->refused;
      EXPECT_TRUE(bad || error.code() == ErrorCode::kBusy) << error.what();
      return;
    }
    EXPECT_FALSE(bad) << "accepted a request that is wrong";
    ++counts_->accepted;
    if (pending.cancels && !pending.has_callback && Below(2) == 0) pending.handle.Cancel();
    pending_.push_back(std::move(pending));
  }

  void Settle() {
    const auto index = static_cast<std::size_t>(Below(static_cast<int>(pending_.size())));
    Pending pending = std::move(pending_[index]);
    pending_.erase(pending_.begin() + static_cast<std::ptrdiff_t>(index));
    std::size_t read = 0;
    Update update;
    while (pending.reads && pending.handle.Next(&update)) {
      read += update.token_ids.size();
      if (pending.cancels) pending.handle.Cancel();
    }
    if (pending.cancels && !pending.has_callback) pending.handle.Cancel();
    try {
      Check(pending, pending.handle.Get(), read);
    } catch (const Error& error) {
      Count(pending, error);
    }
  }

  void Check(const Pending& pending, const Result& result, std::size_t read) {
    ++counts_->finished;
    const SamplingParams& params = pending.request.sampling;
    ASSERT_EQ(result.samples.size(), static_cast<std::size_t>(params.n));
    std::size_t tokens = 0;
    for (const Sample& sample : result.samples) {
      tokens += sample.token_ids.size();
      EXPECT_GE(sample.token_ids.size(), 1U);
      EXPECT_LE(sample.token_ids.size(), static_cast<std::size_t>(*params.max_tokens));
      EXPECT_NE(sample.finish_reason, FinishReason::kNone);
    }
    counts_->tokens += tokens;
    if (pending.reads) {
      EXPECT_EQ(read, tokens) << "an update was lost or came twice";
    }
    if (pending.has_callback && !pending.cancels) {
      EXPECT_EQ(*pending.heard, tokens);
    }
    if (traits_.greedy && params.temperature == 0.0f && params.num_beams == 1) {
      EXPECT_EQ(result.samples[0].token_ids,
                traits_.greedy(pending.request.prompt, static_cast<std::size_t>(*params.max_tokens)));
    }
  }

  void Count(const Pending& pending, const Error& error) {
    if (error.code() == ErrorCode::kCancelled) {
      ++counts_->cancelled;
      EXPECT_TRUE(pending.cancels) << "cancelled by nobody";
      return;
    }
    ++counts_->failed;
    if (error.code() == ErrorCode::kDeadlineExceeded) {
      EXPECT_TRUE(pending.request.deadline.has_value());
      return;
    }
    EXPECT_EQ(error.code(), ErrorCode::kBackend) << error.what();
    EXPECT_TRUE(traits_.failures) << error.what();
  }

  Engine* engine_;
  StressCounts* counts_;
  std::mt19937 random_;
  const StressTraits& traits_;
  int vocab_;
  std::vector<Pending> pending_;
};

}  // namespace

GeneratorOptions StressOptions() {
  GeneratorOptions options;
  options.max_batch = 12;
  options.max_cached_tokens = 1500;
  options.prefill_budget = 48;
  options.max_queue = 64;
  return options;
}

void RunClients(Engine* engine, const StressTraits& traits, unsigned seed, StressCounts* counts) {
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < kStressThreads; ++t) {
    threads.emplace_back([&, t] { Client(engine, counts, seed + t, traits).Run(); });
  }
  for (std::thread& thread : threads) thread.join();
  const Stats stats = engine->stats();
  EXPECT_EQ(stats.running, 0U);
  EXPECT_EQ(stats.queued, 0U);
}

void ExpectNothingLost(const StressCounts& counts, const Stats& stats, int rounds) {
  EXPECT_EQ(counts.accepted + counts.refused,
            static_cast<std::uint64_t>(rounds * kStressThreads * kStressRequestsPerThread));
  EXPECT_EQ(stats.requests, counts.accepted);
  EXPECT_EQ(stats.refused, counts.refused);
  EXPECT_EQ(stats.finished, counts.finished);
  EXPECT_EQ(stats.cancelled, counts.cancelled);
  EXPECT_EQ(stats.failed, counts.failed);
  EXPECT_EQ(stats.finished + stats.cancelled + stats.failed, stats.requests);
  EXPECT_GE(stats.generated_tokens, counts.tokens);
  EXPECT_EQ(stats.cached_tokens, 0U);
}

std::size_t ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  std::size_t total = 0;
  std::size_t resident = 0;
  statm >> total >> resident;
  return resident * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace skywork_rt
