#include "backend/sequence_ledger.h"

#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "skywork_rt/error.h"

namespace skywork_rt {
namespace {

constexpr int kVocabulary = 10;
constexpr std::size_t kLongest = 8;

Traits SomeTraits() {
  Traits traits;
  traits.max_batch = 3;
  traits.max_cached_tokens = 20;
  traits.max_chunk = 4;
  traits.can_fork = true;
  traits.can_truncate = true;
  return traits;
}

void ExpectError(ErrorCode code, const std::function<void()>& action, const char* what) {
  try {
    action();
    ADD_FAILURE() << "accepted: " << what;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << what << ": " << error.what();
  }
}

TEST(SequenceLedger, ReservationsAreCountedAndIdsNeverComeAgain) {
  SequenceLedger ledger(kVocabulary, kLongest, SomeTraits());
  const SeqId first = ledger.Open(8);
  const SeqId second = ledger.Open(8);
  ExpectError(
      ErrorCode::kBusy, [&] { ledger.Open(5); }, "more than is left");
  const SeqId third = ledger.Open(4);
  ExpectError(
      ErrorCode::kBusy, [&] { ledger.Open(1); }, "a fourth sequence");
  ledger.Close(second);
  const SeqId fourth = ledger.Open(8);
  EXPECT_TRUE(fourth != first && fourth != second && fourth != third);
  for (const std::size_t tokens : {std::size_t{0}, kLongest + 1}) {
    ExpectError(
        ErrorCode::kInvalidArgument, [&] { ledger.Open(tokens); }, "no length of a sequence");
  }
  ExpectError(
      ErrorCode::kInvalidArgument, [&] { ledger.Length(second); }, "closed");
}

TEST(SequenceLedger, OnlyWhatIsAdvancedIsCached) {
  SequenceLedger ledger(kVocabulary, kLongest, SomeTraits());
  const SeqId seq = ledger.Open(5);
  const std::vector<TokenId> tokens{1, 2, 3};
  const int last = 2;
  const std::vector<Chunk> chunks{{seq, tokens, {&last, 1}}};
  const std::vector<float> logits(kVocabulary);
  ledger.CheckForward(chunks, logits);
  EXPECT_EQ(ledger.Length(seq), 0u);
  ledger.Advance(chunks);
  EXPECT_EQ(ledger.Length(seq), 3u);
  ExpectError(
      ErrorCode::kCapacity, [&] { ledger.CheckForward(chunks, logits); }, "more than reserved");
  const std::vector<float> small(kVocabulary - 1);
  const int first = 0;
  const std::vector<TokenId> one{9};
  const std::vector<Chunk> next{{seq, one, {&first, 1}}};
  ExpectError(
      ErrorCode::kInvalidArgument, [&] { ledger.CheckForward(next, small); }, "too small a place for the logits");
  const std::vector<TokenId> five{1, 2, 3, 4, 5};
  const std::vector<Chunk> wide{{seq, five, {}}};
  ExpectError(
      ErrorCode::kInvalidArgument, [&] { ledger.CheckForward(wide, {}); }, "more than max_chunk");
  EXPECT_EQ(ledger.Length(seq), 3u);
}

TEST(SequenceLedger, WithoutForksSequencesMayOnlyChangePlaces) {
  Traits traits = SomeTraits();
  traits.can_fork = false;
  traits.can_truncate = false;
  SequenceLedger ledger(kVocabulary, kLongest, traits);
  const SeqId a = ledger.Open(4);
  const SeqId b = ledger.Open(4);
  ledger.SetLength(a, 3);
  ledger.SetLength(b, 1);
  const std::vector<SeqId> both{a, b};
  const std::vector<SeqId> crossed{b, a};
  const std::vector<SeqId> twice{a, a};
  ledger.CheckReorder(crossed, both);
  ledger.Reorder(crossed, both);
  EXPECT_EQ(ledger.Length(a), 1u);
  EXPECT_EQ(ledger.Length(b), 3u);
  ExpectError(
      ErrorCode::kUnsupported, [&] { ledger.CheckReorder(twice, both); }, "a fork");
  ExpectError(
      ErrorCode::kUnsupported, [&] { ledger.CheckCopy(a, b, 1); }, "a copy");
  ExpectError(
      ErrorCode::kUnsupported, [&] { ledger.CheckTruncate(b, 1); }, "a cut");
  ledger.CheckTruncate(b, 3);
}

}  // namespace
}  // namespace skywork_rt
