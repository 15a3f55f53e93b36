// What a request yields: ids, samples, log-probabilities, text.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "decode/beam_search.h"
#include "engine/engine_fixture.h"

namespace skywork_rt {
namespace {

TEST(EngineOutput, GreedyRequestGetsTheModelsOwnContinuation) {
  auto engine = MakeEngine();
  for (TokenId first = 3; first < 20; ++first) {
    const Result result = RunOne(engine.get(), GreedyRequest({first, 5, 9}, 40));
    EXPECT_EQ(result.samples.at(0).token_ids, Greedy({first, 5, 9}, 40));
  }
}

TEST(EngineOutput, OutputEndsWithItsEosOrAtMaxTokens) {
  auto engine = MakeEngine();
  int stopped = 0;
  for (TokenId first = 3; first < 60; ++first) {
    const Sample sample = RunOne(engine.get(), GreedyRequest({first}, 50)).samples.at(0);
    if (sample.finish_reason == FinishReason::kStop) {
      ++stopped;
      EXPECT_EQ(sample.token_ids.back(), 2);
      EXPECT_EQ(std::get<TokenId>(sample.stop_reason), 2);
    } else {
      EXPECT_EQ(sample.finish_reason, FinishReason::kLength);
      EXPECT_EQ(sample.token_ids.size(), 50U);
      EXPECT_EQ(std::count(sample.token_ids.begin(), sample.token_ids.end(), 2), 0);
    }
  }
  EXPECT_GT(stopped, 5);
}

TEST(EngineOutput, StopIdsEndTheOutputAndAreNamed) {
  auto engine = MakeEngine();
  const std::vector<TokenId> expected = Greedy({7, 8}, 30);
  Request request = GreedyRequest({7, 8}, 30);
  request.sampling.stop_token_ids = {expected[3]};
  const Sample sample = RunOne(engine.get(), request).samples.at(0);
  const auto first = std::find(expected.begin(), expected.end(), expected[3]) - expected.begin();
  EXPECT_EQ(sample.token_ids, std::vector<TokenId>(expected.begin(), expected.begin() + first + 1));
  EXPECT_EQ(std::get<TokenId>(sample.stop_reason), expected[3]);
}

TEST(EngineOutput, WithoutMaxTokensTheOutputFillsTheLength) {
  GeneratorOptions options;
  options.max_length = 32;
  auto engine = MakeEngine(options);
  Request request = LongRequest(Counting(20), 1);
  request.sampling.max_tokens.reset();
  EXPECT_EQ(RunOne(engine.get(), request).samples.at(0).token_ids.size(), 12U);
}

TEST(EngineOutput, AMaxTokensThatNobodySetIsClippedToWhatFits) {
  GeneratorOptions options;
  options.max_length = 32;
  options.max_cached_tokens = 64;
  auto engine = MakeEngine(options);
  Request request = LongRequest(Counting(20), 256);
  request.clip_max_tokens = true;
  EXPECT_EQ(RunOne(engine.get(), request).samples.at(0).token_ids.size(), 12U);
  request.sampling.n = 3;
  request.sampling.temperature = 1;
  EXPECT_EQ(RunOne(engine.get(), request).samples.at(0).token_ids.size(), 1U) << "three of 21 tokens in 64";
  request.sampling.n = 1;
  request.prompt = Counting(32);
  EXPECT_THROW(RunOne(engine.get(), request), Error) << "nothing is left";
  request.clip_max_tokens = false;
  request.prompt = Counting(20);
  EXPECT_THROW(RunOne(engine.get(), request), Error);
}

TEST(EngineOutput, SamplesShareOnePrefillAndEachIsItsOwnStream) {
  auto engine = MakeEngine();
  const Result three = RunOne(engine.get(), Drawn(Counting(50), 20, 11, 3));
  const Stats stats = engine->stats();
  EXPECT_EQ(stats.prompt_tokens, 50U);
  ASSERT_EQ(three.samples.size(), 3U);
  EXPECT_NE(three.samples[0].token_ids, three.samples[1].token_ids);
  EXPECT_NE(three.samples[1].token_ids, three.samples[2].token_ids);
  const Result one = RunOne(engine.get(), Drawn(Counting(50), 20, 11, 1));
  EXPECT_EQ(one.samples[0].token_ids, three.samples[0].token_ids) << "sample 0 does not depend on n";
}

TEST(EngineOutput, SeedDecidesTheDrawAndIsReported) {
  auto engine = MakeEngine();
  const Result first = RunOne(engine.get(), Drawn({5, 6}, 20, 3));
  EXPECT_EQ(first.seed, 3U);
  EXPECT_EQ(first.samples[0].token_ids, RunOne(engine.get(), Drawn({5, 6}, 20, 3)).samples[0].token_ids);
  Request request = Drawn({5, 6}, 20, 0);
  request.sampling.seed.reset();
  const Result unseeded = RunOne(engine.get(), request);
  EXPECT_EQ(RunOne(engine.get(), Drawn({5, 6}, 20, unseeded.seed)).samples[0].token_ids, unseeded.samples[0].token_ids);
}

TEST(EngineOutput, NamedTokensAreReportedWithoutTheBest) {
  auto engine = MakeEngine();
  Request request = LongRequest({4, 5}, 2);
  request.sampling.logprob_token_ids = {90, 17};
  for (const int beams : {1, 3}) {
    request.sampling.num_beams = beams;
    const Sample sample = RunOne(engine.get(), request).samples.at(0);
    ASSERT_EQ(sample.logprobs.size(), 2U);
    std::vector<TokenId> sequence{4, 5};
    for (std::size_t i = 0; i < 2; ++i) {
      std::vector<float> row(97);
      PredictableBackend::Logits(Span<const TokenId>(sequence), Span<float>(row));
      double total = 0.0;
      for (const float logit : row) total += std::exp(static_cast<double>(logit));
      const auto& list = sample.logprobs[i];
      ASSERT_EQ(list.size(), 3U);
      EXPECT_EQ(list[0].token, sample.token_ids[i]);
      for (const std::size_t entry : {1U, 2U}) {
        const TokenId token = request.sampling.logprob_token_ids[entry - 1];
        EXPECT_EQ(list[entry].token, token);
        EXPECT_NEAR(list[entry].logprob, row[static_cast<std::size_t>(token)] - std::log(total), 1e-5);
      }
      sequence.push_back(sample.token_ids[i]);
    }
  }
}

TEST(EngineOutput, LogprobsAreOfTheUnprocessedLogits) {
  auto engine = MakeEngine();
  Request request = LongRequest({4, 5}, 6);
  request.sampling.logprobs = 2;
  const Sample sample = RunOne(engine.get(), request).samples.at(0);
  ASSERT_EQ(sample.logprobs.size(), 6U);
  std::vector<TokenId> sequence{4, 5};
  double sum = 0.0;
  for (std::size_t i = 0; i < 6; ++i) {
    std::vector<float> row(97);
    PredictableBackend::Logits(Span<const TokenId>(sequence), Span<float>(row));
    double total = 0.0;
    for (const float logit : row) total += std::exp(static_cast<double>(logit));
    const auto& list = sample.logprobs[i];
    ASSERT_EQ(list.size(), 3U);
    EXPECT_EQ(list[0].token, sample.token_ids[i]);
    EXPECT_EQ(list[0].rank, 1);
    EXPECT_NEAR(list[0].logprob, 4.0 - std::log(total), 1e-5);
    EXPECT_NEAR(list[2].logprob, 3.0 - std::log(total), 1e-5);
    sum += list[0].logprob;
    sequence.push_back(sample.token_ids[i]);
  }
  EXPECT_NEAR(sample.cumulative_logprob, sum, 1e-5);
}

void ExpectPromptLogprobs(const std::vector<TokenId>& prompt, std::size_t from, const Result& result) {
  ASSERT_EQ(result.prompt_logprobs.size(), prompt.size());
  for (std::size_t i = 0; i < prompt.size(); ++i) {
    const auto& list = result.prompt_logprobs[i];
    if (i < from) {
      EXPECT_TRUE(list.empty()) << i;
      continue;
    }
    std::vector<float> row(97);
    PredictableBackend::Logits(Span<const TokenId>(prompt.data(), i), Span<float>(row));
    double total = 0.0;
    for (const float logit : row) total += std::exp(static_cast<double>(logit));
    ASSERT_EQ(list.size(), 2U) << i;
    EXPECT_EQ(list[0].token, prompt[i]);
    EXPECT_NEAR(list[0].logprob, row[static_cast<std::size_t>(prompt[i])] - std::log(total), 1e-5) << i;
    EXPECT_NEAR(list[1].logprob, 4.0 - std::log(total), 1e-5);
  }
}

TEST(EngineOutput, PromptLogprobsAreExactHoweverThePromptIsCut) {
  for (const std::size_t rows : {std::size_t{1}, std::size_t{5}, std::size_t{1000}}) {
    EngineConfig config = CheckedConfig();
    config.options.max_batch = 1;
    config.prompt_logits_bytes = rows * 97 * sizeof(float);
    Engine engine(std::make_unique<PredictableBackend>(PredictableOptions{}), config);
    Request request = GreedyRequest(Counting(40), 3);
    request.sampling.prompt_logprobs = 1;
    ExpectPromptLogprobs(request.prompt, 1, RunOne(&engine, request));
  }
}

TEST(EngineOutput, ScoringFromAPositionReusesWhatLiesBefore) {
  auto engine = MakeEngine();
  const std::vector<TokenId> shared = Counting(40);
  RunOne(engine.get(), GreedyRequest(shared, 1));
  Request request = GreedyRequest(shared, 1);
  for (const TokenId token : {5, 6, 7}) request.prompt.push_back(token);
  request.sampling.prompt_logprobs = 1;
  request.prompt_logprobs_from = 40;
  const Result result = RunOne(engine.get(), request);
  EXPECT_EQ(result.cached_prompt_tokens, 39U) << "the logits of token 39 score token 40";
  ExpectPromptLogprobs(request.prompt, 40, result);
}

TEST(EngineOutput, BeamSearchOnTheEngineEqualsBeamSearchOnTheModel) {
  PredictableBackend reference({});
  for (const int width : {2, 4, 8}) {
    Request request = GreedyRequest(Counting(12), 10);
    request.sampling.num_beams = width;
    request.sampling.n = width;
    BeamSearch search(request.sampling, reference.model(), Span<const TokenId>(request.prompt), 10);
    std::vector<std::vector<TokenId>> beams{request.prompt};
    SamplingScratch scratch;
    while (true) {
      std::vector<float> logits(beams.size() * 97);
      for (std::size_t i = 0; i < beams.size(); ++i) {
        PredictableBackend::Logits(Span<const TokenId>(beams[i]), Span<float>(logits.data() + i * 97, 97));
      }
      search.Advance(Span<float>(logits), &scratch);
      if (search.done()) break;
      std::vector<std::vector<TokenId>> next;
      for (const BeamStep& step : search.steps()) {
        next.push_back(beams[static_cast<std::size_t>(step.parent)]);
        next.back().push_back(step.token);
      }
      beams = std::move(next);
    }
    const std::vector<Hypothesis> expected = search.TakeHypotheses();
    auto engine = MakeEngine();
    const Result result = RunOne(engine.get(), request);
    ASSERT_EQ(result.samples.size(), expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i) {
      EXPECT_EQ(result.samples[i].token_ids, expected[i].token_ids);
      EXPECT_EQ(result.samples[i].cumulative_logprob, expected[i].logprob);
    }
  }
}

TEST(EngineOutput, TextOfAResultIsTheTextOfItsTokens) {
  auto engine = TextEngine();
  for (TokenId first = 3; first < 40; ++first) {
    const Sample sample = RunOne(engine.get(), GreedyRequest({first}, 30)).samples.at(0);
    std::vector<TokenId> ids = sample.token_ids;
    if (sample.finish_reason == FinishReason::kStop) ids.pop_back();  // an ending id has no text
    EXPECT_EQ(sample.text, engine->vocabulary()->Decode(Span<const TokenId>(ids)));
  }
}

TEST(EngineOutput, StopTextEndsTheOutputBeforeItself) {
  auto engine = TextEngine();
  const Sample whole = RunOne(engine.get(), LongRequest({9, 9}, 40)).samples.at(0);
  const std::string stop = whole.text.substr(20, 3);
  Request request = LongRequest({9, 9}, 40);
  request.sampling.stop = {stop, "never"};
  const Sample cut = RunOne(engine.get(), request).samples.at(0);
  EXPECT_EQ(cut.text, whole.text.substr(0, whole.text.find(stop)));
  EXPECT_EQ(cut.finish_reason, FinishReason::kStop);
  EXPECT_EQ(std::get<std::string>(cut.stop_reason), stop);
  EXPECT_LT(cut.token_ids.size(), 40U) << "it stops when the text does";
  request.sampling.include_stop_str_in_output = true;
  EXPECT_EQ(RunOne(engine.get(), request).samples.at(0).text, cut.text + stop);
}

TEST(EngineOutput, AStopTextThatLooksLikeTheEosIdIsNotTakenForIt) {
  auto engine = TextEngine();  // its token 50 is the text "2", and its eos is the id 2
  for (TokenId first = 3; first < 40; ++first) {
    Request request = GreedyRequest({first}, 60);
    request.sampling.stop = {"2"};
    const Sample sample = RunOne(engine.get(), request).samples.at(0);
    if (sample.finish_reason != FinishReason::kStop) continue;
    const bool by_id = sample.token_ids.back() == 2;
    EXPECT_EQ(sample.stop_reason, by_id ? StopReason(TokenId{2}) : StopReason(std::string("2")));
  }
}

TEST(EngineOutput, BeamsEndWhereASampleWithTheirTokensWould) {
  auto engine = TextEngine();
  Request request = LongRequest({9, 9}, 24);
  request.sampling.num_beams = 4;
  request.sampling.n = 4;
  const Result free_run = RunOne(engine.get(), request);
  // Two bytes of two tokens, so that the text crosses their border; the first beam's may be in the others, too.
  const std::string stop = free_run.samples.at(0).text.substr(10, 2);
  for (const bool included : {false, true}) {
    request.sampling.stop = {"never", stop};
    request.sampling.include_stop_str_in_output = included;
    request.sampling.logprobs = 2;
    int stopped = 0;
    for (const Sample& sample : RunOne(engine.get(), request).samples) {
      const std::string whole = engine->vocabulary()->Decode(Span<const TokenId>(sample.token_ids));
      const std::size_t found = whole.find(stop);
      const bool has_stop = found != std::string::npos;
      EXPECT_EQ(sample.finish_reason, has_stop ? FinishReason::kStop : FinishReason::kLength);
      EXPECT_EQ(sample.stop_reason, has_stop ? StopReason(stop) : StopReason());
      EXPECT_EQ(sample.text, has_stop ? whole.substr(0, found) + (included ? stop : "") : whole);
      EXPECT_EQ(sample.logprobs.size(), sample.token_ids.size());
      stopped += has_stop;
    }
    EXPECT_GT(stopped, 0);
  }
}

}  // namespace
}  // namespace skywork_rt
