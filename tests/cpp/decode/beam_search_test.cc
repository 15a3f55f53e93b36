#include "decode/beam_search.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "sampling/rows.h"
#include "skywork_rt/error.h"

namespace skywork_rt {
namespace {

using Json = nlohmann::json;

// The model of tests/golden/make_beam.py: logits are a plain function of the prefix, exact in float32.
class PrefixModel {
 public:
  explicit PrefixModel(int vocab_size) : vocab_size_(static_cast<std::size_t>(vocab_size)) {}

  void Append(const std::vector<TokenId>& prefix, std::vector<float>* logits) const {
    std::uint32_t state = 0x9E3779B9;
    for (const TokenId token : prefix) state = Mix(state * 31 + static_cast<std::uint32_t>(token) + 1);
    for (std::uint32_t token = 0; token < vocab_size_; ++token) {
      const std::uint32_t bits = Mix(token * 0x9E3779B1 + state);
      logits->push_back(static_cast<float>(((bits & 0xFFFF) * (bits >> 16)) >> 16) / 4096.0f);
    }
  }

 private:
  static std::uint32_t Mix(std::uint32_t x) {
    x = (x ^ (x >> 16)) * 0x7FEB352D;
    x = (x ^ (x >> 15)) * 0x846CA68B;
    return x ^ (x >> 16);
  }

