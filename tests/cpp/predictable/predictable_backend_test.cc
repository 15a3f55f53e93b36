#include "predictable/predictable_backend.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "engine/engine_fixture.h"

namespace skywork_rt {
namespace {

class PredictableBackendTest : public ::testing::Test {
 protected:
  std::vector<float> Feed(PredictableBackend* backend, SeqId seq, const std::vector<TokenId>& tokens) {
    const std::vector<int> rows{static_cast<int>(tokens.size()) - 1};
    std::vector<float> logits(97);
    const Chunk chunk{seq, Span<const TokenId>(tokens), Span<const int>(rows)};
    backend->Forward(Span<const Chunk>(&chunk, 1), Span<float>(logits));
    return logits;
  }

  static std::vector<float> Expected(const std::vector<TokenId>& sequence) {
    std::vector<float> row(97);
    PredictableBackend::Logits(Span<const TokenId>(sequence), Span<float>(row));
    return row;
  }
};

TEST_F(PredictableBackendTest, LogitsAreAFunctionOfTheWholeSequence) {
  PredictableBackend backend({});
  const SeqId seq = backend.Open(10);
  EXPECT_EQ(Feed(&backend, seq, {1, 2, 3}), Expected({1, 2, 3}));
  EXPECT_EQ(Feed(&backend, seq, {4}), Expected({1, 2, 3, 4}));
  EXPECT_NE(Expected({1, 2, 3, 4}), Expected({2, 1, 3, 4}));
  EXPECT_NE(Expected({1, 2, 3, 4}), Expected({2, 3, 4}));
}

TEST_F(PredictableBackendTest, BestAndSecondBestAreKnown) {
  std::vector<float> row = Expected({5, 6});
  std::sort(row.rbegin(), row.rend());
  EXPECT_EQ(row[0], 4.0f);
  EXPECT_EQ(row[1], 3.0f);
  EXPECT_LT(row[2], 2.0f);
}

TEST_F(PredictableBackendTest, ReorderReadsAllBeforeItWrites) {
  PredictableBackend backend({});
  const SeqId a = backend.Open(10);
  const SeqId b = backend.Open(10);
  Feed(&backend, a, {1});
  Feed(&backend, b, {2});
  const std::vector<SeqId> from{b, a};
  const std::vector<SeqId> to{a, b};
  backend.Reorder(Span<const SeqId>(from), Span<const SeqId>(to));
  EXPECT_EQ(Feed(&backend, a, {3}), Expected({2, 3}));
  EXPECT_EQ(Feed(&backend, b, {3}), Expected({1, 3}));
}

TEST_F(PredictableBackendTest, TruncateForgetsTheEnd) {
  PredictableBackend backend({});
  const SeqId seq = backend.Open(10);
  Feed(&backend, seq, {1, 2, 3});
  backend.Truncate(seq, 1);
  EXPECT_EQ(Feed(&backend, seq, {9}), Expected({1, 9}));
}

TEST_F(PredictableBackendTest, RefusesEveryBreakOfTheContract) {
  PredictableOptions options;
  options.traits.max_batch = 2;
  options.traits.max_cached_tokens = 15;
  options.traits.max_chunk = 4;
  options.traits.can_truncate = false;
  options.traits.mixed_steps = false;
  PredictableBackend backend(options);
  const SeqId seq = backend.Open(8);
  const auto refuses = [](const auto& call) { return CodeOf(call) == ErrorCode::kInternal; };
  EXPECT_TRUE(refuses([&] { backend.Open(8); })) << "more cache than there is";
  EXPECT_TRUE(refuses([&] { Feed(&backend, seq + 9, {1}); })) << "unknown sequence";
  EXPECT_TRUE(refuses([&] { Feed(&backend, seq, {1, 2, 3, 4, 5}); })) << "chunk too long";
  EXPECT_TRUE(refuses([&] { Feed(&backend, seq, {97}); })) << "token out of range";
  EXPECT_TRUE(refuses([&] { backend.Truncate(seq, 0); })) << "Traits exclude it";
  Feed(&backend, seq, {1, 2, 3, 4});
  Feed(&backend, seq, {1, 2, 3, 4});
  EXPECT_TRUE(refuses([&] { Feed(&backend, seq, {1}); })) << "more tokens than reserved";
  const SeqId other = backend.Open(7);
  EXPECT_TRUE(refuses([&] { backend.Open(0); })) << "more sequences than max_batch";
  backend.Close(other);
  EXPECT_TRUE(refuses([&] { backend.Close(other); })) << "closed twice";
}

}  // namespace
}  // namespace skywork_rt
