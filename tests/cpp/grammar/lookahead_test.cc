// What probably comes next in an output of a grammar, and steps that yield several tokens for it.

#include "grammar/lookahead.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <vector>

#include "engine/doubles.h"
#include "grammar/grammar_compiler.h"
#include "grammar/pretend_library.h"

namespace skywork_rt {
namespace {

using grammar::Bounds;
using grammar::GrammarCompiler;
using grammar::GrammarStats;
using grammar::Habits;
using grammar::RawMask;
using ::testing::Optional;
using testing::PretendLibrary;

constexpr int kVocabulary = 97;  // the predictable backend's: id i is the byte i

RawMask Allowing(const std::vector<TokenId>& ids, std::size_t size = 128) {
  RawMask mask(size / 32, 0);
  for (const TokenId id : ids) mask[static_cast<std::size_t>(id) / 32] |= 1U << (id % 32);
  return mask;
}

TEST(Habits, TheOnlyWayIsGuessedAtOnce) {
  const Habits habits(97);
  EXPECT_THAT(habits.Guess(Allowing({65})), Optional(65));
  EXPECT_EQ(habits.Guess(Allowing({65, 66})), std::nullopt);
  EXPECT_EQ(habits.Guess(Allowing({})), std::nullopt);
}

TEST(Habits, WhatCameTwiceInARowIsGuessedUntilSomethingElseComes) {
  Habits habits(97);
  const RawMask place = Allowing({1, 40, 96});
  habits.Learn(place, 40);
  EXPECT_EQ(habits.Guess(place), std::nullopt) << "once may be chance";
  habits.Learn(place, 40);
  EXPECT_THAT(habits.Guess(place), Optional(40));
  EXPECT_EQ(habits.Guess(Allowing({1, 40})), std::nullopt) << "another place";
  habits.Learn(place, 96);
  EXPECT_EQ(habits.Guess(place), std::nullopt);
  habits.Learn(place, 96);
  EXPECT_THAT(habits.Guess(place), Optional(96));
}

TEST(Habits, WhereMuchMayComeNothingIsGuessed) {
  Habits habits(128);
  std::vector<TokenId> many(65);
  for (TokenId id = 0; id < 65; ++id) many[static_cast<std::size_t>(id)] = id;
  for (int i = 0; i < 3; ++i) habits.Learn(Allowing(many), 5);
  EXPECT_EQ(habits.Guess(Allowing(many)), std::nullopt);
}

TEST(Habits, GivenUpTheyGuessNothing) {
  Habits habits(97);
  habits.GiveUp();
  EXPECT_EQ(habits.Guess(Allowing({65})), std::nullopt);
}

TEST(Habits, IdsBehindTheModelsAreNoWay) {
  const Habits habits(70);
  EXPECT_THAT(habits.Guess(Allowing({69, 70, 100})), Optional(69));
  EXPECT_EQ(habits.Guess(Allowing({70})), std::nullopt);
  Habits learning(70);
  for (int i = 0; i < 3; ++i) learning.Learn(Allowing({60, 61, 70}), 70);
  EXPECT_EQ(learning.Guess(Allowing({60, 61, 70})), std::nullopt) << "a piece without its space, as texts begin";
}

/// What requests by one compiler came to.
struct Seen {
  std::vector<std::vector<TokenId>> outputs;
  std::uint64_t steps = 0;
  GrammarStats stats;
};

Seen SeenWith(std::size_t most_ahead, const std::string& type, const std::string& text, float temperature) {
  const PretendLibrary library;
  Bounds bounds;
  bounds.most_ahead = most_ahead;
  bounds.longest_ahead = std::chrono::seconds(10);
  Seen seen;
  EngineConfig config = CheckedConfig();
  config.vocabulary = ByteVocabulary(kVocabulary);
  config.clock = StillClock();
  const auto engine = std::make_unique<Engine>(std::make_unique<PredictableBackend>(PredictableOptions{}), config);
  GrammarCompiler compiler(library.functions(), ByteVocabulary(kVocabulary),
                           PredictableBackend(PredictableOptions{}).model(), bounds);
  for (int i = 0; i < 4; ++i) {
    Request request = temperature == 0.0f ? GreedyRequest(Counting(5), 60) : Drawn(Counting(5), 60, 7, 2);
    request.mask = compiler.Mask(type, text, &request.sampling, Span<const TokenId>(request.prompt));
    const Result result = engine->Submit(std::move(request), {})->Get();
    for (const Sample& sample : result.samples) seen.outputs.push_back(sample.token_ids);
  }
  engine->Close(Generator::CloseMode::kFinish);
  seen.steps = engine->stats().steps;
  seen.stats = compiler.stats();
  return seen;
}

TEST(LookAhead, WhatIsCertainComesInFewerSteps) {
  const std::string text(50, 'A');
  const Seen plain = SeenWith(0, "text", text, 0.0f);
  const Seen ahead = SeenWith(4, "text", text, 0.0f);
  EXPECT_EQ(ahead.outputs, plain.outputs);
  EXPECT_EQ(plain.steps, 4u * 51u);
  EXPECT_LT(ahead.steps, plain.steps / 2) << "two steps for five tokens";
  EXPECT_EQ(plain.stats.guessed, 0u);
  EXPECT_GT(ahead.stats.right, 100u);
}

TEST(LookAhead, WhatIsGuessedChangesNoOutput) {
  for (const float temperature : {0.0f, 1.0f}) {
    for (const char* text : {"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "ABC|ABC|ABC|ABC|ABC|ABC|ABC"}) {
      const Seen ahead = SeenWith(4, "hidden", text, temperature);
      EXPECT_EQ(ahead.outputs, SeenWith(0, "hidden", text, temperature).outputs) << text << " " << temperature;
      if (temperature == 0.0f) continue;
      EXPECT_GT(ahead.stats.guessed, ahead.stats.right) << "some were wrong, and were taken back";
      EXPECT_GT(ahead.stats.right, 0u);
    }
  }
}

TEST(LookAhead, ADeadEndBehindAGuessIsNotOneBeforeItComes) {
  // Byte 120 is no token of the model's: the place before it is sound as long as nothing is chosen there.
  const std::string text = std::string(8, 'A') + static_cast<char>(120);
  for (const std::size_t most : {0u, 4u}) {
    std::string message;
    EXPECT_EQ(CodeOf([&] { SeenWith(most, "text", text, 0.0f); }, &message), ErrorCode::kInvalidArgument);
    EXPECT_THAT(message, ::testing::HasSubstr("at a dead end after 8 tokens"));
  }
}

}  // namespace
}  // namespace skywork_rt
