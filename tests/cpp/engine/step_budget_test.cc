// The size of steps, on machines that are functions: seconds of a step by its tokens.

#include "engine/step_budget.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <random>

namespace skywork_rt {
namespace {

using Machine = std::function<double(std::size_t tokens)>;

constexpr double kStretch = 4;
constexpr std::size_t kPass = 96;

/// Skywork-13B with int8 activations as it was measured: reading the weights hides the first few tokens.
double Large(std::size_t tokens) {
  return 0.31 + 0.0415 * std::max(0.0, static_cast<double>(tokens) - 4.5);
}
/// The same, exact.
double LargeExact(std::size_t tokens) {
  return 0.31 + 0.1 * std::max(0.0, static_cast<double>(tokens) - 2.5);
}
/// SmolLM2-135M.
double Small(std::size_t tokens) {
  return 0.0022 + 0.00095 * static_cast<double>(tokens);
}

/// One step as the engine makes it; the seconds it took.
double Step(StepBudget* budget, const Machine& machine, std::size_t decoding, std::size_t waiting) {
  const std::size_t prompt = std::min(budget->PromptTokens(decoding), waiting);
  const double seconds = machine(decoding + prompt);
  budget->Learn(decoding, prompt, seconds);
  return seconds;
}

struct Reading {
  double longest = 0;  // step
  double seconds = 0;
  std::size_t tokens = 0;
  double speed() const { return static_cast<double>(tokens) / seconds; }
};

/// A prompt comes in while rows decode.
Reading Read(StepBudget* budget, const Machine& machine, std::size_t decoding, std::size_t tokens) {
  Reading reading;
  reading.tokens = tokens;
  for (std::size_t left = tokens; left != 0;) {
    const std::size_t prompt = std::min(budget->PromptTokens(decoding), left);
    const double seconds = machine(decoding + prompt);
    budget->Learn(decoding, prompt, seconds);
    reading.longest = std::max(reading.longest, seconds);
    reading.seconds += seconds;
    left -= prompt;
  }
  return reading;
}

/// A request has come, was read alone and decodes.
StepBudget AfterOneRequest(const Machine& machine, double stretch = kStretch, std::size_t rows = 1) {
  StepBudget budget(stretch, kPass);
  for (std::size_t left = 200; left != 0;) {
    const std::size_t prompt = std::min(budget.PromptTokens(0), left);
    budget.Learn(0, prompt, machine(prompt));
    left -= prompt;
  }
  for (int i = 0; i < 5; ++i) Step(&budget, machine, rows, 0);
  return budget;
}

TEST(StepBudget, A13BStreamWaitsForLessThanASecondWhileALongPromptComesIn) {
  for (const Machine& machine : {Machine(Large), Machine(LargeExact)}) {
    StepBudget budget = AfterOneRequest(machine);
    const Reading reading = Read(&budget, machine, 1, 2000);
    EXPECT_LT(reading.longest, 1.0);
    const double undisturbed = static_cast<double>(kPass) / machine(kPass);
    EXPECT_GT(reading.speed(), 0.6 * undisturbed);
  }
}

TEST(StepBudget, AStepWithPromptsTakesAtMostTheMultipleOfADecodeStep) {
  for (const double stretch : {2.0, 4.0, 8.0}) {
    for (const std::size_t rows : {std::size_t{1}, std::size_t{5}, std::size_t{16}}) {
      StepBudget budget = AfterOneRequest(Small, stretch, rows);
      const Reading reading = Read(&budget, Small, rows, 4000);
      EXPECT_LE(reading.longest, stretch * Small(rows) * 1.0001) << stretch << " times, " << rows << " rows";
      EXPECT_GT(reading.seconds / static_cast<double>(reading.tokens), 0);
    }
  }
}

TEST(StepBudget, MoreStretchIsFasterPrompts) {
  double slower = 0;
  for (const double stretch : {1.5, 2.0, 4.0, 8.0, 16.0}) {
    StepBudget budget = AfterOneRequest(Small, stretch);
    const double speed = Read(&budget, Small, 1, 4000).speed();
    EXPECT_GT(speed, slower) << stretch;
    slower = speed;
  }
}

TEST(StepBudget, SomeProgressIsMadeWhereADecodeStepAloneIsTooLong) {
  const Machine slow = [](std::size_t tokens) { return 1.5 + static_cast<double>(tokens); };
  StepBudget budget = AfterOneRequest(slow);
  Step(&budget, slow, 8, 100);  // the first step of so many rows measures them
  EXPECT_EQ(budget.PromptTokens(8), 4U);
  const Machine slower = [](std::size_t tokens) { return 0.1 + static_cast<double>(tokens); };
  StepBudget small = AfterOneRequest(slower, 1.25);
  Step(&small, slower, 1, 100);
  EXPECT_EQ(small.PromptTokens(1), 1U) << "not even what the option allows";
}

TEST(StepBudget, AStepOfANewKindIsMeasuredWithoutPromptsFirst) {
  StepBudget budget = AfterOneRequest(Small);
  EXPECT_EQ(budget.PromptTokens(16), 0U);
  Step(&budget, Small, 16, 1000);
  EXPECT_GE(budget.PromptTokens(16), 4U);
}

TEST(StepBudget, DecodeStepsAreMeasuredAgainWhileALongPromptIsRead) {
  StepBudget budget = AfterOneRequest(Small);
  int without = 0;
  for (int i = 0; i < 170; ++i) without += Step(&budget, Small, 1, 1000) <= Small(1) ? 1 : 0;
  EXPECT_GE(without, 9);
  EXPECT_LE(without, 11);
}

TEST(StepBudget, NoiseIsForgottenAndAChangeIsFollowed) {
  std::mt19937 random(7);
  const Machine noisy = [&](std::size_t tokens) {
    return Small(tokens) * (random() % 20 == 0 ? 5.0 : 0.9 + 0.01 * static_cast<double>(random() % 20));
  };
  StepBudget budget = AfterOneRequest(Small);
  const Reading quiet = Read(&budget, Small, 1, 2000);
  const Reading noise = Read(&budget, noisy, 1, 2000);
  EXPECT_GT(noise.speed(), 0.5 * quiet.speed());
  const Machine twice = [](std::size_t tokens) { return 2 * Small(tokens); };
  for (int i = 0; i < 100; ++i) Step(&budget, twice, 1, 1000);
  EXPECT_LE(Read(&budget, twice, 1, 2000).longest, kStretch * twice(1) * 1.01);
}

TEST(StepBudget, TokensThatCostMoreAsTheContextGrowsAreFollowed) {
  StepBudget budget = AfterOneRequest(Small);
  double longest = 0;
  for (std::size_t context = 0; context < 8000;) {
    const auto cost = [&](std::size_t tokens) {
      return Small(tokens) + 1e-6 * static_cast<double>(tokens) * static_cast<double>(context);
    };
    const std::size_t prompt = budget.PromptTokens(1);
    const double seconds = cost(1 + prompt) - 1e-6 * static_cast<double>(context);  // the decoding row's is short
    budget.Learn(1, prompt, seconds);
    longest = std::max(longest, seconds);
    context += prompt;
  }
  EXPECT_LE(longest, 1.1 * kStretch * Small(1));
}

TEST(StepBudget, TheEndOfAPromptSaysNothingAboutTheNextOne) {
  StepBudget budget = AfterOneRequest(Large);
  Read(&budget, Large, 1, 400);
  const std::size_t beside = budget.PromptTokens(1);
  const std::size_t alone = budget.PromptTokens(0);
  for (int i = 0; i < 5; ++i) {
    Read(&budget, Large, 1, 1);
    budget.PromptTokens(0);
    budget.Learn(0, 1, Large(1));
  }
  Step(&budget, Large, 1, 0);
  EXPECT_EQ(budget.PromptTokens(1), beside);
  EXPECT_EQ(budget.PromptTokens(0), alone);
}

TEST(StepBudget, PromptsAloneAreReadInWholePassesOfBoundedTime) {
  StepBudget small = AfterOneRequest(Small);
  EXPECT_EQ(small.PromptTokens(0) % kPass, 0U);
  EXPECT_GE(small.PromptTokens(0), 512U) << "never a reason to cut what the option allows";
  StepBudget large = AfterOneRequest(Large);
  EXPECT_LE(Large(large.PromptTokens(0)), 1.2 * StepBudget::kLongestAlone);
  EXPECT_GE(static_cast<double>(large.PromptTokens(0)) / Large(large.PromptTokens(0)),
            0.95 * static_cast<double>(kPass) / Large(kPass))
      << "at the full speed";
}

TEST(StepBudget, APassIsNotExceededByAFewRows) {
  const Machine flat = [](std::size_t tokens) { return 0.01 + 1e-4 * static_cast<double>(tokens); };
  StepBudget budget = AfterOneRequest(flat);
  for (int i = 0; i < 40; ++i) Step(&budget, flat, 1, 100'000);
  EXPECT_EQ((budget.PromptTokens(1) + 1) % kPass, 0U);
}

TEST(StepBudget, ABackendWhoseResultsDependOnChunksGetsOneSizeForEver) {
  ModelSpec model;
  model.layers = 30;
  model.hidden_size = 576;
  model.heads = 9;
  model.kv_heads = 3;
  model.head_dim = 64;
  model.intermediate_size = 1536;
  Traits traits;
  traits.bitwise = false;
  StepBudget budget = StepBudget::For(kStretch, model, traits);
  EXPECT_EQ(budget.PromptTokens(0), 160U) << "2^34 multiply-adds of SmolLM2-135M, in steps of 16";
  for (int i = 0; i < 50; ++i) Step(&budget, Large, static_cast<std::size_t>(i % 3), 1000);
  for (const std::size_t rows : {0U, 1U, 16U}) EXPECT_EQ(budget.PromptTokens(rows), 160U);
  model.layers = 5200;
  EXPECT_EQ(StepBudget::For(kStretch, model, traits).PromptTokens(0), 16U) << "and some progress always";
}

TEST(StepBudget, ZeroStretchIsNoBound) {
  for (const bool bitwise : {false, true}) {
    Traits traits;
    traits.bitwise = bitwise;
    StepBudget budget = StepBudget::For(0, ModelSpec(), traits);
    EXPECT_EQ(budget.PromptTokens(0), StepBudget::kUnbounded);
    EXPECT_EQ(budget.PromptTokens(3), StepBudget::kUnbounded);
  }
}

}  // namespace
}  // namespace skywork_rt
