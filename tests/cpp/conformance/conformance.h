#pragma once

// What every backend must do, whatever device is behind it: a suite that each backend's test file instantiates with
//   INSTANTIATE_TEST_SUITE_P(Native, BackendConformance, testing::Values(...), ConformanceName);
// A backend without a trait is asked to refuse what it lacks.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/registry.h"
#include "skywork_rt/error.h"

namespace skywork_rt {

struct BackendUnderTest {
  std::string name;
  /// A model with at least 64 positions, opened with these options.
  std::function<std::unique_ptr<Backend>(const BackendOptions&)> make;
};

inline std::string ConformanceName(const testing::TestParamInfo<BackendUnderTest>& info) {
  return info.param.name;
}

class BackendConformance : public testing::TestWithParam<BackendUnderTest> {
 protected:
  static constexpr int kBatch = 4;
  static constexpr std::size_t kLength = 64;

  void SetUp() override {
    BackendOptions options;
    options.threads = 2;
    options.max_batch = kBatch;
    options.max_length = kLength;
    options.max_cached_tokens = kBatch * kLength;
    backend_ = GetParam().make(options);
  }

  std::size_t vocab() const { return static_cast<std::size_t>(backend_->model().vocab_size); }

  std::vector<TokenId> Tokens(std::size_t count, int salt) const {
    std::vector<TokenId> tokens(count);
    for (std::size_t i = 0; i < count; ++i) {
      tokens[i] = static_cast<TokenId>((static_cast<std::size_t>(salt) * 7919 + i * 31 + i * i) % vocab());
    }
    return tokens;
  }

  /// Feeds tokens to one sequence; the logits of all of them or of the last.
  std::vector<float> Feed(SeqId seq, const std::vector<TokenId>& tokens, bool all = false) {
    std::vector<int> rows(all ? tokens.size() : 1);
    std::iota(rows.begin(), rows.end(), all ? 0 : static_cast<int>(tokens.size()) - 1);
    std::vector<float> logits(rows.size() * vocab());
    const Chunk chunk{seq, tokens, rows};
    backend_->Forward({&chunk, 1}, logits);
    return logits;
  }

  std::vector<float> Alone(const std::vector<TokenId>& tokens) {
    const SeqId seq = backend_->Open(tokens.size());
    std::vector<float> logits = Feed(seq, tokens);
    backend_->Close(seq);
    return logits;
  }

  void ExpectSame(const float* a, const float* b, const std::string& what) const {
    if (backend_->traits().bitwise) {
      EXPECT_EQ(std::memcmp(a, b, vocab() * sizeof(float)), 0) << what;
      return;
    }
    const auto [low, high] = std::minmax_element(b, b + vocab());
    for (std::size_t i = 0; i < vocab(); ++i) ASSERT_NEAR(a[i], b[i], 2e-4f * (*high - *low) + 1e-6f) << what;
  }

  template <typename F>
  void ExpectError(ErrorCode code, F&& f, const char* what) {
    try {
      f();
      ADD_FAILURE() << "accepted: " << what;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << what << ": " << error.what();
    }
  }

