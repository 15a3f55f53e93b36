// The public class around an engine.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include <chrono>
#include <thread>

#include "engine/engine_fixture.h"

namespace skywork_rt {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

TEST(GeneratorTest, GeneratesListsLongerThanTheQueueInOrder) {
  GeneratorOptions options;
  options.max_queue = 3;
  options.max_batch = 2;
  Generator generator(std::make_unique<PredictableBackend>(PredictableOptions{}), options);
  std::vector<Request> requests;
  for (TokenId i = 3; i < 43; ++i) requests.push_back(GreedyRequest({i}, 20));
  const std::vector<Result> results = generator.Generate(requests);
  ASSERT_EQ(results.size(), 40U);
  for (std::size_t i = 0; i < 40; ++i) EXPECT_EQ(results[i].samples[0].token_ids, Greedy(requests[i].prompt, 20));
}

TEST(GeneratorTest, OneBadRequestOfAListCancelsTheOthers) {
  Generator generator(std::make_unique<PredictableBackend>(Slow()), {});
  std::vector<Request> requests(3, LongRequest({3}, 400));
  requests.push_back(GreedyRequest({}, 3));
  EXPECT_EQ(CodeOf([&] { generator.Generate(requests); }), ErrorCode::kInvalidArgument);
  for (int i = 0; i < 2000 && generator.stats().cancelled != 3; ++i) std::this_thread::sleep_for(milliseconds(1));
  EXPECT_EQ(generator.stats().cancelled, 3U);
}

TEST(GeneratorTest, OptionsAreCheckedAndFilledIn) {
  const auto open = [](const std::function<void(GeneratorOptions*)>& change, PredictableOptions backend = {}) {
    GeneratorOptions options;
    change(&options);
    return std::make_unique<Generator>(std::make_unique<PredictableBackend>(std::move(backend)), options);
  };
  std::string message;
  EXPECT_EQ(CodeOf([&] { open([](auto* o) { o->max_batch = 0; }); }, &message), ErrorCode::kInvalidArgument);
  EXPECT_THAT(message, HasSubstr("max_batch is 0"));
  EXPECT_EQ(CodeOf([&] { open([](auto* o) { o->max_length = 513; }); }, &message), ErrorCode::kInvalidArgument);
  EXPECT_THAT(message, HasSubstr("[2, 512]"));
  EXPECT_EQ(CodeOf([&] { open([](auto* o) { o->prefill_budget = 0; }); }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(CodeOf([&] { open([](auto* o) { o->max_queue = 0; }); }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(CodeOf([&] { open([](auto* o) { o->threads = -1; }); }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(CodeOf([&] { open([](auto* o) { o->affinity = {-1}; }); }, &message), ErrorCode::kInvalidArgument);
  EXPECT_THAT(message, HasSubstr("may run on"));
  EXPECT_EQ(CodeOf([&] { Generator(std::unique_ptr<Backend>(), {}); }), ErrorCode::kInvalidArgument);
  PredictableOptions small;
  small.traits.max_batch = 3;
  small.traits.max_cached_tokens = 700;
  const GeneratorOptions options = open([](auto*) {}, small)->options();
  EXPECT_EQ(options.max_length, 512U);
  EXPECT_EQ(options.max_batch, 3) << "what the backend can";
  EXPECT_EQ(options.max_cached_tokens, 700U);
  EXPECT_GE(options.threads, 1);
}

TEST(GeneratorTest, AnInstructionSetThatDoesNotExistIsRefusedBeforeAnythingRuns) {
  const char* before = std::getenv("SKYWORK_RT_NATIVE_ISA");
  const std::string kept = before == nullptr ? "" : before;
  setenv("SKYWORK_RT_NATIVE_ISA", "sse9", 1);
  EXPECT_EQ(CodeOf([] { Generator(std::make_unique<PredictableBackend>(PredictableOptions()), {}); }),
            ErrorCode::kUnsupported);
  setenv("SKYWORK_RT_NATIVE_ISA", kept.c_str(), 1);
}

TEST(GeneratorTest, WithoutVocabularyThereIsNoText) {
  Generator generator(std::make_unique<PredictableBackend>(PredictableOptions{}), {});
  const std::vector<TokenId> ids{1, 2};
  EXPECT_EQ(CodeOf([&] { generator.Decode(Span<const TokenId>(ids)); }), ErrorCode::kUnsupported);
  EXPECT_EQ(generator.Generate({LongRequest({1}, 2)})[0].samples[0].text, "");
}

TEST(GeneratorTest, PathThatIsNoBundleIsNamed) {
  std::string message;
  EXPECT_EQ(CodeOf([] { Generator("no/such/bundle"); }, &message), ErrorCode::kNotFound);
  EXPECT_THAT(message, HasSubstr("no/such/bundle"));
}

}  // namespace
}  // namespace skywork_rt
