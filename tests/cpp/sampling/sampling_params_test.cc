#include "skywork_rt/sampling.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "skywork_rt/error.h"

namespace skywork_rt {
namespace {

constexpr int kVocab = 100;
constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

using Change = std::function<void(SamplingParams*)>;

void Accepts(const Change& change) {
  SamplingParams params;
  change(&params);
  EXPECT_NO_THROW(Validate(params, kVocab));
}

// The message must name the field and the value.
void Refuses(const Change& change, const std::vector<std::string>& mentions) {
  SamplingParams params;
  change(&params);
  try {
    Validate(params, kVocab);
    ADD_FAILURE() << "accepted: " << mentions[0];
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    for (const std::string& mention : mentions) {
      EXPECT_NE(std::string(error.what()).find(mention), std::string::npos) << error.what();
    }
  }
}

struct FloatField {
  const char* name;
  float SamplingParams::*member;
  std::vector<float> good;
  std::vector<float> bad;
};

TEST(Validate, BoundsEveryNumber) {
  const std::vector<FloatField> fields = {
      {"temperature", &SamplingParams::temperature, {0.0f, 1e-30f, 1.0f, 100.0f}, {-0.001f, -1.0f}},
      {"top_p", &SamplingParams::top_p, {1e-9f, 0.5f, 1.0f}, {0.0f, -0.5f, 1.0001f, 5.0f}},
      {"min_p", &SamplingParams::min_p, {0.0f, 0.5f, 1.0f}, {-0.1f, 1.01f}},
      {"typical_p", &SamplingParams::typical_p, {0.01f, 1.0f}, {0.0f, 1.5f, -1.0f}},
      {"repetition_penalty", &SamplingParams::repetition_penalty, {0.1f, 1.0f, 3.0f}, {0.0f, -1.0f}},
      {"presence_penalty", &SamplingParams::presence_penalty, {-2.0f, 0.0f, 2.0f}, {-2.01f, 2.01f}},
      {"frequency_penalty", &SamplingParams::frequency_penalty, {-2.0f, 0.0f, 2.0f}, {-2.01f, 2.01f}},
      {"length_penalty", &SamplingParams::length_penalty, {-3.0f, 0.0f, 2.0f}, {}},
  };
  for (const FloatField& field : fields) {
    for (const float value : field.good) Accepts([&](SamplingParams* p) { p->*field.member = value; });
    for (const float value : field.bad) Refuses([&](SamplingParams* p) { p->*field.member = value; }, {field.name});
    for (const float value : {kNan, -kNan, kInf, -kInf}) {
      Refuses([&](SamplingParams* p) { p->*field.member = value; }, {field.name, "must be"});
    }
  }
}

TEST(Validate, BoundsEveryCount) {
  Accepts([](SamplingParams* p) { p->max_tokens.reset(); });
  Accepts([](SamplingParams* p) { p->max_tokens = 1; });
  Refuses([](SamplingParams* p) { p->max_tokens = 0; }, {"max_tokens", "0"});
  Refuses([](SamplingParams* p) { p->min_tokens = -1; }, {"min_tokens", "-1"});
  Refuses([](SamplingParams* p) { p->max_tokens = 3, p->min_tokens = 4; }, {"min_tokens", "4", "3"});
  for (const int k : {-1, 0, 1, 1000}) Accepts([&](SamplingParams* p) { p->top_k = k; });
  Refuses([](SamplingParams* p) { p->top_k = -2; }, {"top_k", "-2"});
  Refuses([](SamplingParams* p) { p->no_repeat_ngram_size = -1; }, {"no_repeat_ngram_size", "-1"});
  Refuses([](SamplingParams* p) { p->n = 0; }, {"n is 0"});
  for (const int k : {0, kVocab}) {
    Accepts([&](SamplingParams* p) { p->logprobs = k; });
    Accepts([&](SamplingParams* p) { p->prompt_logprobs = k; });
  }
  for (const int k : {-1, kVocab + 1}) {
    Refuses([&](SamplingParams* p) { p->logprobs = k; }, {"logprobs", std::to_string(k)});
    Refuses([&](SamplingParams* p) { p->prompt_logprobs = k; }, {"prompt_logprobs", std::to_string(k)});
  }
}

TEST(Validate, BoundsEveryTokenId) {
  for (const TokenId token : {0, kVocab - 1}) {
    Accepts([&](SamplingParams* p) { p->logit_bias = {{token, 1.0f}}; });
    Accepts([&](SamplingParams* p) { p->bad_words_ids = {{token}}; });
    Accepts([&](SamplingParams* p) { p->stop_token_ids = {token}; });
  }
  for (const TokenId token : {-1, kVocab}) {
    const std::string number = std::to_string(token);
    Refuses([&](SamplingParams* p) { p->logit_bias = {{token, 1.0f}}; }, {"logit_bias[0]", number, "99"});
    Refuses([&](SamplingParams* p) { p->bad_words_ids = {{1}, {2, token}}; }, {"bad_words_ids[1]", number, "99"});
    Refuses([&](SamplingParams* p) { p->stop_token_ids = {3, token}; }, {"stop_token_ids[1]", number, "99"});
  }
  Refuses([](SamplingParams* p) { p->bad_words_ids = {{}}; }, {"bad_words_ids[0]", "empty"});
  Accepts([](SamplingParams* p) { p->logit_bias = {{4, -kInf}}; });
  Refuses([](SamplingParams* p) { p->logit_bias = {{4, kInf}}; }, {"logit_bias", "token 4"});
  Refuses([](SamplingParams* p) { p->logit_bias = {{4, kNan}}; }, {"logit_bias", "token 4"});
}

TEST(Validate, RefusesStopTextsThatCannotMatchText) {
  Accepts([](SamplingParams* p) { p->stop = {"\n\n", "你好"}; });
  Refuses([](SamplingParams* p) { p->stop = {"a", ""}; }, {"stop[1]", "empty"});
  Refuses([](SamplingParams* p) { p->stop = {"\xE4\xBD"}; }, {"stop[0]", "UTF-8"});
}

TEST(Validate, BoundsTheLengthOfEveryList) {
  Accepts([](SamplingParams* p) { p->stop = std::vector<std::string>(256, std::string(4096, 'a')); });
  Refuses([](SamplingParams* p) { p->stop = std::vector<std::string>(257, "a"); },
          {"stop has 257 texts", "at most 256"});
  Refuses(
      [](SamplingParams* p) {
        p->stop = {"a", std::string(4097, 'a')};
      },
      {"stop[1] has 4097 bytes", "at most 4096"});
  Accepts([](SamplingParams* p) { p->stop_token_ids = std::vector<TokenId>(kVocab, 1); });
  Refuses([](SamplingParams* p) { p->stop_token_ids = std::vector<TokenId>(kVocab + 1, 1); },
          {"stop_token_ids has 101 ids", "at most 100"});
  Refuses(
      [](SamplingParams* p) {
        p->logit_bias.assign(kVocab + 1, {1, 1.0f});
      },
      {"logit_bias has 101", "at most 100"});
  Accepts([](SamplingParams* p) { p->bad_words_ids.assign(16384, std::vector<TokenId>{1}); });
  Refuses([](SamplingParams* p) { p->bad_words_ids.assign(16385, {1}); },
          {"bad_words_ids has 16385 sequences", "at most 16384"});
  Refuses(
      [](SamplingParams* p) {
        p->bad_words_ids = {{1}, std::vector<TokenId>(257, 1)};
      },
      {"bad_words_ids[1] has 257 ids", "at most 256"});
}

TEST(Validate, RefusesWhatBeamSearchCannotDo) {
  const auto beams = [](const Change& change) {
    return [=](SamplingParams* p) {
      p->num_beams = 4;
      p->temperature = 0.0f;
      change(p);
    };
  };
  Accepts(beams([](SamplingParams* p) { p->n = 4; }));
  Refuses(beams([](SamplingParams* p) { p->n = 5; }), {"n is 5", "num_beams"});
  Refuses(beams([](SamplingParams* p) { p->temperature = 1.0f; }), {"temperature", "num_beams"});
  Refuses(beams([](SamplingParams* p) { p->num_beams = 0; }), {"num_beams", "0"});
  Refuses(beams([](SamplingParams* p) { p->num_beams = kVocab; }), {"num_beams", "100"});
  Accepts(beams([](SamplingParams* p) { p->stop = {"x"}; }));
  Accepts(beams([](SamplingParams* p) { p->logprobs = 1; }));
}

}  // namespace
}  // namespace skywork_rt