  std::unique_ptr<Backend> backend_;
};

TEST_P(BackendConformance, PrefillChunksAndDecodeGiveTheSameLogits) {
  const std::vector<TokenId> tokens = Tokens(20, 1);
  const SeqId whole = backend_->Open(kLength);
  const std::vector<float> all = Feed(whole, tokens, true);
  const SeqId cut = backend_->Open(kLength);
  std::size_t done = 0;
  for (const std::size_t count : {1u, 5u, 1u, 4u, 8u, 1u}) {
    const std::vector<TokenId> part(tokens.begin() + static_cast<std::ptrdiff_t>(done),
                                    tokens.begin() + static_cast<std::ptrdiff_t>(done + count));
    const std::vector<float> last = Feed(cut, part);
    done += count;
    ExpectSame(last.data(), all.data() + (done - 1) * vocab(), "after " + std::to_string(done));
    EXPECT_EQ(backend_->Length(cut), done);
  }
}

TEST_P(BackendConformance, ABatchGivesEachSequenceItsOwnLogits) {
  std::vector<SeqId> sequences;
  std::vector<std::vector<TokenId>> prompts;
  for (int i = 0; i < kBatch; ++i) {
    prompts.push_back(Tokens(static_cast<std::size_t>(3 + 4 * i), i));
    sequences.push_back(backend_->Open(kLength));
    if (i + 1 < kBatch) Feed(sequences.back(), prompts.back());
  }
  // One step: decode for those that have a prompt, and, if the backend mixes, the last one's prefill.
  std::vector<std::vector<TokenId>> inputs;
  std::vector<std::vector<int>> rows;
  std::vector<Chunk> chunks;
  const bool mixed = backend_->traits().mixed_steps;
  if (!mixed) Feed(sequences.back(), prompts.back());
  for (int i = 0; i < kBatch; ++i) {
    const bool prefill = mixed && i + 1 == kBatch;
    inputs.push_back(prefill ? prompts.back() : Tokens(1, 50 + i));
    rows.push_back({static_cast<int>(inputs.back().size()) - 1});
    if (!prefill) prompts[static_cast<std::size_t>(i)].push_back(inputs.back()[0]);
  }
  for (std::size_t i = 0; i < inputs.size(); ++i) chunks.push_back({sequences[i], inputs[i], rows[i]});
  std::vector<float> logits(chunks.size() * vocab());
  backend_->Forward(chunks, logits);
  for (const SeqId seq : sequences) backend_->Close(seq);
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    ExpectSame(logits.data() + i * vocab(), Alone(prompts[i]).data(), "sequence " + std::to_string(i));
  }
}

TEST_P(BackendConformance, SequencesComeAndGoWhileOthersGrowToTheirLimit) {
  const SeqId longest = backend_->Open(kLength);
  const std::vector<TokenId> tokens = Tokens(kLength, 3);
  std::vector<float> logits;
  for (std::size_t i = 0; i < kLength; ++i) {
    const SeqId guest = backend_->Open(8);
    Feed(guest, Tokens(1 + i % 8, static_cast<int>(i)));
    logits = Feed(longest, {tokens[i]});
    backend_->Close(guest);
  }
  backend_->Close(longest);
  ExpectSame(logits.data(), Alone(tokens).data(), "at the limit");
}

TEST_P(BackendConformance, AStepMayWantNoLogits) {
  const std::vector<TokenId> tokens = Tokens(6, 4);
  const SeqId seq = backend_->Open(kLength);
  const Chunk chunk{seq, tokens, {}};
  backend_->Forward({&chunk, 1}, {});
  EXPECT_EQ(backend_->Length(seq), 6u);
  const std::vector<float> next = Feed(seq, Tokens(1, 9));
  std::vector<TokenId> both = tokens;
  both.push_back(Tokens(1, 9)[0]);
  ExpectSame(next.data(), Alone(both).data(), "after a silent prefill");
}

TEST_P(BackendConformance, ForkedSequencesGoTheirOwnWays) {
  const std::vector<TokenId> prompt = Tokens(13, 5);
  const SeqId source = backend_->Open(kLength);
  const SeqId first = backend_->Open(kLength);
  const SeqId second = backend_->Open(kLength);
  Feed(source, prompt);
  const std::vector<SeqId> from{source, source};
  const std::vector<SeqId> to{first, second};
  if (!backend_->traits().can_fork) {
    ExpectError(
        ErrorCode::kUnsupported, [&] { backend_->Reorder(from, to); }, "fork");
    return;
  }
  backend_->Reorder(from, to);
  int salt = 60;
  for (const SeqId seq : {first, source, second}) {
    EXPECT_EQ(backend_->Length(seq), prompt.size());
    std::vector<TokenId> tokens = prompt;
    const std::vector<TokenId> more = Tokens(6, salt++);
    tokens.insert(tokens.end(), more.begin(), more.end());
    const std::vector<float> logits = Feed(seq, more);
    ExpectSame(logits.data(), Alone(tokens).data(), "fork");
  }
}

TEST_P(BackendConformance, ReorderReadsAllBeforeItWritesAny) {
  std::vector<SeqId> sequences;
  std::vector<std::vector<TokenId>> held;
  for (int i = 0; i < 3; ++i) {
    sequences.push_back(backend_->Open(kLength));
    held.push_back(Tokens(static_cast<std::size_t>(4 + 5 * i), 20 + i));
    Feed(sequences.back(), held.back());
  }
  const std::vector<SeqId> from{sequences[1], sequences[2], sequences[0]};
  backend_->Reorder(from, sequences);
  const std::vector<std::vector<TokenId>> expected{held[1], held[2], held[0]};
  for (std::size_t i = 0; i < 3; ++i) {
    ASSERT_EQ(backend_->Length(sequences[i]), expected[i].size());
    std::vector<TokenId> tokens = expected[i];
    tokens.push_back(Tokens(1, 30)[0]);
    const std::vector<float> logits = Feed(sequences[i], Tokens(1, 30));
    ExpectSame(logits.data(), Alone(tokens).data(), "rotated " + std::to_string(i));
  }
}

