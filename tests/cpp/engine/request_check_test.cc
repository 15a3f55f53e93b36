#include "engine/request_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "engine/engine_fixture.h"

namespace skywork_rt {
namespace {

using ::testing::HasSubstr;

class RequestCheckTest : public ::testing::Test {
 protected:
  RequestCheckTest() {
    model_.vocab_size = 97;
    model_.max_length = 64;
    limits_.model = &model_;
    options_.max_length = 64;
    options_.max_cached_tokens = 100;
    options_.max_batch = 4;
    limits_.options = &options_;
    limits_.can_fork = true;
    limits_.has_vocabulary = true;
  }

  ErrorCode Check(const std::function<void(Request*)>& change) {
    Request request = GreedyRequest({1, 2, 3}, 10);
    change(&request);
    return CodeOf([&] { CheckRequest(request, limits_); }, &message_);
  }

  ModelSpec model_;
  GeneratorOptions options_;
  RequestLimits limits_;
  std::string message_;
};

TEST_F(RequestCheckTest, ReservationIsPromptPlusMaxTokens) {
  EXPECT_EQ(CheckRequest(GreedyRequest({1, 2, 3}, 10), limits_), 13U);
  Request open = GreedyRequest({1, 2, 3}, 10);
  open.sampling.max_tokens.reset();
  EXPECT_EQ(CheckRequest(open, limits_), 64U) << "no max_tokens: what the length leaves";
}

TEST_F(RequestCheckTest, EmptyPromptIsRefused) {
  EXPECT_EQ(Check([](Request* r) { r->prompt.clear(); }), ErrorCode::kInvalidArgument);
  EXPECT_THAT(message_, HasSubstr("empty"));
}

TEST_F(RequestCheckTest, LogprobsAreBoundedByTheGeneratorsOption) {
  EXPECT_EQ(options_.max_logprobs, 20) << "the default";
  for (const auto field : {&SamplingParams::logprobs, &SamplingParams::prompt_logprobs}) {
    Request most = GreedyRequest({1, 2, 3}, 10);
    most.sampling.*field = 20;
    EXPECT_EQ(CheckRequest(most, limits_), 13U);
    EXPECT_EQ(Check([&](Request* r) { r->sampling.*field = 21; }), ErrorCode::kInvalidArgument);
    EXPECT_THAT(message_, HasSubstr("logprobs is 21, but max_logprobs is 20"));
  }
  Request named = GreedyRequest({1, 2, 3}, 10);
  named.sampling.logprob_token_ids.assign(20, 5);
  EXPECT_EQ(CheckRequest(named, limits_), 13U);
  EXPECT_EQ(Check([](Request* r) { r->sampling.logprob_token_ids.assign(21, 5); }), ErrorCode::kInvalidArgument);
  EXPECT_THAT(message_, HasSubstr("logprob_token_ids has 21 ids, but max_logprobs is 20"));
  EXPECT_EQ(Check([](Request* r) { r->sampling.logprob_token_ids = {1, 97}; }), ErrorCode::kInvalidArgument);
  EXPECT_THAT(message_, HasSubstr("logprob_token_ids[1] is 97"));
  options_.max_logprobs = 0;
  EXPECT_EQ(Check([](Request* r) { r->sampling.prompt_logprobs = 1; }), ErrorCode::kInvalidArgument);
  Request scored = GreedyRequest({1, 2, 3}, 10);
  scored.sampling.prompt_logprobs = 0;
  EXPECT_EQ(CheckRequest(scored, limits_), 13U) << "scores stay possible";
  options_.max_logprobs = -1;
  scored.sampling.prompt_logprobs = model_.vocab_size;
  EXPECT_EQ(CheckRequest(scored, limits_), 13U) << "no bound but the vocabulary";
}

TEST_F(RequestCheckTest, TokenOutOfRangeIsNamedWithItsPlace) {
  EXPECT_EQ(Check([](Request* r) { r->prompt[2] = 97; }), ErrorCode::kInvalidArgument);
  EXPECT_THAT(message_, HasSubstr("prompt[2] is 97"));
  EXPECT_THAT(message_, HasSubstr("0 to 96"));
  EXPECT_EQ(Check([](Request* r) { r->prompt[0] = -1; }), ErrorCode::kInvalidArgument);
  EXPECT_THAT(message_, HasSubstr("prompt[0] is -1"));
}

TEST_F(RequestCheckTest, LengthIsRefusedWithTheSum) {
  EXPECT_EQ(Check([](Request* r) { r->sampling.max_tokens = 62; }), ErrorCode::kInvalidArgument);
  EXPECT_THAT(message_, HasSubstr("3 + 62 = 65"));
  EXPECT_THAT(message_, HasSubstr("at most 61"));
  EXPECT_EQ(Check([](Request* r) { r->sampling.max_tokens = 61; }), static_cast<ErrorCode>(0));
  EXPECT_EQ(Check([](Request* r) { r->prompt = Counting(65); }), ErrorCode::kInvalidArgument);
  EXPECT_THAT(message_, HasSubstr("65 tokens"));
  EXPECT_EQ(Check([](Request* r) {
              r->prompt = Counting(64);
              r->sampling.max_tokens.reset();
            }),
            ErrorCode::kInvalidArgument)
      << "no room for one token";
}

TEST_F(RequestCheckTest, SamplingParametersAreValidatedToo) {
  EXPECT_EQ(Check([](Request* r) { r->sampling.temperature = -1.0f; }), ErrorCode::kInvalidArgument);
  EXPECT_THAT(message_, HasSubstr("temperature"));
}

TEST_F(RequestCheckTest, WhatCouldNeverFitIsRefusedAtOnce) {
  const auto drawn = [](Request* r, int n, int max_tokens) {
    r->sampling.temperature = 1.0f;
    r->sampling.n = n;
    r->sampling.max_tokens = max_tokens;
  };
  EXPECT_EQ(Check([&](Request* r) { drawn(r, 5, 10); }), ErrorCode::kCapacity);
  EXPECT_THAT(message_, HasSubstr("n is 5"));
  EXPECT_THAT(message_, HasSubstr("at most 4"));
  EXPECT_EQ(Check([&](Request* r) { drawn(r, 4, 23); }), ErrorCode::kCapacity);
  EXPECT_THAT(message_, HasSubstr("4 x 26"));
  EXPECT_EQ(Check([&](Request* r) { drawn(r, 4, 22); }), static_cast<ErrorCode>(0));
}

TEST_F(RequestCheckTest, WhatTheBackendCannotDoIsRefusedByName) {
  limits_.can_fork = false;
  EXPECT_EQ(Check([](Request* r) {
              r->sampling.temperature = 1.0f;
              r->sampling.n = 2;
            }),
            ErrorCode::kUnsupported);
  EXPECT_THAT(message_, HasSubstr("can_fork"));
  EXPECT_EQ(Check([](Request* r) { r->sampling.num_beams = 2; }), ErrorCode::kUnsupported);
  EXPECT_THAT(message_, HasSubstr("num_beams is 2"));
}

TEST_F(RequestCheckTest, StopTextsNeedAVocabulary) {
  limits_.has_vocabulary = false;
  EXPECT_EQ(Check([](Request* r) { r->sampling.stop = {"x"}; }), ErrorCode::kUnsupported);
  EXPECT_THAT(message_, HasSubstr("vocabulary"));
}

TEST_F(RequestCheckTest, DeadlineMustBePositiveAndFinite) {
  for (const std::int64_t bad : {std::int64_t{0}, std::int64_t{-5}, std::numeric_limits<std::int64_t>::max()}) {
    EXPECT_EQ(Check([&](Request* r) { r->deadline = std::chrono::milliseconds(bad); }), ErrorCode::kInvalidArgument);
    EXPECT_THAT(message_, HasSubstr(std::to_string(bad)));
  }
}

TEST_F(RequestCheckTest, ScoringMustStartInsideThePrompt) {
  EXPECT_EQ(Check([](Request* r) {
              r->sampling.prompt_logprobs = 0;
              r->prompt_logprobs_from = 4;
            }),
            ErrorCode::kInvalidArgument);
  EXPECT_THAT(message_, HasSubstr("prompt_logprobs_from is 4"));
}

}  // namespace
}  // namespace skywork_rt
