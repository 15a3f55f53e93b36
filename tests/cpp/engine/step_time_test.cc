// How long a step of the engine may take, on a backend that moves the engine's clock by a function of its tokens.

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <utility>
#include <vector>

#include "engine/doubles.h"
#include "engine/engine_fixture.h"

namespace skywork_rt {
namespace {

struct Step {
  std::size_t decoding = 0;  // chunks of one token
  std::size_t prompt = 0;    // tokens of the others
  double seconds = 0;
};

class Timed final : public PredictableBackend {
 public:
  Timed(PredictableOptions options, std::function<double(std::size_t)> machine, std::chrono::nanoseconds* now,
        std::vector<Step>* steps)
      : PredictableBackend(std::move(options)), machine_(std::move(machine)), now_(now), steps_(steps) {}

  bool Forward(Span<const Chunk> chunks, Span<float> logits, ForwardWatch* watch) override {
    Step step;
    for (const Chunk& chunk : chunks) {
      if (chunk.tokens.size() == 1) ++step.decoding;
      if (chunk.tokens.size() > 1) step.prompt += chunk.tokens.size();
    }
    step.seconds = machine_(step.decoding + step.prompt);
    *now_ += std::chrono::nanoseconds(static_cast<std::int64_t>(1e9 * step.seconds));
    steps_->push_back(step);
    return PredictableBackend::Forward(chunks, logits, watch);
  }

 private:
  std::function<double(std::size_t)> machine_;
  std::chrono::nanoseconds* now_;
  std::vector<Step>* steps_;
};

class StepTime : public ::testing::Test {
 protected:
  /// Skywork-13B with int8 activations as it was measured, in seconds.
  static double Large(std::size_t tokens) { return 0.31 + 0.0415 * std::max(0.0, static_cast<double>(tokens) - 4.5); }

  void Open(std::function<double(std::size_t)> machine, float stretch = 4.0f, bool bitwise = true,
            std::shared_ptr<Proposer> proposer = nullptr) {
    PredictableOptions backend;
    backend.max_length = 4096;
    backend.traits.bitwise = bitwise;
    GeneratorOptions options = NoPrefixCache();
    options.prefill_stretch = stretch;
    EngineConfig config = CheckedConfig(options);
    config.clock = [this] { return start_ + now_; };
    config.proposer = std::move(proposer);
    engine_ = std::make_unique<Engine>(std::make_unique<Timed>(std::move(backend), std::move(machine), &now_, &steps_),
                                       std::move(config));
  }

  /// A prompt of so many tokens comes when the stream has its fifth. All ends before it returns.
  void PromptIntoAStream(std::size_t tokens, int stream_tokens) {
    FifthToken(LongRequest(Counting(40), stream_tokens), LongRequest(std::vector<TokenId>(tokens, 7), 2), {});
  }

  void FifthToken(const Request& stream, const Request& other, const UpdateCallback& callback) {
    int heard = 0;
    std::promise<void> submitted;
    engine_->Submit(stream, [&](const Update&) {
      if (++heard == 5) {
        engine_->Submit(other, callback);
        submitted.set_value();
      }
      return true;
    });
    submitted.get_future().wait();
    engine_->Close(Generator::CloseMode::kFinish);
  }

  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::chrono::nanoseconds now_{0};
  std::vector<Step> steps_;
  std::unique_ptr<Engine> engine_;
};

TEST_F(StepTime, AStreamOf13BWaitsForLessThanASecondAndThePromptKeepsMostOfItsSpeed) {
  Open(Large);
  PromptIntoAStream(2000, 400);
  double longest = 0;
  double seconds = 0;
  std::size_t read = 0;
  for (const Step& step : steps_) {
    if (step.decoding == 0) continue;
    longest = std::max(longest, step.seconds);
    if (read < 1999 && (read != 0 || step.prompt != 0)) seconds += step.seconds;
    read += step.prompt;
  }
  EXPECT_GE(read, 1999U) << "the last token may have come alone";
  EXPECT_LT(longest, 1.0);
  EXPECT_GT(2000 / seconds, 0.6 * 96 / Large(96));
}

TEST_F(StepTime, TheOptionBoundsAStepThatReadsPromptsByOneThatDoesNot) {
  const auto machine = [](std::size_t tokens) { return 0.002 + 0.001 * static_cast<double>(tokens); };
  for (const float stretch : {2.0f, 4.0f, 10.0f}) {
    steps_.clear();
    Open(machine, stretch);
    PromptIntoAStream(1500, 1500);
    for (const Step& step : steps_) {
      if (step.decoding == 0) continue;
      EXPECT_LE(step.seconds, stretch * machine(step.decoding) + 1e-9);
    }
  }
}

TEST_F(StepTime, ZeroIsTheOldBoundInTokens) {
  Open(Large, 0);
  PromptIntoAStream(2000, 60);
  std::size_t most = 0;
  for (const Step& step : steps_) most = std::max(most, step.prompt);
  EXPECT_EQ(most, 512U);
}

TEST_F(StepTime, WhereResultsDependOnChunksTheirSizeDoesNotDependOnTime) {
  std::vector<std::size_t> sizes;
  for (const double slowness : {0.01, 1.0, 100.0}) {
    steps_.clear();
    Open([=](std::size_t tokens) { return slowness * Large(tokens); }, 4.0f, false);
    PromptIntoAStream(2000, 60);
    std::vector<std::size_t> now;
    for (const Step& step : steps_) {
      if (step.prompt != 0) now.push_back(step.prompt);
    }
    if (sizes.empty()) sizes = now;
    EXPECT_EQ(now, sizes);
  }
}

TEST_F(StepTime, AStreamThatWaitsForItsMaskIsNotHeldUpEither) {
  Open(Large);
  auto gate = std::make_shared<FunctionMask::Gate>();
  gate->Open(5);
  Request masked = LongRequest(Counting(8), 6);
  masked.mask = std::make_shared<FunctionMask>([](std::size_t, TokenId) { return true; }, gate);
  FifthToken(masked, LongRequest(std::vector<TokenId>(900, 7), 1), [gate](const Update&) {
    gate->Open(100);
    return true;
  });
  std::size_t read = 0;
  for (const Step& step : steps_) {
    EXPECT_LT(step.seconds, 1.0);
    read += step.prompt;
  }
  EXPECT_EQ(read, 908U);
}

}  // namespace
}  // namespace skywork_rt