TEST_P(BackendConformance, TruncationForgetsAndTheRestCanBeWrittenAnew) {
  const std::vector<TokenId> prompt = Tokens(20, 6);
  const SeqId seq = backend_->Open(kLength);
  Feed(seq, prompt);
  if (!backend_->traits().can_truncate) {
    ExpectError(
        ErrorCode::kUnsupported, [&] { backend_->Truncate(seq, 7); }, "truncate");
    return;
  }
  backend_->Truncate(seq, 7);
  EXPECT_EQ(backend_->Length(seq), 7u);
  std::vector<TokenId> tokens(prompt.begin(), prompt.begin() + 7);
  const std::vector<TokenId> more = Tokens(5, 70);
  tokens.insert(tokens.end(), more.begin(), more.end());
  const std::vector<float> logits = Feed(seq, more);
  ExpectSame(logits.data(), Alone(tokens).data(), "after truncation");
  ExpectError(
      ErrorCode::kInvalidArgument, [&] { backend_->Truncate(seq, 13); }, "truncate beyond the end");
}

TEST_P(BackendConformance, ARefusedStepLeavesEverySequenceAsItWas) {
  const SeqId good = backend_->Open(kLength);
  const SeqId small = backend_->Open(4);
  std::vector<TokenId> held = Tokens(5, 8);
  Feed(good, held);
  Feed(small, Tokens(3, 9));
  const std::vector<TokenId> one{1};
  const std::vector<TokenId> two{1, 2};
  const std::vector<TokenId> outside{static_cast<TokenId>(vocab())};
  const std::vector<TokenId> negative{-1};
  const int zero = 0;
  const int rows_down[] = {1, 0};
  const int beyond = 2;
  std::vector<float> logits(vocab());
  const auto refuse = [&](ErrorCode code, std::vector<Chunk> chunks, Span<float> out, const char* what) {
    ExpectError(
        code, [&] { backend_->Forward(chunks, out); }, what);
    EXPECT_EQ(backend_->Length(good), 5u) << what;
    EXPECT_EQ(backend_->Length(small), 3u) << what;
  };
  const Chunk fine{good, one, {&zero, 1}};
  refuse(ErrorCode::kInvalidArgument, {fine, {small, outside, {}}}, logits, "a token outside the vocabulary");
  refuse(ErrorCode::kInvalidArgument, {fine, {small, negative, {}}}, logits, "a negative token");
  refuse(ErrorCode::kCapacity, {fine, {small, two, {}}}, logits, "more tokens than reserved");
  refuse(ErrorCode::kInvalidArgument, {fine, {small, {}, {}}}, logits, "an empty chunk");
  refuse(ErrorCode::kInvalidArgument, {fine, {good, one, {}}}, logits, "one sequence twice");
  refuse(ErrorCode::kInvalidArgument, {fine, {9999, one, {}}}, logits, "an unknown sequence");
  refuse(ErrorCode::kInvalidArgument, {{good, two, {rows_down, 2}}}, logits, "rows that descend");
  refuse(ErrorCode::kInvalidArgument, {{good, two, {&beyond, 1}}}, logits, "a row beyond the chunk");
  refuse(ErrorCode::kInvalidArgument, {fine}, {logits.data(), vocab() - 1}, "too small a place for the logits");
  held.push_back(1);
  const std::vector<float> next = Feed(good, one);
  ExpectSame(next.data(), Alone(held).data(), "after refusals");
}

/// Gives up when it is asked for the time that it was made with, counted from 1; 0 is never.
class GivingUp final : public ForwardWatch {
 public:
  explicit GivingUp(std::size_t at) : at_(at) {}
  bool GiveUp(std::size_t done, std::size_t total) override {
    EXPECT_GT(done, last_);
    EXPECT_LT(done, total);
    last_ = done;
    return ++asked_ == at_;
  }
  std::size_t asked() const { return asked_; }

 private:
  std::size_t at_;
  std::size_t asked_ = 0;
  std::size_t last_ = 0;
};

