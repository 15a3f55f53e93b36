#include "engine/memory_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "engine/engine_fixture.h"
#include "engine/options.h"
#include "skywork_rt/log.h"

namespace skywork_rt {
namespace {

using ::testing::HasSubstr;

constexpr std::size_t kMiB = std::size_t{1} << 20;
constexpr std::size_t kGiB = std::size_t{1} << 30;

/// Skywork-13B's shape on a machine of 23 GiB: weights of 7 GiB, keys and values in float32.
class MemoryPlanTest : public ::testing::Test {
 protected:
  MemoryPlanTest() {
    model_.layers = 40;
    model_.heads = 40;
    model_.kv_heads = 40;
    model_.head_dim = 128;
    model_.vocab_size = 65519;
    model_.max_length = 4096;
    needs_.weights = 7 * kGiB;
    needs_.work = kGiB / 2;
    needs_.per_token = model_.CacheBytesPerToken(sizeof(float));  // 1.5625 MiB
  }

  GeneratorOptions Fit(const std::function<void(GeneratorOptions*)>& change = [](GeneratorOptions*) {}) const {
    GeneratorOptions given;
    change(&given);
    return FitMemory(given, ResolveOptions(given, model_), needs_, available_);
  }
  ErrorCode Code(const std::function<void(GeneratorOptions*)>& change) {
    return CodeOf([&] { Fit(change); }, &message_);
  }