  std::size_t vocab_size_;
};

// Drives a search as the engine does: every step's beams are the parents' sequences with one token more.
std::vector<Hypothesis> Search(const SamplingParams& params, const ModelSpec& spec, const std::vector<TokenId>& prompt,
                               int max_tokens, std::unique_ptr<BeamEnding> ending = nullptr) {
  const PrefixModel model(spec.vocab_size);
  BeamSearch search(params, spec, prompt, max_tokens, std::move(ending));
  std::vector<std::vector<TokenId>> sequences = {prompt};
  SamplingScratch scratch;
  while (true) {
    std::vector<float> logits;
    for (const std::vector<TokenId>& sequence : sequences) model.Append(sequence, &logits);
    search.Advance(logits, &scratch);
    if (search.done()) break;
    EXPECT_EQ(search.steps().size(), static_cast<std::size_t>(search.width()));
    std::vector<std::vector<TokenId>> next;
    for (const BeamStep& step : search.steps()) {
      next.push_back(sequences[static_cast<std::size_t>(step.parent)]);
      next.back().push_back(step.token);
    }
    sequences = std::move(next);
  }
  EXPECT_TRUE(search.steps().empty());
  return search.TakeHypotheses();
}

// Two letters a token; ends a beam when its last token completes a stop text.
class LetterEnding final : public BeamEnding {
 public:
  explicit LetterEnding(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  bool Ends(std::size_t parent, TokenId token) override {
    const std::string text = texts_[parent] + Letters(token);
    for (const std::string& stop : stops_) {
      const std::size_t found = text.find(stop);
      if (found == std::string::npos) continue;
      EXPECT_GT(found + stop.size(), texts_[parent].size()) << "a beam ran on after it had ended";
      return true;
    }
    return false;
  }

  void Follow(Span<const BeamStep> steps) override {
    std::vector<std::string> next;
    for (const BeamStep& step : steps) {
      next.push_back(texts_[static_cast<std::size_t>(step.parent)] + Letters(step.token));
    }
    texts_ = std::move(next);
  }

 private:
  static std::string Letters(TokenId token) {
    return {static_cast<char>('a' + token / 11), static_cast<char>('a' + token % 11)};
  }

  std::vector<std::string> stops_;
  std::vector<std::string> texts_ = {""};
};

std::unique_ptr<BeamEnding> Ending(const Json& item) {
  if (!item.contains("stop")) return nullptr;
  return std::make_unique<LetterEnding>(item["stop"].get<std::vector<std::string>>());
}

TEST(BeamSearch, GivesTheHypothesesOfTransformers) {
  std::ifstream file(std::string(SKYWORK_RT_GOLDEN_DIR) + "/beam.json");
  ASSERT_TRUE(file) << "tests/golden/beam.json is missing";
  const Json golden = Json::parse(file);
  ASSERT_GT(golden["cases"].size(), 100u);
  int ended_by_text = 0;
  for (const Json& item : golden["cases"]) {
    SamplingParams params;
    params.temperature = 0.0f;
    params.num_beams = item["num_beams"];
    params.n = params.num_beams;
    params.length_penalty = item["length_penalty"];
    params.early_stopping = item["early_stopping"];
    params.repetition_penalty = item["repetition_penalty"];
    params.no_repeat_ngram_size = item["no_repeat_ngram_size"];
    params.min_tokens = item["min_tokens"];
    ModelSpec model;
    model.vocab_size = item["vocab_size"];
    model.eos_ids = item["eos_ids"].get<std::vector<TokenId>>();
    Validate(params, model.vocab_size);
    const std::vector<Hypothesis> actual =
        Search(params, model, item["prompt"].get<std::vector<TokenId>>(), item["max_tokens"], Ending(item));
    Json question = item;
    question.erase("hypotheses");
    SCOPED_TRACE(question.dump());
    ASSERT_EQ(actual.size(), item["hypotheses"].size());
    for (std::size_t i = 0; i < actual.size(); ++i) {
      const Json& expected = item["hypotheses"][i];
      EXPECT_EQ(actual[i].token_ids, expected["token_ids"].get<std::vector<TokenId>>()) << "hypothesis " << i;
      const double score = expected["score"];
      EXPECT_NEAR(actual[i].score, score, 2e-6 * std::abs(score) + 1e-5) << "hypothesis " << i;
      const std::vector<TokenId>& eos = model.eos_ids;
      const bool by_id = std::find(eos.begin(), eos.end(), actual[i].token_ids.back()) != eos.end();
      EXPECT_EQ(actual[i].end == Hypothesis::End::kStopId, by_id);
      ended_by_text += actual[i].end == Hypothesis::End::kEnding;
    }
  }
  EXPECT_GT(ended_by_text, 50);
}

// The path's own log-probabilities, whatever penalties the search itself goes by.
TEST(BeamSearch, ReportsTheLogprobsOfTheChosenPath) {
  for (const float penalty : {1.0f, 1.3f}) {
    SamplingParams params;
    params.temperature = 0.0f;
    params.num_beams = 4;
    params.repetition_penalty = penalty;
    params.logprobs = 3;
    ModelSpec spec;
    spec.vocab_size = 60;
    spec.eos_ids = {5};
    const PrefixModel model(spec.vocab_size);
    LogprobRanker ranker;
    for (const Hypothesis& hypothesis : Search(params, spec, {1, 2}, 8)) {
      ASSERT_EQ(hypothesis.logprobs.size(), hypothesis.token_ids.size());
      std::vector<TokenId> prefix = {1, 2};
      double sum = 0.0;
      for (std::size_t i = 0; i < hypothesis.token_ids.size(); ++i) {
        std::vector<float> logits;
        model.Append(prefix, &logits);
        std::vector<TokenLogprob> expected;
        ranker.Rank(logits, hypothesis.token_ids[i], 3, &expected);
        const std::vector<TokenLogprob>& actual = hypothesis.logprobs[i];
        ASSERT_EQ(actual.size(), 4u);
        for (std::size_t j = 0; j < actual.size(); ++j) {
          EXPECT_EQ(actual[j].token, expected[j].token);
          EXPECT_EQ(actual[j].rank, expected[j].rank);
          EXPECT_NEAR(actual[j].logprob, expected[j].logprob, 2e-5);
        }
        sum += static_cast<double>(actual[0].logprob);
        prefix.push_back(hypothesis.token_ids[i]);
      }
      if (penalty == 1.0f) {
        EXPECT_NEAR(hypothesis.logprob, sum, 1e-4);
      }
    }
  }
}

struct Sentence {
  std::vector<TokenId> token_ids;
  double logprob;
};

// Every sequence that ends with the eos id 0 or has max_tokens tokens.
void Enumerate(const PrefixModel& model, const Sentence& prefix, std::size_t max_tokens, std::vector<Sentence>* all) {
  std::vector<float> logits;
  model.Append(prefix.token_ids, &logits);
  double sum = 0.0;
  for (const float x : logits) sum += std::exp(static_cast<double>(x));
  for (std::size_t token = 0; token < logits.size(); ++token) {
    Sentence longer = prefix;
    longer.token_ids.push_back(static_cast<TokenId>(token));
    longer.logprob += static_cast<double>(logits[token]) - std::log(sum);
    if (token == 0 || longer.token_ids.size() == max_tokens) {
      all->push_back(longer);
    } else {
      Enumerate(model, longer, max_tokens, all);
    }
  }
}

// With a beam for every sequence nothing is ever dropped, so the result must be that of looking at all of them.
TEST(BeamSearch, AsWideAsTheTreeIsExhaustive) {
  for (const int vocab_size : {3, 4, 6}) {
    for (const float penalty : {0.0f, 1.0f, 1.5f}) {
      constexpr std::size_t kMaxTokens = 4;
      std::vector<Sentence> all;
      Enumerate(PrefixModel(vocab_size), {{}, 0.0}, kMaxTokens, &all);
      const auto score = [&](const Sentence& s) {
        return s.logprob / std::pow(static_cast<double>(s.token_ids.size()), static_cast<double>(penalty));
      };
      std::sort(all.begin(), all.end(), [&](const Sentence& a, const Sentence& b) { return score(a) > score(b); });
      SamplingParams params;
      params.temperature = 0.0f;
      params.length_penalty = penalty;
      params.num_beams = static_cast<int>(std::pow(vocab_size, kMaxTokens));
      ModelSpec model;
      model.vocab_size = vocab_size;
      model.eos_ids = {0};
      const std::vector<Hypothesis> actual = Search(params, model, {}, kMaxTokens);
      ASSERT_EQ(actual.size(), all.size());
      for (std::size_t i = 0; i < all.size(); ++i) {
        ASSERT_NEAR(actual[i].score, score(all[i]), 1e-4);
        ASSERT_NEAR(actual[i].logprob, all[i].logprob, 1e-4);
      }
      EXPECT_EQ(actual[0].token_ids, all[0].token_ids);
    }
  }
}

TEST(BeamSearch, RunsOnWithFewerBeamsWhereBansLeaveFew) {
  SamplingParams params;
  params.temperature = 0.0f;
  params.num_beams = 4;
  params.bad_words_ids = {{0}, {1}, {2}, {3}, {4}, {5}, {6}, {7}};
  ModelSpec model;
  model.vocab_size = 10;
  model.eos_ids = {0};
  const std::vector<Hypothesis> hypotheses = Search(params, model, {1}, 3);
  ASSERT_EQ(hypotheses.size(), 4u);
  for (const Hypothesis& hypothesis : hypotheses) {
    EXPECT_EQ(hypothesis.token_ids.size(), 3u);
    EXPECT_TRUE(std::isfinite(hypothesis.score));
    for (const TokenId token : hypothesis.token_ids) EXPECT_GE(token, 8);
  }
}

TEST(BeamSearch, RefusesRowsThatAreNoRows) {
  SamplingParams params;
  params.temperature = 0.0f;
  params.num_beams = 2;
  ModelSpec model;
  model.vocab_size = 10;
  BeamSearch search(params, model, {}, 5);
  SamplingScratch scratch;
  std::vector<float> row(10, 0.0f);
  row[4] = testing::kNan;
  try {
    search.Advance(row, &scratch);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kBackend);
    EXPECT_NE(std::string(error.what()).find("beam 0"), std::string::npos) << error.what();
  }
  std::vector<float> short_row(9, 0.0f);
  EXPECT_THROW(search.Advance(short_row, &scratch), Error);
  params.bad_words_ids = {{0}, {1}, {2}};
  model.vocab_size = 3;
  BeamSearch banned(params, model, {}, 5);
  std::vector<float> zeros(3, 0.0f);
  EXPECT_THROW(banned.Advance(zeros, &scratch), Error);
}

}  // namespace
}  // namespace skywork_rt
