// What is lost when a backend fails, and that nothing else is.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "engine/engine_fixture.h"

namespace skywork_rt {
namespace {

using ::testing::HasSubstr;

TEST(FailingBackend, BackendThatFailsLosesOnlyTheRequestsOfThatStep) {
  GeneratorOptions options = NoPrefixCache();
  options.max_batch = 2;
  auto engine = MakeEngine(options, FailingAt(BackendOp::kForward, 3));
  std::vector<Engine::StatePtr> states;
  for (TokenId i = 3; i < 9; ++i) states.push_back(engine->Submit(LongRequest({i}, 10), {}));
  std::string message;
  int lost = 0;
  for (std::size_t i = 0; i < states.size(); ++i) {
    const ErrorCode code = CodeOf([&] { states[i]->Get(); }, &message);
    if (code == static_cast<ErrorCode>(0)) continue;
    ++lost;
    EXPECT_EQ(code, ErrorCode::kBackend);
    EXPECT_THAT(message, HasSubstr("on fire"));
    EXPECT_THAT(message, HasSubstr("step of"));
  }
  EXPECT_GE(lost, 1);
  EXPECT_LE(lost, 2);
  EXPECT_EQ(engine->stats().cached_tokens, 0U);
  EXPECT_EQ(engine->stats().failed, static_cast<std::uint64_t>(lost));
}

TEST(FailingBackend, BackendThatCannotOpenLosesOneRequest) {
  auto engine = MakeEngine(NoPrefixCache(), FailingAt(BackendOp::kOpen, 1));
  const auto first = engine->Submit(LongRequest({3}, 5), {});
  first->Get();
  EXPECT_EQ(CodeOf([&] { RunOne(engine.get(), LongRequest({4}, 5)); }), ErrorCode::kBackend);
  EXPECT_EQ(RunOne(engine.get(), LongRequest({5}, 5)).samples[0].token_ids.size(), 5U);
  EXPECT_EQ(engine->stats().cached_tokens, 0U);
}

TEST(FailingBackend, BackendThatCannotOpenHalfOfARequestLeavesNothingOpen) {
  auto engine = MakeEngine(NoPrefixCache(), FailingAt(BackendOp::kOpen, 2));
  EXPECT_EQ(CodeOf([&] { RunOne(engine.get(), Drawn({4}, 5, 1, 4)); }), ErrorCode::kBackend);
  EXPECT_EQ(RunOne(engine.get(), Drawn({4}, 5, 1, 16)).samples.size(), 16U) << "all sixteen places are free";
}

TEST(FailingBackend, BackendThatCannotForkThisTimeLosesOneRequest) {
  auto engine = MakeEngine(NoPrefixCache(), FailingAt(BackendOp::kReorder, 0));
  const auto other = engine->Submit(LongRequest({9}, 50), {});
  EXPECT_EQ(CodeOf([&] { RunOne(engine.get(), Drawn({4}, 5, 1, 4)); }), ErrorCode::kBackend);
  EXPECT_EQ(other->Get().samples[0].token_ids.size(), 50U);
  EXPECT_EQ(engine->stats().cached_tokens, 0U);
}

TEST(FailingBackend, BackendThatIsFullBeforeTheSumIsMakesRequestsWaitNotFail) {
  // Counts by pages of 64, as a paged cache does: two requests fit, the scheduler thinks that ten do.
  class Paged : public PredictableBackend {
   public:
    using PredictableBackend::PredictableBackend;
    SeqId Open(std::size_t tokens) override {
      if (open_sequences() == 2) throw Error(ErrorCode::kCapacity, "all pages are taken");
      return PredictableBackend::Open(tokens);
    }
  };
  for (const bool prefix_cache : {false, true}) {
    GeneratorOptions options;
    options.prefix_cache = prefix_cache;
    Engine engine(std::make_unique<Paged>(Slow()), CheckedConfig(options));
    std::vector<Engine::StatePtr> states;
    for (TokenId i = 0; i < 12; ++i) states.push_back(engine.Submit(LongRequest(Counting(6, 4 * i), 5), {}));
    for (const auto& state : states) EXPECT_EQ(state->Get().samples[0].token_ids.size(), 5U);
  }
}

TEST(FailingBackend, NaNLogitsLoseOneRequest) {
  class Broken : public PredictableBackend {
   public:
    using PredictableBackend::PredictableBackend;
    bool Forward(Span<const Chunk> chunks, Span<float> logits, ForwardWatch* watch) override {
      if (!PredictableBackend::Forward(chunks, logits, watch)) return false;
      float* row = logits.data();
      for (const Chunk& chunk : chunks) {
        if (chunk.tokens.size() == 2 && chunk.tokens[0] == 50) *row = std::numeric_limits<float>::quiet_NaN();
        row += chunk.logit_rows.size() * 97;
      }
      return true;
    }
  };
  GeneratorOptions options = NoPrefixCache();
  options.prefill_stretch = 0;  // the two tokens are one chunk, whatever steps take
  Engine engine(std::make_unique<Broken>(PredictableOptions{}), CheckedConfig(options));
  const auto good = engine.Submit(LongRequest({9}, 50), {});
  const auto bad = engine.Submit(LongRequest({50, 50}, 50), {});
  EXPECT_EQ(CodeOf([&] { bad->Get(); }), ErrorCode::kBackend);
  EXPECT_EQ(good->Get().samples[0].token_ids.size(), 50U);
}

}  // namespace
}  // namespace skywork_rt
