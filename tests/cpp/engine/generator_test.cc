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

TEST(GeneratorTest, OneBadRequestOfAListIsRefusedBeforeTheOthersStart) {
  Generator generator(std::make_unique<PredictableBackend>(Slow()), {});
  std::vector<Request> requests(3, LongRequest({3}, 400));
  requests.push_back(LongRequest({3}, 10'000));
  std::string message;
  EXPECT_EQ(CodeOf([&] { generator.Generate(requests); }, &message), ErrorCode::kInvalidArgument);
  EXPECT_THAT(message, HasSubstr("request 3 of 4"));
  EXPECT_EQ(generator.stats().requests, 0U);
}

TEST(GeneratorTest, OneRequestOfAListThatFailsCancelsTheOthers) {
  auto backend = Slow();
  backend.hook = [slow = backend.hook](BackendOp op, std::uint64_t call) {
    slow(op, call);
    if (op == BackendOp::kOpen && call == 0) throw Error(ErrorCode::kBackend, "the device is on fire");
  };
  Generator generator(std::make_unique<PredictableBackend>(backend), {});
  EXPECT_EQ(CodeOf([&] { generator.Generate(std::vector<Request>(3, LongRequest({3}, 400))); }), ErrorCode::kBackend);
  for (int i = 0; i < 2000 && generator.stats().cancelled != 2; ++i) std::this_thread::sleep_for(milliseconds(1));
  EXPECT_EQ(generator.stats().cancelled, 2U);
}

TEST(GeneratorTest, CheckSaysWhatSubmitWouldAndStartsNothing) {
  Generator generator(std::make_unique<PredictableBackend>(PredictableOptions{}), {});
  EXPECT_NO_THROW(generator.Check(GreedyRequest({3}, 3)));
  EXPECT_EQ(CodeOf([&] { generator.Check(GreedyRequest({}, 3)); }), ErrorCode::kInvalidArgument);
  Request wide = GreedyRequest({3}, 3);
  wide.sampling.num_beams = generator.options().max_batch + 1;
  EXPECT_EQ(CodeOf([&] { generator.Check(wide); }), ErrorCode::kCapacity);
  EXPECT_EQ(generator.stats().requests, 0U);
  EXPECT_EQ(generator.stats().refused, 0U);
  generator.Close();
  EXPECT_EQ(CodeOf([&] { generator.Check(GreedyRequest({3}, 3)); }), ErrorCode::kClosed);
}

TEST(GeneratorTest, TryingAFullQueueTakesNothingAndCountsNothing) {
  GeneratorOptions options;
  options.max_batch = 1;
  options.max_queue = 1;
  Generator generator(std::make_unique<PredictableBackend>(Slow()), options);
  std::vector<RequestHandle> handles;
  Request request = LongRequest({3}, 400);
  for (int i = 0; i < 3; ++i) {
    Request another = request;
    if (std::optional<RequestHandle> handle = generator.TrySubmit(&another)) {
      handles.push_back(*handle);
    } else {
      EXPECT_EQ(another.prompt, request.prompt) << "it was taken";
    }
  }
  EXPECT_LE(handles.size(), 2U);
  EXPECT_EQ(generator.stats().refused, 0U);
  EXPECT_EQ(CodeOf([&] {
              while (true) generator.Submit(request);
            }),
            ErrorCode::kBusy);
  EXPECT_EQ(generator.stats().refused, 1U);
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
