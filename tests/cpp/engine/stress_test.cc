#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <random>

#include "engine/engine_fixture.h"
#include "engine/stress_clients.h"
#include "support/sanitizers.h"

namespace skywork_rt {
namespace {

constexpr std::size_t kRoomToBreathe = 8 << 20;  // of the allocator, between two rounds of the same work

std::unique_ptr<Engine> WatchedEngine(PredictableOptions backend, std::atomic<int>* open,
                                      GeneratorOptions options = StressOptions()) {
  auto watched = std::make_unique<WatchedBackend>(std::make_unique<PredictableBackend>(std::move(backend)), open);
  return std::make_unique<Engine>(std::move(watched), CheckedConfig(std::move(options)));
}

TEST(StressTest, TenThousandRequestsFromEightThreadsLoseNothing) {
  const PredictableBackend reference{{}};
  StressTraits traits;
  traits.greedy = [&](const auto& prompt, std::size_t max_tokens) { return reference.Greedy(prompt, max_tokens); };
  StressCounts counts;
  std::atomic<int> open{-1};
  const auto engine = WatchedEngine({}, &open);
  RunClients(engine.get(), traits, 0, &counts);
  engine->Close(Generator::CloseMode::kCancel);
  const Stats stats = engine->stats();
  ExpectNothingLost(counts, stats);
  EXPECT_EQ(open, 0) << "sequences left open";
  EXPECT_GT(counts.finished, 2000U);
  EXPECT_GT(counts.cancelled, 100U);
  EXPECT_GT(stats.prefix_hit_tokens, 1000U);
}

TEST(StressTest, RequestsThatGiveWayToOthersLoseNothing) {
  const PredictableBackend reference{{}};
  StressTraits traits;
  traits.greedy = [&](const auto& prompt, std::size_t max_tokens) { return reference.Greedy(prompt, max_tokens); };
  PredictableOptions backend;
  backend.traits.block_tokens = 4;
  backend.traits.max_cached_tokens = 384;
  backend.traits.max_batch = 200;
  GeneratorOptions options = StressOptions();
  options.admission = "optimistic";
  StressCounts counts;
  std::atomic<int> open{-1};
  const auto engine = WatchedEngine(backend, &open, options);
  RunClients(engine.get(), traits, 0, &counts);
  engine->Close(Generator::CloseMode::kCancel);
  ExpectNothingLost(counts, engine->stats());
  EXPECT_EQ(open, 0) << "sequences left open";
  EXPECT_GT(engine->stats().preempted, 20U);
}

TEST(StressTest, MemoryIsFlatOverTenThousandRequests) {
  if (testing::kAddressSanitizer || testing::kThreadSanitizer) GTEST_SKIP() << "sanitizers keep memory of their own";
  StressCounts counts;
  std::atomic<int> open{-1};
  const auto engine = WatchedEngine({}, &open);
  RunClients(engine.get(), {}, 0, &counts);
  const std::size_t before = ResidentBytes();
  RunClients(engine.get(), {}, kStressThreads, &counts);
  EXPECT_LE(ResidentBytes(), before + kRoomToBreathe);
}

TEST(StressTest, BackendThatFailsNowAndThenLosesOnlyTheStepsThatFailed) {
  auto random = std::make_shared<std::mt19937>(5);
  auto injected = std::make_shared<std::atomic<int>>(0);
  PredictableOptions backend;
  backend.hook = [random, injected](BackendOp op, std::uint64_t) {
    const unsigned rarity = op == BackendOp::kForward ? 100 : 300;
    if (op == BackendOp::kClose || (*random)() % rarity != 0) return;
    ++*injected;
    throw Error(ErrorCode::kBackend, "injected");
  };
  const PredictableBackend reference{{}};
  StressTraits traits;
  traits.failures = true;
  traits.greedy = [&](const auto& prompt, std::size_t max_tokens) { return reference.Greedy(prompt, max_tokens); };
  StressCounts counts;
  std::atomic<int> open{-1};
  const auto engine = WatchedEngine(std::move(backend), &open);
  RunClients(engine.get(), traits, 0, &counts);
  engine->Close(Generator::CloseMode::kCancel);
  ExpectNothingLost(counts, engine->stats());
  EXPECT_EQ(open, 0) << "sequences left open";
  EXPECT_GT(*injected, 20);
  EXPECT_GT(counts.failed, 20U);
  EXPECT_GT(counts.finished, counts.failed);
}

}  // namespace
}  // namespace skywork_rt
