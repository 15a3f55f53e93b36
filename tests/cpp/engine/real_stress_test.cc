// The stress of stress_test.cc on real backends: the bundle that SKYWORK_RT_TEST_BUNDLE names (a small random model) on
// native and on MindSpore Lite. The long tier of the Python tests exports one and runs this.

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <mutex>
#include <stdexcept>

#include "backend/plugin.h"
#include "backend/registry.h"
#include "bundle/bundle.h"
#include "engine/engine_fixture.h"
#include "engine/stress_clients.h"

namespace skywork_rt {
namespace {

constexpr std::size_t kRoomToBreathe = 16 << 20;

std::unique_ptr<Backend> OpenBackend(const std::string& name) {
  const Bundle bundle = Bundle::Open(std::getenv("SKYWORK_RT_TEST_BUNDLE"));
  BackendOptions options;
  options.threads = 1;
  options.max_batch = StressOptions().max_batch;
  options.max_length = static_cast<std::size_t>(bundle.model().max_length);
  options.max_cached_tokens = static_cast<std::size_t>(StressOptions().max_cached_tokens);
  options.backend = name;
  if (name == "native") return MakeBackend(bundle, options);
  void* module = dlopen(LITE_PLUGIN, RTLD_NOW | RTLD_LOCAL);
  if (module == nullptr) throw std::runtime_error(dlerror());
  using EntryFunction = const PluginEntry* (*)();
  return reinterpret_cast<EntryFunction>(dlsym(module, kPluginSymbol))()->backend.make(bundle, options);
}

/// Greedy ids of requests alone on a backend of their own.
class Alone {
 public:
  explicit Alone(const std::string& backend) : engine_(OpenBackend(backend), CheckedConfig(Options())) {}

  std::vector<TokenId> Greedy(const std::vector<TokenId>& prompt, std::size_t max_tokens) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return engine_.Submit(GreedyRequest(prompt, static_cast<int>(max_tokens)), {})->Get().samples[0].token_ids;
  }

 private:
  static GeneratorOptions Options() {
    GeneratorOptions options = StressOptions();
    options.prefix_cache = false;
    return options;
  }

  std::mutex mutex_;
  Engine engine_;
};

class RealStress : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (std::getenv("SKYWORK_RT_TEST_BUNDLE") == nullptr) GTEST_SKIP() << "SKYWORK_RT_TEST_BUNDLE names no bundle";
  }
};

TEST_P(RealStress, TwiceTenThousandRequestsLoseNothingAndMemoryIsFlat) {
  StressTraits traits;
  std::unique_ptr<Alone> alone;
  if (OpenBackend(GetParam())->traits().bitwise) {  // elsewhere a near tie may go the other way
    alone = std::make_unique<Alone>(GetParam());
    traits.greedy = [&](const auto& prompt, std::size_t max_tokens) { return alone->Greedy(prompt, max_tokens); };
  }
  StressCounts counts;
  std::size_t resident[2] = {};
  std::atomic<int> open{-1};
  Engine engine(std::make_unique<WatchedBackend>(OpenBackend(GetParam()), &open), CheckedConfig(StressOptions()));
  for (unsigned round = 0; round < 2; ++round) {
    const auto begin = std::chrono::steady_clock::now();
    RunClients(&engine, traits, round * kStressThreads, &counts);
    resident[round] = ResidentBytes();
    const Stats stats = engine.stats();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    std::cout << GetParam() << " round " << round << ": " << counts.accepted << " accepted, " << counts.refused
              << " refused, " << counts.finished << " finished, " << counts.cancelled << " cancelled, " << counts.failed
              << " past their deadline, " << stats.generated_tokens << " tokens, " << stats.prefix_hit_tokens
              << " from the prefix cache, resident " << (resident[round] >> 20) << " MB, " << seconds.count() << " s\n";
  }
  engine.Close(Generator::CloseMode::kCancel);
  ExpectNothingLost(counts, engine.stats(), 2);
  EXPECT_EQ(open, 0) << "sequences left open";
  EXPECT_GT(counts.finished, 4000U);
  EXPECT_GT(counts.cancelled, 200U);
  EXPECT_LE(resident[1], resident[0] + kRoomToBreathe);
}

INSTANTIATE_TEST_SUITE_P(Backends, RealStress, ::testing::Values("native", "lite"),
                         [](const auto& tested) { return std::string(tested.param); });

}  // namespace
}  // namespace skywork_rt
