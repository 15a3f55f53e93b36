// The whole engine on the reference device: what requests come to, and what the device was fed on the way.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <thread>

#include "ascend/reference_device.h"
#include "skywork_rt/error.h"
#include "skywork_rt/generator.h"

namespace skywork_rt::ascend {
namespace {

using testing::HasSubstr;

class EngineOnDevice : public testing::TestWithParam<Form> {
 protected:
  void SetUp() override { Start({}); }

  void Start(const DeviceLimits& limits) {
    generator_.reset();
    recording_ = {};
    auto backend = std::make_unique<DeviceCacheBackend>(
        model_, ReferenceForm(GetParam()), limits, OpenReferenceDevice(model_, ReferenceForm(GetParam()), &recording_));
    generator_ = std::make_unique<Generator>(std::move(backend), GeneratorOptions{});
  }

  static Request Asking(std::vector<TokenId> prompt, int max_tokens) {
    Request request;
    request.prompt = std::move(prompt);
    request.sampling.temperature = 0.0f;
    request.sampling.max_tokens = max_tokens;
    request.sampling.ignore_eos = true;
    return request;
  }

  static std::vector<TokenId> PromptOf(int number, std::size_t length) {
    std::vector<TokenId> prompt;
    for (std::size_t i = 0; i < length; ++i) prompt.push_back(static_cast<TokenId>((number * 13 + i * 7) % 98 + 3));
    return prompt;
  }

  void ExpectAll(int count) {
    std::vector<Request> requests;
    for (int i = 0; i < count; ++i)
      requests.push_back(Asking(PromptOf(i, 3 + 5 * static_cast<std::size_t>(i)), 4 + 3 * i));
    const std::vector<Result> results = generator_->Generate(requests);
    for (int i = 0; i < count; ++i) {
      const auto index = static_cast<std::size_t>(i);
      EXPECT_EQ(results[index].samples[0].token_ids, GreedyBehind(model_, requests[index].prompt, 4 + 3 * index))
          << "request " << i << " of " << count;
    }
  }

  ErrorCode Refused(const Request& request, std::string* message) {
    try {
      generator_->Check(request);
    } catch (const Error& error) {
      *message = error.what();
      return error.code();
    }
    return static_cast<ErrorCode>(0);
  }

