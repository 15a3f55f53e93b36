// The form assign: what its graphs are fed, call by call, and what it refuses.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ascend/device_harness.h"

namespace skywork_rt::ascend {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

template <typename F>
std::string Refusal(ErrorCode code, F&& f) {
  try {
    f();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "accepted";
  return "";
}

TEST(AssignFeeds, ABatchOfOneHasTheGearOfOneFromItsPromptToItsEnd) {
  DeviceHarness device(Form::kAssign);
  const SeqId seq = device.Open();
  device.Step({{seq, {11, 12, 13}}});
  EXPECT_TRUE(device.last().full);
  EXPECT_THAT(device.last().tokens_shape, ElementsAre(1, 16));
  EXPECT_EQ(device.last().tokens, Padded<std::int32_t>({11, 12, 13}, 16, 0));
  EXPECT_THAT(device.last().valid_lengths, ElementsAre(3));
  for (TokenId token = 14; token < 30; ++token) device.Step({{seq, {token}}});
  EXPECT_THAT(device.last().tokens, ElementsAre(29));
  EXPECT_THAT(device.last().valid_lengths, ElementsAre(19));
  EXPECT_EQ(device.last().active_length, 64) << "19 positions are past the gear of 16";
}

TEST(AssignFeeds, ABatchOfTwoKeepsItsFourRowsWhenOneEndsEarly) {
  DeviceHarness device(Form::kAssign);
  const SeqId a = device.Open();
  const SeqId b = device.Open();
  device.Step({{a, {11, 12}}, {b, {21, 22, 23}}});
  EXPECT_THAT(device.last().tokens_shape, ElementsAre(4, 16));
  EXPECT_THAT(device.last().valid_lengths, ElementsAre(2, 3, 1, 1)) << "rows of nobody gather their first position";
  device.Step({{a, {13}}, {b, {24}}});
  EXPECT_THAT(device.last().tokens, ElementsAre(13, 24, 0, 0));
  EXPECT_THAT(device.last().valid_lengths, ElementsAre(3, 4, 1, 1));
  device.Close(a);
  device.Step({{b, {25}}});
  EXPECT_THAT(device.last().tokens, ElementsAre(0, 25, 0, 0));
  EXPECT_THAT(device.last().valid_lengths, ElementsAre(1, 5, 1, 1));
  device.Close(b);
  const SeqId next = device.Open();
  device.Step({{next, {31}}});  // the next batch, of one
  EXPECT_THAT(device.last().tokens_shape, ElementsAre(1, 16));
  device.Step({{next, {32}}});
}

TEST(AssignFeeds, PromptsOfAllLengthsAreOneCallAtTheGearOfTheLongest) {
  DeviceHarness device(Form::kAssign);
  const SeqId a = device.Open();
  const SeqId b = device.Open();
  device.Step({{a, std::vector<TokenId>(20, 5)}, {b, {21}}});
  ASSERT_EQ(device.recording.calls.size(), 1u);
  EXPECT_THAT(device.last().tokens_shape, ElementsAre(4, 64));
  EXPECT_THAT(device.last().valid_lengths, ElementsAre(20, 1, 1, 1));
}

TEST(AssignRefuses, AJoinWhileRowsGoOn) {
  DeviceHarness device(Form::kAssign);
  const SeqId a = device.Open();
  device.Step({{a, {11}}});
  const SeqId late = device.Open();
  EXPECT_THAT(Refusal(ErrorCode::kUnsupported, [&] { device.Step({{late, {21}}}); }), HasSubstr("cannot join"));
  EXPECT_THAT(Refusal(ErrorCode::kUnsupported, [&] { device.Step({{a, {12}}, {late, {21}}}); }), HasSubstr("join"));
  device.Step({{a, {12}}});
  device.Close(a);
  device.Step({{late, {21}}});
}

TEST(AssignRefuses, AStepWithoutOneOfItsSequences) {
  DeviceHarness device(Form::kAssign);
  const SeqId a = device.Open();
  const SeqId b = device.Open();
  device.Step({{a, {11}}, {b, {21}}});
  EXPECT_THAT(Refusal(ErrorCode::kUnsupported, [&] { device.Step({{a, {12}}}); }), HasSubstr("missing from a step"));
  device.Step({{a, {12}}, {b, {22}}});
}

TEST(AssignRefuses, LogitsInsideAPromptChunksForksAndCuts) {
  DeviceHarness device(Form::kAssign);
  DeviceCacheBackend& backend = device.backend();
  EXPECT_TRUE(backend.traits().static_batch && backend.traits().whole_prompts && backend.traits().only_last_logits);
  EXPECT_FALSE(backend.traits().can_fork || backend.traits().can_truncate);
  const SeqId a = device.Open();
  const SeqId b = device.Open();
  const std::vector<TokenId> tokens{1, 3};
  const std::vector<int> both{0, 1};
  std::vector<float> logits(2 * 101);
  const Chunk scored{a, tokens, both};
  EXPECT_THAT(Refusal(ErrorCode::kUnsupported,
                      [&] {
                        backend.Forward({&scored, 1}, logits);
                      }),
              HasSubstr("inside a prompt"));
  device.Step({{a, tokens}, {b, tokens}});
  EXPECT_THAT(Refusal(ErrorCode::kUnsupported, [&] { device.Step({{a, tokens}, {b, {1}}}); }), HasSubstr("chunk of 2"));
  Refusal(ErrorCode::kUnsupported, [&] { backend.Truncate(a, 1); });
  Refusal(ErrorCode::kUnsupported, [&] { backend.Copy(a, b, 1); });
  Refusal(ErrorCode::kUnsupported, [&] { backend.Reorder({&a, 1}, {&b, 1}); });
}

TEST(AssignRefuses, ToGoOnBehindACallThatMayHaveAdded) {
  DeviceHarness device(Form::kAssign);
  const SeqId a = device.Open();
  device.recording.fail_call = 0;
  Refusal(ErrorCode::kBackend, [&] { device.Step({{a, {11}}}); });
  device.recording.fail_call = 2;
  device.Step({{a, {11}}});  // a prompt replaces all that is there, so it may be repeated
  Refusal(ErrorCode::kBackend, [&] { device.Step({{a, {12}}}); });
  EXPECT_EQ(device.backend().Length(a), 1u);
  EXPECT_THAT(Refusal(ErrorCode::kBackend, [&] { device.Step({{a, {12}}}); }), HasSubstr("are lost"));
  device.Close(a);
  const SeqId b = device.Open();
  device.Step({{b, {21}}});
  device.Step({{b, {22}}});
}

}  // namespace
}  // namespace skywork_rt::ascend