TEST_P(BackendConformance, AStepThatIsGivenUpLeavesEverySequenceAsItWas) {
  const std::vector<TokenId> held = Tokens(5, 8);
  const std::vector<TokenId> more = Tokens(20, 14);
  const std::vector<TokenId> one{1};
  const SeqId first = backend_->Open(kLength);
  const SeqId second = backend_->Open(kLength);
  const SeqId fork = backend_->Open(kLength);
  Feed(first, held);
  Feed(second, held);
  if (backend_->traits().can_fork) backend_->Reorder({&first, 1}, {&fork, 1});  // shares what the step writes behind
  const int last = static_cast<int>(more.size()) - 1;
  std::vector<float> logits(vocab());
  const std::vector<Chunk> chunks{{first, more, {&last, 1}}, {second, more, {}}};
  for (std::size_t at = 1; at < 1000; ++at) {
    GivingUp watch(at);
    const bool whole = backend_->Forward(chunks, logits, &watch);
    EXPECT_EQ(whole, watch.asked() < at) << "asked " << watch.asked() << " times";
    if (whole) break;
    EXPECT_EQ(backend_->Length(first), held.size());
    EXPECT_EQ(backend_->Length(second), held.size());
  }
  EXPECT_EQ(backend_->Length(first), held.size() + more.size());
  std::vector<TokenId> tokens = held;
  tokens.insert(tokens.end(), more.begin(), more.end());
  ExpectSame(logits.data(), Alone(tokens).data(), "after all that was given up");
  if (!backend_->traits().can_fork) return;
  std::vector<TokenId> forked = held;
  forked.push_back(1);
  const std::vector<float> behind = Feed(fork, one);
  backend_->Close(second);
  ExpectSame(behind.data(), Alone(forked).data(), "the fork");
}

TEST_P(BackendConformance, OpenRefusesWhatDoesNotFitAndCloseMakesRoom) {
  ExpectError(
      ErrorCode::kInvalidArgument, [&] { backend_->Open(0); }, "no tokens");
  ExpectError(
      ErrorCode::kInvalidArgument, [&] { backend_->Open(kLength + 1); }, "longer than max_length");
  std::vector<SeqId> open;
  for (int i = 0; i < backend_->traits().max_batch; ++i) open.push_back(backend_->Open(kLength));
  ExpectError(
      ErrorCode::kBusy, [&] { backend_->Open(1); }, "one more than max_batch");
  backend_->Close(open[1]);
  const SeqId fresh = backend_->Open(kLength);
  EXPECT_EQ(std::count(open.begin(), open.end(), fresh), 0) << "an id was used again";
  EXPECT_EQ(backend_->Length(fresh), 0u);
  ExpectError(
      ErrorCode::kInvalidArgument, [&] { backend_->Length(open[1]); }, "a closed sequence");
  ExpectError(
      ErrorCode::kInvalidArgument, [&] { backend_->Close(open[1]); }, "closing twice");
}

TEST_P(BackendConformance, ACopyBeginsLikeItsSourceAndBothGoTheirOwnWays) {
  if (!backend_->traits().can_fork) return;
  const std::vector<TokenId> prompt = Tokens(21, 5);
  const SeqId source = backend_->Open(kLength);
  Feed(source, prompt);
  int salt = 60;
  for (const std::size_t length : {21u, 20u, 16u, 3u}) {
    const SeqId copy = backend_->Open(length + 6);
    Feed(copy, Tokens(5, 7));  // it had something of its own
    backend_->Copy(source, copy, length);
    EXPECT_EQ(backend_->Length(copy), length);
    EXPECT_EQ(backend_->Length(source), prompt.size());
    std::vector<TokenId> tokens(prompt.begin(), prompt.begin() + static_cast<std::ptrdiff_t>(length));
    const std::vector<TokenId> more = Tokens(6, salt++);
    tokens.insert(tokens.end(), more.begin(), more.end());
    const std::vector<float> logits = Feed(copy, more);
    ExpectSame(logits.data(), Alone(tokens).data(), "copy of " + std::to_string(length));
    backend_->Close(copy);
  }
  std::vector<TokenId> tokens = prompt;
  tokens.push_back(Tokens(1, 80)[0]);
  const std::vector<float> logits = Feed(source, Tokens(1, 80));
  ExpectSame(logits.data(), Alone(tokens).data(), "the source");
}

