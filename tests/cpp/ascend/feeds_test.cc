// What the graphs of the forms indexed and paged are fed, call by call.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "ascend/device_harness.h"

namespace skywork_rt::ascend {
namespace {

using testing::Each;
using testing::ElementsAre;
using Ints = std::vector<std::int32_t>;

Ints Counted(std::size_t count, TokenId first) {
  Ints tokens(count);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

// --------------------------------------------------------------------------------------------------------------
// indexed

TEST(IndexedFeeds, OnePromptTakesTheSmallestGearAndItsTokensFollow) {
  DeviceHarness device(Form::kIndexed);
  const SeqId seq = device.Open();
  device.Step({{seq, {11, 12, 13}}});
  EXPECT_TRUE(device.last().full);
  EXPECT_THAT(device.last().tokens_shape, ElementsAre(1, 16));
  EXPECT_EQ(device.last().tokens, Padded<std::int32_t>({11, 12, 13}, 16, 0));
  EXPECT_THAT(device.last().valid_lengths, ElementsAre(3));
  EXPECT_THAT(device.last().batch_index, ElementsAre(0));
  EXPECT_EQ(device.last().active_length, 16);
  device.Step({{seq, {14}}});
  EXPECT_FALSE(device.last().full);
  EXPECT_THAT(device.last().tokens_shape, ElementsAre(1, 1));
  EXPECT_THAT(device.last().tokens, ElementsAre(14));
  EXPECT_THAT(device.last().valid_lengths, ElementsAre(4)) << "the current token counts";
  EXPECT_EQ(device.last().active_length, 16);
}

TEST(IndexedFeeds, TwoPromptsTakeFourRowsAndPaddingRepeatsTheFirst) {
  DeviceHarness device(Form::kIndexed);
  const SeqId a = device.Open();
  const SeqId b = device.Open();
  device.Step({{a, {11, 12}}, {b, {21, 22, 23}}});
  ASSERT_EQ(device.recording.calls.size(), 1u);
  EXPECT_THAT(device.last().tokens_shape, ElementsAre(4, 16));
  Ints expected = Padded<std::int32_t>({11, 12}, 16, 0);
  for (const Ints& row : {Ints{21, 22, 23}, Ints{11, 12}, Ints{11, 12}}) {
    const Ints padded = Padded<std::int32_t>(row, 16, 0);
    expected.insert(expected.end(), padded.begin(), padded.end());
  }
  EXPECT_EQ(device.last().tokens, expected);
  EXPECT_THAT(device.last().valid_lengths, ElementsAre(2, 3, 2, 2));
  EXPECT_THAT(device.last().batch_index, ElementsAre(0, 1, 0, 0)) << "what is padding writes what is there anyway";
  device.Step({{a, {13}}, {b, {24}}});
  EXPECT_THAT(device.last().tokens, ElementsAre(13, 24, 0, 0));
  EXPECT_THAT(device.last().valid_lengths, ElementsAre(3, 4, 1, 1));
  EXPECT_THAT(device.last().batch_index, ElementsAre(0, 1, 2, 3));
}

TEST(IndexedFeeds, ALongPromptTakesTheLongGearAndAShortOneBesideItDoesNot) {
  DeviceHarness device(Form::kIndexed);
  const SeqId a = device.Open();
  const SeqId b = device.Open();
  device.Step({{a, Counted(17, 30)}, {b, {21, 22}}});
  ASSERT_EQ(device.recording.calls.size(), 2u);
  EXPECT_THAT(device.call(0).tokens_shape, ElementsAre(1, 16));
  EXPECT_THAT(device.call(0).batch_index, ElementsAre(1)) << "the short one";
  EXPECT_THAT(device.call(1).tokens_shape, ElementsAre(1, 64));
  EXPECT_THAT(device.call(1).batch_index, ElementsAre(0));
  device.Step({{a, {3}}, {b, {4}}});
  EXPECT_EQ(device.last().active_length, 64) << "18 positions need the long gear";
  EXPECT_THAT(device.last().valid_lengths, ElementsAre(18, 3, 1, 1));
}

TEST(IndexedFeeds, AStepReachesToTheHighestRowAndFreeRowsBelowArePadding) {
  DeviceHarness device(Form::kIndexed);
  const SeqId a = device.Open();
  const SeqId b = device.Open();
  device.Step({{a, {11}}, {b, {21}}});
  device.Close(a);  // an early end
  device.Step({{b, {22}}});
  EXPECT_THAT(device.last().tokens, ElementsAre(0, 22, 0, 0));
  EXPECT_THAT(device.last().valid_lengths, ElementsAre(1, 2, 1, 1));
  const SeqId c = device.Open();  // joins in the row that was left, while b goes on
  device.Step({{c, {31, 32}}});
  EXPECT_THAT(device.last().tokens_shape, ElementsAre(1, 16)) << "a prompt alone is a batch of one";
  EXPECT_THAT(device.last().batch_index, ElementsAre(0));
  device.Step({{b, {23}}, {c, {33}}});
  EXPECT_THAT(device.last().tokens, ElementsAre(33, 23, 0, 0));
  EXPECT_THAT(device.last().valid_lengths, ElementsAre(3, 3, 1, 1));
  device.Close(b);
  device.Step({{c, {34}}});
  EXPECT_THAT(device.last().tokens, ElementsAre(34)) << "one row is enough again";
}

TEST(IndexedFeeds, ASequenceThatSitsAStepOutIsWrittenBehindItsEnd) {
  DeviceHarness device(Form::kIndexed);
  const SeqId a = device.Open();
  const SeqId b = device.Open();
  device.Step({{a, {11, 12, 13}}, {b, {21}}});
  device.Step({{b, {22}}});
  EXPECT_THAT(device.last().tokens, ElementsAre(0, 22, 0, 0));
  EXPECT_THAT(device.last().valid_lengths, ElementsAre(4, 2, 1, 1)) << "position 3 is where a's next token goes";
  device.Step({{a, {14}}, {b, {23}}});
}

TEST(IndexedFeeds, AFifthSequenceIsRefusedUntilOneOfFourLeaves) {
  DeviceHarness device(Form::kIndexed);
  std::vector<SeqId> open;
  for (int i = 0; i < 4; ++i) open.push_back(device.Open());
  EXPECT_EQ(device.backend().traits().max_batch, 4);
  EXPECT_THROW(device.Open(), Error);
  device.Step({{open[0], {1}}, {open[1], {3}}, {open[2], {4}}, {open[3], {5}}});
  EXPECT_THAT(device.last().batch_index, ElementsAre(0, 1, 2, 3));
  device.Close(open[2]);
  const SeqId fifth = device.Open();
  device.Step({{fifth, {41, 42}}});
  EXPECT_THAT(device.last().batch_index, ElementsAre(2));
  device.Step({{open[0], {6}}, {open[1], {7}}, {open[3], {8}}, {fifth, {43}}});
  EXPECT_THAT(device.last().tokens, ElementsAre(6, 7, 43, 8));
}

TEST(IndexedFeeds, GearsAreSwitchedOnlyWhenShapesChange) {
  DeviceHarness device(Form::kIndexed);
  const SeqId seq = device.Open();
  device.Step({{seq, {11}}});
  for (TokenId token = 20; token < 30; ++token) device.Step({{seq, {token}}});
  EXPECT_EQ(device.recording.resizes, 2) << "one for each graph";
}

// ----------------------------------------------------------------------------------------------------------------
// paged

TEST(PagedFeeds, APromptIsWrittenToItsBlocksAndPaddingToTheFirst) {
  DeviceHarness device(Form::kPaged);
  const SeqId seq = device.Open(40);  // three blocks of 16: 1, 2, 3
  device.Step({{seq, Counted(18, 30)}});
  EXPECT_THAT(device.last().tokens_shape, ElementsAre(1, 64));
  Ints slots = Counted(18, 16);
  EXPECT_EQ(device.last().slot_mapping, Padded<std::int32_t>(slots, 64, 0));
  EXPECT_THAT(device.last().valid_lengths, ElementsAre(18));
  EXPECT_THAT(device.last().batch_index, testing::IsEmpty()) << "the paged graphs have no such input";
  device.Step({{seq, {9}}});
  EXPECT_THAT(device.last().slot_mapping, ElementsAre(16 + 18));
  EXPECT_THAT(device.last().block_tables, ElementsAre(1, 2, 3, -1));
  EXPECT_THAT(device.last().valid_lengths, ElementsAre(19));
}

TEST(PagedFeeds, TwoSequencesTakeFourRowsAndPaddingHasTheFirstBlock) {
  DeviceHarness device(Form::kPaged);
  const SeqId a = device.Open(16);
  const SeqId b = device.Open(32);
  device.Step({{a, {11, 12}}, {b, {21, 22, 23}}});
  EXPECT_THAT(device.last().tokens_shape, ElementsAre(4, 16));
  EXPECT_THAT(device.last().valid_lengths, ElementsAre(2, 3, 1, 1));
  Ints slots = Padded<std::int32_t>({16, 17}, 16, 0);
  const Ints of_b = Padded<std::int32_t>({32, 33, 34}, 16, 0);
  slots.insert(slots.end(), of_b.begin(), of_b.end());
  EXPECT_EQ(device.last().slot_mapping, Padded<std::int32_t>(slots, 64, 0));
  device.Step({{a, {13}}, {b, {24}}});
  EXPECT_THAT(device.last().tokens, ElementsAre(13, 24, 0, 0));
  EXPECT_THAT(device.last().slot_mapping, ElementsAre(18, 35, 0, 0));
  EXPECT_EQ(device.last().block_tables, (Ints{1, -1, -1, -1, 2, 3, -1, -1, 0, -1, -1, -1, 0, -1, -1, -1}));
}

TEST(PagedFeeds, JoinsAndEndsMoveRowsNotBlocks) {
  DeviceHarness device(Form::kPaged);
  const SeqId a = device.Open(16);
  const SeqId b = device.Open(16);
  device.Step({{a, {11}}, {b, {21}}});
  device.Close(a);
  device.Step({{b, {22}}});
  EXPECT_THAT(device.last().tokens, ElementsAre(22)) << "b is alone in a batch of one";
  EXPECT_THAT(device.last().block_tables, ElementsAre(2, -1, -1, -1));
  const SeqId c = device.Open(32);  // takes a's block and the next free one
  device.Step({{c, {31, 32}}});
  EXPECT_THAT(device.last().slot_mapping.front(), 16);
  device.Step({{c, {33}}, {b, {23}}});
  EXPECT_EQ(device.last().block_tables, (Ints{1, 3, -1, -1, 2, -1, -1, -1, 0, -1, -1, -1, 0, -1, -1, -1}));
  EXPECT_THAT(device.last().slot_mapping, ElementsAre(18, 34, 0, 0));
}

TEST(PagedFeeds, BlocksRunOutBeforeTokensDoAndThatIsBusy) {
  DeviceHarness device(Form::kPaged);
  std::vector<SeqId> open;
  for (int i = 0; i < 4; ++i) open.push_back(device.Open(64));  // all 16 blocks
  device.Close(open[0]);
  const SeqId small = device.Open(17);  // two blocks
  DeviceHarness many(Form::kPaged);
  EXPECT_EQ(many.backend().traits().max_cached_tokens, 256u);
  for (int i = 0; i < 3; ++i) many.Open(64);
  many.Open(33);  // three of the last four
  EXPECT_THROW(many.Open(17), Error);
  device.Close(small);
}

TEST(PagedFeeds, FiveSequencesAreOneMoreThanAStepHas) {
  DeviceHarness device(Form::kPaged);
  for (int i = 0; i < 4; ++i) device.Open(16);
  EXPECT_THROW(device.Open(16), Error);
}

// -------------------------------------------------------------------------------------------------------------
// whatever

class JoiningForms : public testing::TestWithParam<Form> {};

TEST_P(JoiningForms, ACallThatFailedIsRepeatedAsIfNothingHadBeen) {
  DeviceHarness device(GetParam());
  const SeqId a = device.Open();
  const SeqId b = device.Open();
  device.recording.fail_call = 0;
  EXPECT_THROW(device.Step({{a, {11, 12}}}), Error);
  EXPECT_EQ(device.backend().Length(a), 0u);
  device.recording.fail_call = -1;
  device.Step({{a, {11, 12}}, {b, {21}}});
  device.recording.fail_call = static_cast<int>(device.recording.calls.size());
  EXPECT_THROW(device.Step({{a, {13}}, {b, {22}}}), Error);
  device.recording.fail_call = -1;
  device.Step({{a, {15}}, {b, {24}}});
  device.Step({{a, {16}}});
}

TEST_P(JoiningForms, LogitsInsideAPromptAreComputedATokenAtATime) {
  DeviceHarness device(GetParam());
  const ModelSpec model = ReferenceModel();
  const SeqId seq = device.Open();
  const std::vector<TokenId> tokens{5, 6, 7, 8};
  const std::vector<int> rows{1, 3};
  std::vector<float> logits(2 * 101);
  const Chunk chunk{seq, tokens, rows};
  device.backend().Forward({&chunk, 1}, logits);
  EXPECT_EQ(std::vector<float>(logits.begin(), logits.begin() + 101), LogitsBehind(model, {5, 6}));
  EXPECT_EQ(std::vector<float>(logits.begin() + 101, logits.end()), LogitsBehind(model, tokens));
  EXPECT_EQ(device.recording.calls.size(), 3u) << "two tokens by the full graph, then two steps";
}

INSTANTIATE_TEST_SUITE_P(Forms, JoiningForms, testing::Values(Form::kIndexed, Form::kPaged),
                         [](const auto& form) { return std::string(NameOf(form.param)); });

/// A session with other inputs than the contract has.
class OtherInputs final : public GraphSession {
 public:
  explicit OtherInputs(std::vector<TensorInfo> inputs) : inputs_(std::move(inputs)) {}
  const std::vector<TensorInfo>& inputs() const override { return inputs_; }
  void Resize(const std::vector<Shape>&) override {}
  void Bind(std::size_t, const void*, std::size_t) override {}
  void Run() override {}
  Span<const float> Output(std::size_t) override { return {}; }

 private:
  std::vector<TensorInfo> inputs_;
};

std::string Refusal(std::vector<GraphSession::TensorInfo> inputs, Form form) {
  try {
    const DeviceGraph graph(std::make_unique<OtherInputs>(std::move(inputs)), GraphRole::kIncremental,
                            ReferenceForm(form), 101);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCorruptBundle);
    return error.what();
  }
  return "";
}

TEST(DeviceGraphInputs, WhatDoesNotFitTheContractIsNamed) {
  using Type = GraphSession::ElementType;
  const GraphSession::TensorInfo tokens{"tokens", Type::kInt32, {1, 1}};
  const GraphSession::TensorInfo lengths{"batch_valid_length", Type::kInt32, {1}};
  EXPECT_EQ(Refusal({tokens, lengths}, Form::kAssign), "");
  EXPECT_THAT(Refusal({tokens, lengths}, Form::kIndexed), testing::HasSubstr("one input batch_index"));
  EXPECT_THAT(Refusal({tokens, lengths}, Form::kPaged), testing::HasSubstr("one input slot_mapping"));
  EXPECT_THAT(Refusal({tokens, lengths, {"position_ids", Type::kInt32, {1}}}, Form::kAssign),
              testing::HasSubstr("position_ids"));
  EXPECT_THAT(Refusal({tokens, {"batch_valid_length", Type::kInt64, {1}}}, Form::kAssign),
              testing::HasSubstr("batch_valid_length is int64, but must be int32"));
}

TEST(DeviceForms, WhatTheGraphsSayOfEachOtherMustFit) {
  BundleGraph full;
  full.file = "full.mindir";
  full.contract = "device-cache/full";
  full.form = "assign";
  full.cache.rows = 4;
  full.cache.positions = 64;
  full.gears = {{4, 64}};
  BundleGraph incremental = full;
  incremental.file = "incremental.mindir";
  const auto refusal = [&] {
    try {
      ReadDeviceForm(ReferenceModel(), full, incremental);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCorruptBundle);
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_EQ(refusal(), "");
  incremental.cache.rows = 2;
  EXPECT_THAT(refusal(), testing::HasSubstr("does not fit full.mindir"));
  incremental.cache.rows = 4;
  incremental.gears = {{4, 32}};
  EXPECT_THAT(refusal(), testing::HasSubstr("holds sequences of 32 tokens, fewer than model.max_length = 64"));
  incremental.gears = {{2, 64}};
  EXPECT_THAT(refusal(), testing::HasSubstr("2x64"));
  incremental.gears = {{4, 64}};
  full.gears = {{4, 32}};
  EXPECT_THAT(refusal(), testing::HasSubstr("its gears are 4x32"));
  full.gears = {{4, 128}};
  EXPECT_THAT(refusal(), testing::HasSubstr("the cache has 64 positions"));
}

}  // namespace
}  // namespace skywork_rt::ascend
