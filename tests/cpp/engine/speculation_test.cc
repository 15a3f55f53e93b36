// More than one token a decode row: what is guessed right comes in one step, and nothing else changes.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "engine/doubles.h"

namespace skywork_rt {
namespace {

std::unique_ptr<Engine> Guessing(std::shared_ptr<Proposer> proposer, PredictableOptions backend = {},
                                 std::size_t most = 4) {
  EngineConfig config = CheckedConfig();
  config.proposer = std::move(proposer);
  config.most_guesses = most;
  config.clock = StillClock();
  return std::make_unique<Engine>(std::make_unique<PredictableBackend>(std::move(backend)), std::move(config));
}

std::shared_ptr<KnowingProposer> Right() {
  return std::make_shared<KnowingProposer>([](std::size_t) { return false; });
}
std::shared_ptr<KnowingProposer> Wrong() {
  return std::make_shared<KnowingProposer>([](std::size_t) { return true; });
}
std::shared_ptr<KnowingProposer> EveryThirdWrong() {
  return std::make_shared<KnowingProposer>([](std::size_t n) { return n % 3 == 0; });
}

TEST(Speculation, RightGuessesComeInOneStep) {
  const auto plain = MakeEngine();
  const auto guessing = Guessing(Right());
  const Request request = LongRequest(Counting(5), 40);
  const Result expected = plain->Submit(request, {})->Get();
  const Result found = guessing->Submit(request, {})->Get();
  EXPECT_EQ(found.samples[0].token_ids, expected.samples[0].token_ids);
  plain->Close(Generator::CloseMode::kFinish);
  guessing->Close(Generator::CloseMode::kFinish);
  EXPECT_EQ(plain->stats().steps, 40u);
  EXPECT_EQ(guessing->stats().steps, 9u)
      << "the prompt's token, then four guesses and one more a step: 1 + 8 * 5 >= 40";
  EXPECT_EQ(guessing->stats().generated_tokens, 40u);
}

TEST(Speculation, WrongGuessesCostNothingButTheirComputing) {
  const auto plain = MakeEngine();
  for (const auto& proposer : {Wrong(), EveryThirdWrong()}) {
    const auto guessing = Guessing(proposer);
    for (const int max_tokens : {1, 2, 3, 30}) {
      const Request request = GreedyRequest(Counting(7, 20), max_tokens);
      EXPECT_EQ(guessing->Submit(request, {})->Get().samples[0].token_ids,
                plain->Submit(request, {})->Get().samples[0].token_ids)
          << max_tokens;
    }
    EXPECT_GT(proposer->asked(), 0u);
  }
}

TEST(Speculation, GuessesNeverExceedWhatIsReservedOrTheBackendsChunk) {
  PredictableOptions small;
  small.traits.max_chunk = 3;
  const auto proposer = Right();
  const auto guessing = Guessing(proposer, small);
  const Request request = LongRequest(Counting(3), 20);
  EXPECT_EQ(guessing->Submit(request, {})->Get().samples[0].token_ids.size(), 20u);
  EXPECT_EQ(proposer->most_asked(), 2u) << "one token of the chunk is the pending one";
}

TEST(Speculation, ABackendThatCannotForgetGetsNoGuesses) {
  PredictableOptions backend;
  backend.traits.can_truncate = false;
  const auto proposer = Right();
  const auto guessing = Guessing(proposer, backend);
  const Request request = LongRequest(Counting(3), 20);
  EXPECT_EQ(guessing->Submit(request, {})->Get().samples[0].token_ids.size(), 20u);
  EXPECT_EQ(proposer->asked(), 0u);
}

TEST(Speculation, UpdatesComeTokenByTokenAndStopTextsEndInTheMiddleOfGuesses) {
  EngineConfig config = CheckedConfig();
  config.proposer = Right();
  config.vocabulary = ByteVocabulary(97);
  Engine guessing(std::make_unique<PredictableBackend>(PredictableOptions()), std::move(config));
  Request request = LongRequest(Counting(5), 30);
  const std::vector<TokenId> whole = guessing.Submit(request, {})->Get().samples[0].token_ids;
  request.sampling.stop = {std::string{static_cast<char>(whole[7]), static_cast<char>(whole[8])}};
  std::vector<TokenId> streamed;
  const auto state = guessing.Submit(request, [&](const Update& update) {
    streamed.insert(streamed.end(), update.token_ids.begin(), update.token_ids.end());
    return true;
  });
  const Result result = state->Get();
  EXPECT_EQ(result.samples[0].finish_reason, FinishReason::kStop);
  EXPECT_EQ(result.samples[0].token_ids, std::vector<TokenId>(whole.begin(), whole.begin() + 9));
  EXPECT_EQ(streamed, result.samples[0].token_ids);
}

TEST(Speculation, AnIdOutsideTheVocabularyIsNoGuess) {
  class Nonsense final : public Proposer {
   public:
    void Propose(Span<const TokenId> /*tokens*/, std::size_t most, std::vector<TokenId>* proposed) override {
      proposed->assign(most + 5, std::numeric_limits<TokenId>::max());
      (*proposed)[0] = -1;
    }
  };
  const auto guessing = Guessing(std::make_shared<Nonsense>());
  const Request request = GreedyRequest(Counting(5), 10);
  EXPECT_EQ(guessing->Submit(request, {})->Get().samples[0].token_ids,
            MakeEngine()->Submit(request, {})->Get().samples[0].token_ids);
}

}  // namespace
}  // namespace skywork_rt