TEST_P(BackendConformance, CopyRefusesWhatIsNotThereAndChangesNothing) {
  if (!backend_->traits().can_fork) return;
  const SeqId a = backend_->Open(kLength);
  const SeqId b = backend_->Open(4);
  Feed(a, Tokens(6, 11));
  Feed(b, Tokens(2, 12));
  const auto refuse = [&](SeqId from, SeqId to, std::size_t length, const char* what) {
    ExpectError(
        ErrorCode::kInvalidArgument, [&] { backend_->Copy(from, to, length); }, what);
    EXPECT_EQ(backend_->Length(a), 6u) << what;
    EXPECT_EQ(backend_->Length(b), 2u) << what;
  };
  refuse(a, b, 5, "longer than the target may be");
  refuse(b, a, 3, "longer than the source");
  refuse(a, a, 3, "to itself");
  refuse(9999, a, 1, "an unknown source");
  refuse(a, 9999, 1, "an unknown target");
}

TEST_P(BackendConformance, BlocksAreTakenAsSequencesGrowAndSharedByCopies) {
  const std::size_t block = backend_->traits().block_tokens;
  if (block == 0) return;
  BackendOptions options;
  options.threads = 1;
  options.max_batch = kBatch;
  options.max_length = kLength;
  options.max_cached_tokens = 3 * block;
  backend_ = GetParam().make(options);
  const SeqId first = backend_->Open(2 * block + 1);
  const SeqId second = backend_->Open(2 * block + 2);
  const std::vector<TokenId> prompt = Tokens(2 * block, 5);
  Feed(first, prompt);
  backend_->Copy(first, second, 2 * block);
  Feed(second, Tokens(1, 6));  // the third and last block
  const std::vector<TokenId> one = Tokens(1, 7);
  const int zero = 0;
  std::vector<float> logits(2 * vocab());
  const std::vector<Chunk> both{{second, one, {&zero, 1}}, {first, one, {&zero, 1}}};
  ExpectError(
      ErrorCode::kBusy, [&] { backend_->Forward(both, logits); }, "a fourth block");
  EXPECT_EQ(backend_->Length(first), 2 * block);
  EXPECT_EQ(backend_->Length(second), 2 * block + 1);
  backend_->Truncate(second, 2 * block);
  std::vector<TokenId> tokens = prompt;
  tokens.push_back(one[0]);
  const std::vector<float> next = Feed(first, one);
  backend_->Close(first);
  backend_->Close(second);
  ExpectSame(next.data(), Alone(tokens).data(), "after a refusal");
}

TEST_P(BackendConformance, ReservationsTogetherStayWithinTheCache) {
  if (backend_->traits().block_tokens != 0) return;  // blocks are not reserved
  BackendOptions options;
  options.threads = 1;
  options.max_batch = kBatch;
  options.max_length = kLength;
  options.max_cached_tokens = kLength + 10;
  const auto small = GetParam().make(options);
  const SeqId first = small->Open(kLength);
  ExpectError(
      ErrorCode::kBusy, [&] { small->Open(11); }, "more than is left");
  EXPECT_NO_THROW(small->Close(small->Open(10)));
  small->Close(first);
  EXPECT_NO_THROW(small->Open(kLength));
}

TEST_P(BackendConformance, ReorderRefusesBadPairsAndChangesNothing) {
  const SeqId a = backend_->Open(kLength);
  const SeqId b = backend_->Open(4);
  Feed(a, Tokens(6, 11));
  Feed(b, Tokens(2, 12));
  const auto refuse = [&](ErrorCode code, std::vector<SeqId> from, std::vector<SeqId> to, const char* what) {
    ExpectError(
        code, [&] { backend_->Reorder(from, to); }, what);
    EXPECT_EQ(backend_->Length(a), 6u) << what;
    EXPECT_EQ(backend_->Length(b), 2u) << what;
  };
  refuse(ErrorCode::kInvalidArgument, {a, b}, {a}, "unpaired");
  refuse(ErrorCode::kInvalidArgument, {a, b}, {a, a}, "one target twice");
  refuse(ErrorCode::kInvalidArgument, {9999}, {a}, "an unknown source");
  refuse(ErrorCode::kInvalidArgument, {a}, {9999}, "an unknown target");
  refuse(ErrorCode::kCapacity, {b, a}, {a, b}, "longer than the target reserved");
}

}  // namespace skywork_rt