  ModelSpec model_;
  BackendMemory needs_;
  std::size_t available_ = 23 * kGiB;
  std::string message_;
};

TEST_F(MemoryPlanTest, TheCacheIsNineTenthsOfWhatIsLeftBesideTheWeights) {
  const GeneratorOptions options = Fit();
  const std::size_t room = available_ - needs_.weights - needs_.work;
  EXPECT_EQ(options.max_cached_tokens, room / 10 * 9 / needs_.per_token);
  EXPECT_LT(options.max_cached_tokens, 65536U) << "which would be 100 GiB";
  EXPECT_EQ(options.max_cache_bytes, options.max_cached_tokens * needs_.per_token);
  EXPECT_LE(options.max_cache_bytes, room);
  EXPECT_EQ(options.max_length, 4096U) << "one sequence fits";
}

TEST_F(MemoryPlanTest, WhereMemoryIsPlentyFullBatchesOfFullLengthAreTheBound) {
  needs_.per_token = kMiB / 1024;
  EXPECT_EQ(Fit().max_cached_tokens, 4096U * 16);
  EXPECT_EQ(Fit().max_cache_bytes, 4096U * 16 * 1024);
}

TEST_F(MemoryPlanTest, ALengthThatNobodySetIsCutToWhatFitsAndOneLineSaysSo) {
  available_ = 9 * kGiB;
  std::vector<std::string> lines;
  SetLogCallback([&](LogLevel, std::string_view line) { lines.emplace_back(line); });
  const GeneratorOptions options = Fit();
  SetLogCallback({});
  EXPECT_EQ(options.max_length, options.max_cached_tokens);
  EXPECT_EQ(options.max_length, (kGiB * 3 / 2) / 10 * 9 / needs_.per_token);
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_THAT(lines[0],
              HasSubstr("max_length is " + std::to_string(options.max_length) + " instead of the model's 4096"));
}

TEST_F(MemoryPlanTest, ALengthThatWasSetAndCannotFitIsRefusedWithNumbers) {
  available_ = 9 * kGiB;
  EXPECT_EQ(Code([](auto* o) { o->max_length = 2048; }), ErrorCode::kCapacity);
  EXPECT_THAT(message_, HasSubstr("max_length is 2048 tokens"));
  EXPECT_THAT(message_, HasSubstr(std::to_string(2048 * needs_.per_token) + " bytes"));
  EXPECT_THAT(message_, HasSubstr(std::to_string(available_) + " bytes"));
  EXPECT_THAT(message_, HasSubstr("lower max_length"));
  const std::size_t all = (available_ - needs_.weights - needs_.work) / needs_.per_token;
  const GeneratorOptions options = Fit([&](auto* o) { o->max_length = all; });
  EXPECT_EQ(options.max_length, all) << "what was set may take our tenth";
  EXPECT_EQ(options.max_cached_tokens, all) << "one sequence must fit";
}

TEST_F(MemoryPlanTest, BoundsThatWereSetCountAsTheyAreTheLesserOneFirst) {
  const GeneratorOptions tokens = Fit([](auto* o) { o->max_cached_tokens = 5000; });
  EXPECT_EQ(tokens.max_cached_tokens, 5000U);
  EXPECT_EQ(tokens.max_cache_bytes, 5000 * needs_.per_token);
  const GeneratorOptions bytes = Fit([](auto* o) { o->max_cache_bytes = 8 * kGiB; });
  EXPECT_EQ(bytes.max_cache_bytes, 8 * kGiB);
  EXPECT_EQ(bytes.max_cached_tokens, 8 * kGiB / needs_.per_token);
  const auto both = [](std::size_t most_tokens, std::size_t most_bytes) {
    return [=](GeneratorOptions* o) { o->max_cached_tokens = most_tokens, o->max_cache_bytes = most_bytes; };
  };
  EXPECT_EQ(Fit(both(5000, kGiB)).max_cached_tokens, kGiB / needs_.per_token);
  EXPECT_EQ(Fit(both(600, kGiB)).max_cached_tokens, 600U);
  EXPECT_EQ(Fit(both(600, kGiB)).max_length, 600U) << "a request without max_tokens must fit";
}

TEST_F(MemoryPlanTest, BoundsThatWereSetBeyondWhatIsThereAreRefusedWithNumbers) {
  EXPECT_EQ(Code([](auto* o) { o->max_cached_tokens = 20000; }), ErrorCode::kCapacity);
  EXPECT_THAT(message_, HasSubstr("max_cached_tokens is 20000"));
  EXPECT_THAT(message_, HasSubstr(std::to_string(20000 * needs_.per_token) + " bytes"));
  EXPECT_THAT(message_, HasSubstr("lower max_cached_tokens"));
  EXPECT_EQ(Code([](auto* o) { o->max_cache_bytes = 20 * kGiB; }), ErrorCode::kCapacity);
  EXPECT_THAT(message_, HasSubstr("max_cache_bytes is " + std::to_string(20 * kGiB)));
  EXPECT_THAT(message_, HasSubstr("lower max_cache_bytes"));
}

TEST_F(MemoryPlanTest, MoreThanAllSequencesCanUseIsNoPromise) {
  needs_.per_token = 1024;
  const GeneratorOptions options = Fit([](auto* o) { o->max_cached_tokens = std::size_t{1} << 60; });
  EXPECT_EQ(options.max_cached_tokens, 4096U * (16 + 8)) << "8 sequences are kept for prefix reuse";
}

TEST_F(MemoryPlanTest, WeightsThatLeaveNoRoomAreRefusedWithNumbers) {
  available_ = 7 * kGiB;
  EXPECT_EQ(Code([](auto*) {}), ErrorCode::kCapacity);
  EXPECT_THAT(message_, HasSubstr(std::to_string(needs_.weights + needs_.work) + " bytes"));
  EXPECT_THAT(message_, HasSubstr(std::to_string(available_) + " bytes"));
  available_ = needs_.weights + needs_.work + 5 * needs_.per_token;
  EXPECT_EQ(Code([](auto*) {}), ErrorCode::kCapacity) << "a sequence of four tokens is of no use";
  EXPECT_EQ(Code([](auto* o) { o->max_length = 64, o->max_cache_bytes = 1; }), ErrorCode::kCapacity);
}

// ------------------------------------------------------------------------------ on a backend that counts its pages

TEST(MemoryBound, FiveHundredChatsStayBelowABoundInBytesAndNoneIsRefused) {
  constexpr std::size_t kPerToken = 8;
  std::size_t most = 0;
  PredictableOptions backend;
  backend.traits.bytes_per_token = kPerToken;
  GeneratorOptions options;
  options.max_cache_bytes = 1200 * kPerToken;
  options.max_batch = 4;
  auto opened = std::make_unique<PredictableBackend>(backend);
  const PredictableBackend* pages = opened.get();
  Engine engine(std::move(opened), CheckedConfig(options));
  EXPECT_EQ(engine.options().max_cached_tokens, 1200U);
  for (int chat = 0; chat < 500; ++chat) {
    std::vector<TokenId> prompt(static_cast<std::size_t>(200 + chat % 100));
    for (std::size_t i = 0; i < prompt.size(); ++i) prompt[i] = static_cast<TokenId>((chat * 31 + i * i + 3) % 90 + 3);
    // The last size takes the whole cache but for what no request leaves room for: all that is kept must go.
    const auto state = engine.Submit(LongRequest(prompt, chat % 50 == 49 ? 200 : 8), {});
    EXPECT_EQ(state->Get().samples[0].finish_reason, FinishReason::kLength) << "chat " << chat;
    most = std::max(most, engine.stats().cached_tokens);
  }
  EXPECT_LE(most, 1200U);
  EXPECT_GT(most, 600U) << "kept prefixes use the room that there is";
  EXPECT_EQ(engine.stats().refused + engine.stats().failed, 0U);
  EXPECT_LE(pages->most_reserved() * kPerToken, options.max_cache_bytes);
}

TEST(MemoryBound, AKeptPrefixGoesBeforeARequestWaits) {
  PredictableOptions backend;
  backend.traits.bytes_per_token = 8;
  GeneratorOptions options;
  options.max_cache_bytes = 100 * 8;
  Engine engine(std::make_unique<PredictableBackend>(backend), CheckedConfig(options));
  engine.Submit(LongRequest(Counting(60), 10), {})->Get();  // is kept: 70 of 100 tokens
  EXPECT_GT(engine.stats().cached_tokens, 0U);
  EXPECT_EQ(engine.Submit(LongRequest(Counting(80, 5), 20), {})->Get().samples[0].token_ids.size(), 20U);
  EXPECT_EQ(CodeOf([&] { engine.Submit(LongRequest(Counting(80, 5), 21), {}); }), ErrorCode::kCapacity);
}

TEST(MemoryBound, LessThanATokenIsRefused) {
  PredictableOptions backend;
  backend.traits.bytes_per_token = 8;
  GeneratorOptions options;
  options.max_cache_bytes = 7;
  std::string message;
  EXPECT_EQ(CodeOf([&] { Engine(std::make_unique<PredictableBackend>(backend), CheckedConfig(options)); }, &message),
            ErrorCode::kInvalidArgument);
  EXPECT_THAT(message, HasSubstr("max_cache_bytes is 7"));
}

}  // namespace
}  // namespace skywork_rt