  const ModelSpec model_ = ReferenceModel();
  Recording recording_;
  std::unique_ptr<Generator> generator_;
};

TEST_P(EngineOnDevice, BatchesOfOneTwoAndFiveInGearsOfFour) {
  for (const int count : {1, 2, 5}) {
    Start({});
    ExpectAll(count);
    for (const RecordedCall& call : recording_.calls) {
      EXPECT_TRUE(call.valid_lengths.size() == 1 || call.valid_lengths.size() == 4);
      if (!call.full) continue;
      const auto longest = *std::max_element(call.valid_lengths.begin(), call.valid_lengths.end());
      EXPECT_EQ(call.tokens_shape[1], longest > 16 ? 64 : 16) << "the smallest gear that holds " << longest;
    }
  }
}

TEST_P(EngineOnDevice, RequestsThatComeWhileOthersRunComeToTheSame) {
  std::vector<RequestHandle> handles;
  std::vector<Request> requests;
  for (int i = 0; i < 12; ++i) {
    requests.push_back(Asking(PromptOf(i, 1 + static_cast<std::size_t>(i * 5 % 40)), 1 + i % 7));
    handles.push_back(generator_->Submit(requests.back()));
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  for (std::size_t i = 0; i < handles.size(); ++i) {
    EXPECT_EQ(handles[i].Get().samples[0].token_ids,
              GreedyBehind(model_, requests[i].prompt, static_cast<std::size_t>(*requests[i].sampling.max_tokens)));
  }
}

TEST_P(EngineOnDevice, ACancelledRequestLeavesTheOthersAsTheyAre) {
  recording_.before_call = [] { std::this_thread::sleep_for(std::chrono::milliseconds(2)); };
  std::vector<RequestHandle> handles;
  std::vector<Request> requests;
  for (int i = 0; i < 4; ++i) {
    requests.push_back(Asking(PromptOf(i, 5), 30));
    handles.push_back(generator_->Submit(requests.back()));
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(15));
  handles[0].Cancel();
  handles[2].Cancel();
  for (const std::size_t i : {1u, 3u}) {
    EXPECT_EQ(handles[i].Get().samples[0].token_ids, GreedyBehind(model_, requests[i].prompt, 30));
  }
  EXPECT_THROW(handles[0].Get(), Error);
}

TEST_P(EngineOnDevice, AnEosEndsOneRowEarlyAndTheOthersGoOn) {
  // The first greedy token of one of the requests stops it.
  Request stopped = Asking(PromptOf(1, 6), 20);
  stopped.sampling.stop_token_ids = {GreedyBehind(model_, stopped.prompt, 3)[2]};
  const Request other = Asking(PromptOf(2, 6), 20);
  const std::vector<Result> results = generator_->Generate({stopped, other});
  EXPECT_LE(results[0].samples[0].token_ids.size(), 3u);
  EXPECT_EQ(results[1].samples[0].token_ids, GreedyBehind(model_, other.prompt, 20));
}

TEST_P(EngineOnDevice, PromptsAreReadWholeHoweverSmallTheBudget) {
  generator_.reset();
  recording_ = {};
  GeneratorOptions options;
  options.prefill_budget = 4;
  generator_ = std::make_unique<Generator>(
      std::make_unique<DeviceCacheBackend>(model_, ReferenceForm(GetParam()), DeviceLimits{},
                                           OpenReferenceDevice(model_, ReferenceForm(GetParam()), &recording_)),
      options);
  ExpectAll(5);
  std::size_t read = 0;
  for (const RecordedCall& call : recording_.calls) read += call.full ? 1 : 0;
  EXPECT_LE(read, 5u) << "no prompt took two calls";
}

TEST_P(EngineOnDevice, TheSamePromptTwiceIsReadTwice) {
  ExpectAll(1);
  ExpectAll(1);
  const auto full = [](const RecordedCall& call) { return call.full; };
  EXPECT_EQ(std::count_if(recording_.calls.begin(), recording_.calls.end(), full), 2)
      << "the cache of a prompt is never begun from another's";
  EXPECT_FALSE(generator_->options().prefix_cache);
  EXPECT_EQ(generator_->options().device, "ascend");
}

TEST_P(EngineOnDevice, ForksAreRefusedByName) {
  std::string message;
  Request request = Asking({5}, 4);
  request.sampling.n = 2;
  EXPECT_EQ(Refused(request, &message), ErrorCode::kUnsupported);
  EXPECT_THAT(message, HasSubstr("can_fork"));
  request.sampling.n = 1;
  request.sampling.num_beams = 3;
  EXPECT_EQ(Refused(request, &message), ErrorCode::kUnsupported);
}

TEST_P(EngineOnDevice, WhatOnlyTheFormAssignCannotDoIsRefusedByName) {
  std::string message;
  Request scored = Asking({5, 6, 7}, 1);
  scored.sampling.prompt_logprobs = 1;
  const bool assign = GetParam() == Form::kAssign;
  EXPECT_EQ(Refused(scored, &message), assign ? ErrorCode::kUnsupported : static_cast<ErrorCode>(0));
  if (assign) {
    EXPECT_THAT(message, HasSubstr("only_last_logits"));
  } else {
    EXPECT_EQ(generator_->Generate({scored})[0].samples[0].token_ids, GreedyBehind(model_, scored.prompt, 1));
  }
}

TEST_P(EngineOnDevice, AFailingCallLosesItsRequestsAndTheNextBatchIsFine) {
  recording_.fail_call = 2;
  EXPECT_THROW(generator_->Generate({Asking(PromptOf(1, 4), 9)}), Error);
  ExpectAll(4);
}

INSTANTIATE_TEST_SUITE_P(Forms, EngineOnDevice, testing::Values(Form::kAssign, Form::kIndexed, Form::kPaged),
                         [](const auto& form) { return std::string(NameOf(form.param)); });

}  // namespace
}  // namespace skywork_rt::ascend
