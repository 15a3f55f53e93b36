#include "backend/host_cache/host_cache_backend.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "host_cache/recording_session.h"
#include "skywork_rt/error.h"

namespace skywork_rt::host_cache {
namespace {

using Tokens = std::vector<TokenId>;

class HostCacheBackendTest : public testing::Test {
 protected:
  void Make(int max_batch, std::size_t max_length, std::size_t max_cached_tokens, std::size_t patience = 0) {
    HostCacheLimits limits;
    limits.max_batch = max_batch;
    limits.max_length = max_length;
    limits.max_cached_tokens = max_cached_tokens;
    limits.patience = patience;
    backend_ = std::make_unique<HostCacheBackend>(model_, limits, FullDouble(model_, &recording_),
                                                  IncrementalDouble(model_, &recording_));
  }

  SeqId Open(std::size_t reserved) {
    const SeqId seq = backend_->Open(reserved);
    history_[seq];
    return seq;
  }

  /// Feeds the chunks in one step, all logit rows wanted, and compares each with what its history gives.
  void Step(const std::vector<std::pair<SeqId, Tokens>>& parts) {
    std::vector<std::vector<int>> rows;
    std::vector<Chunk> chunks;
    std::size_t total = 0;
    for (const auto& [seq, tokens] : parts) {
      rows.emplace_back(tokens.size());
      std::iota(rows.back().begin(), rows.back().end(), 0);
      total += tokens.size();
    }
    for (std::size_t i = 0; i < parts.size(); ++i) chunks.push_back({parts[i].first, parts[i].second, rows[i]});
    std::vector<float> logits(total * static_cast<std::size_t>(model_.vocab_size));
    backend_->Forward(chunks, logits);
    auto row = logits.begin();
    for (const auto& [seq, tokens] : parts) {
      for (const TokenId token : tokens) {
        history_[seq].push_back(token);
        ASSERT_EQ(std::vector<float>(row, row + model_.vocab_size), ExpectedLogits(model_, history_[seq]))
            << "sequence " << seq << " after " << history_[seq].size() << " tokens";
        row += model_.vocab_size;
      }
      ASSERT_EQ(backend_->Length(seq), history_[seq].size());
    }
  }

  Tokens Draw(std::size_t count) {
    Tokens tokens(count);
    for (TokenId& token : tokens) token = static_cast<TokenId>(random_() % static_cast<unsigned>(model_.vocab_size));
    return tokens;
  }

  void ExpectError(ErrorCode code, const std::string& text, const std::function<void()>& action) {
    try {
      action();
      ADD_FAILURE() << "no error; expected one with \"" << text << "\"";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
    }
  }

  /// Every open sequence still continues from its own history.
  void ExpectIntact() {
    for (const auto& [seq, tokens] : std::map<SeqId, Tokens>(history_)) {
      ASSERT_EQ(backend_->Length(seq), tokens.size());
      Step({{seq, Draw(1)}});
    }
  }

  ModelSpec model_ = TinySpec();
  Recording recording_;
  std::unique_ptr<HostCacheBackend> backend_;
  std::map<SeqId, Tokens> history_;
  std::mt19937 random_{7};
};

TEST_F(HostCacheBackendTest, PrefillChunksAndDecodeContinueOneAnother) {
  Make(2, 300, 600);
  const SeqId seq = Open(300);
  Step({{seq, Draw(5)}});
  Step({{seq, Draw(1)}});
  Step({{seq, Draw(130)}});
  Step({{seq, Draw(1)}});
  Step({{seq, Draw(63)}});
}

TEST_F(HostCacheBackendTest, AFreshPromptDoesNotAttendToTheEmptyCache) {
  Make(2, 512, 1024);
  Step({{Open(300), Draw(200)}});
  Step({{Open(300), Draw(10)}});
  EXPECT_EQ(recording_.caches[1], (Shape{1, model_.kv_heads, 1, model_.head_dim}));
}

TEST_F(HostCacheBackendTest, OneStepCarriesPrefillAndDecode) {
  Make(4, 300, 1200);
  const SeqId a = Open(300), b = Open(300), c = Open(300);
  Step({{a, Draw(7)}, {b, Draw(20)}});
  Step({{a, Draw(1)}, {c, Draw(33)}, {b, Draw(1)}});
  EXPECT_EQ(recording_.batches, std::vector<std::int64_t>{2});
}

TEST_F(HostCacheBackendTest, RowsWithoutLogitsLeaveOthersAlone) {
  Make(3, 100, 300);
  const SeqId a = Open(100), b = Open(100);
  const Tokens first = Draw(6), second = Draw(4);
  const std::vector<int> none, rows{1, 3};
  const Chunk chunks[] = {{a, first, none}, {b, second, rows}};
  std::vector<float> logits(2 * static_cast<std::size_t>(model_.vocab_size));
  backend_->Forward({chunks, 2}, logits);
  const auto middle = logits.begin() + model_.vocab_size;
  EXPECT_EQ(std::vector<float>(logits.begin(), middle), ExpectedLogits(model_, {second[0], second[1]}));
  EXPECT_EQ(std::vector<float>(middle, logits.end()), ExpectedLogits(model_, second));
  history_ = {{a, first}, {b, second}};
  ExpectIntact();
}

TEST_F(HostCacheBackendTest, OnlyTheSequencesOfTheBatchAreComputed) {
  Make(6, 100, 600);
  std::vector<SeqId> all;
  for (int i = 0; i < 6; ++i) all.push_back(Open(100));
  for (const SeqId seq : all) Step({{seq, Draw(3 + static_cast<std::size_t>(seq))}});
  Step({{all[0], Draw(1)}, {all[3], Draw(1)}, {all[5], Draw(1)}});
  EXPECT_EQ(recording_.batches.back(), 3);
  ExpectIntact();
}

TEST_F(HostCacheBackendTest, ResizesOnlyWhenAShapeChanges) {
  Make(2, 300, 600);
  const SeqId a = Open(300), b = Open(300);
  Step({{a, Draw(3)}});
  Step({{b, Draw(3)}});
  Step({{a, Draw(1)}, {b, Draw(1)}});
  const int before = recording_.resizes;
  for (int i = 0; i < 50; ++i) Step({{b, Draw(1)}, {a, Draw(1)}});
  EXPECT_EQ(recording_.resizes, before);
}

TEST_F(HostCacheBackendTest, LoadsTheIncrementalGraphWhenBatchesHaveComeOftenEnough) {
  Make(3, 100, 300, /*patience=*/4);
  const SeqId a = Open(100), b = Open(100), c = Open(100);
  Step({{a, Draw(2)}, {b, Draw(2)}, {c, Draw(2)}});
  Step({{a, Draw(1)}, {b, Draw(1)}, {c, Draw(1)}});
  Step({{a, Draw(1)}, {b, Draw(1)}, {c, Draw(1)}});
  EXPECT_EQ(recording_.incremental_opened, 0);
  Step({{a, Draw(1)}, {b, Draw(1)}, {c, Draw(1)}});
  EXPECT_EQ(recording_.incremental_opened, 1);
  EXPECT_EQ(recording_.full_opened, 1);
}

TEST_F(HostCacheBackendTest, OneSequenceNeverLoadsTheIncrementalGraph) {
  Make(2, 200, 400);
  const SeqId seq = Open(200);
  for (int i = 0; i < 100; ++i) Step({{seq, Draw(1)}});
  EXPECT_EQ(recording_.incremental_opened, 0);
}

TEST_F(HostCacheBackendTest, ABundleWithoutIncrementalGraphStillBatches) {
  backend_ = std::make_unique<HostCacheBackend>(model_, HostCacheLimits{3, 100, 300, 0},
                                                FullDouble(model_, &recording_), SessionFactory());
  const SeqId a = Open(100), b = Open(100);
  Step({{a, Draw(2)}, {b, Draw(9)}});
  Step({{a, Draw(1)}, {b, Draw(1)}});
}

TEST_F(HostCacheBackendTest, ReorderReadsAllBeforeItWritesAny) {
  Make(4, 100, 400);
  std::vector<SeqId> seqs;
  for (int i = 0; i < 4; ++i) seqs.push_back(Open(100));
  for (const SeqId seq : seqs) Step({{seq, Draw(10)}});
  for (const std::vector<int>& map : {std::vector<int>{1, 0, 3, 2}, {0, 0, 0, 0}, {3, 1, 2, 2}, {2, 3, 1, 1}}) {
    for (const SeqId seq : seqs) Step({{seq, Draw(2)}});
    std::vector<SeqId> from;
    std::map<SeqId, Tokens> next = history_;
    for (std::size_t i = 0; i < map.size(); ++i) {
      from.push_back(seqs[static_cast<std::size_t>(map[i])]);
      next[seqs[i]] = history_[from.back()];
    }
    backend_->Reorder(from, seqs);
    history_ = next;
    ExpectIntact();
  }
}

TEST_F(HostCacheBackendTest, ForkingLeavesTheSourceInPlace) {
  Make(3, 100, 300);
  const SeqId source = Open(100), a = Open(100), b = Open(100);
  Step({{source, Draw(12)}});
  const std::vector<SeqId> from{source, source}, to{a, b};
  backend_->Reorder(from, to);
  history_[a] = history_[b] = history_[source];
  ExpectIntact();
}

TEST_F(HostCacheBackendTest, ReorderChecksEverythingFirst) {
  Make(3, 100, 300);
  const SeqId a = Open(100), b = Open(10);
  Step({{a, Draw(20)}});
  Step({{b, Draw(5)}});
  const std::vector<SeqId> ab{a, b}, aa{a, a}, one{a}, ghost{99};
  ExpectError(ErrorCode::kCapacity, "holds 20 tokens", [&] { backend_->Reorder(Span<const SeqId>(aa), ab); });
  ExpectError(ErrorCode::kInvalidArgument, "twice", [&] { backend_->Reorder(Span<const SeqId>(ab), aa); });
  ExpectError(ErrorCode::kInvalidArgument, "2 and 1", [&] { backend_->Reorder(Span<const SeqId>(ab), one); });
  ExpectError(ErrorCode::kInvalidArgument, "99", [&] { backend_->Reorder(Span<const SeqId>(ghost), one); });
  ExpectIntact();
}

TEST_F(HostCacheBackendTest, TruncateForgetsTheEnd) {
  Make(2, 100, 200);
  const SeqId a = Open(100), b = Open(100);
  Step({{a, Draw(40)}, {b, Draw(40)}});
  backend_->Truncate(a, 13);
  history_[a].resize(13);
  ExpectIntact();
  ExpectError(ErrorCode::kInvalidArgument, "14", [&] { backend_->Truncate(a, 99); });
}

TEST_F(HostCacheBackendTest, OpenRefusesWhatDoesNotFit) {
  Make(2, 100, 150);
  ExpectError(ErrorCode::kInvalidArgument, "at least one", [&] { backend_->Open(0); });
  ExpectError(ErrorCode::kInvalidArgument, "101", [&] { backend_->Open(101); });
  const SeqId a = backend_->Open(100);
  ExpectError(ErrorCode::kBusy, "100 of 150", [&] { backend_->Open(51); });
  const SeqId b = backend_->Open(50);
  backend_->Close(b);
  const SeqId c = backend_->Open(10);
  ExpectError(ErrorCode::kBusy, "max_batch", [&] { backend_->Open(10); });
  EXPECT_NE(b, c);
  backend_->Close(a);
  ExpectError(ErrorCode::kInvalidArgument, std::to_string(a), [&] { backend_->Length(a); });
}

TEST_F(HostCacheBackendTest, ForwardRefusesBadChunksAndChangesNothing) {
  Make(3, 1000, 2000);
  const SeqId a = Open(1000), b = Open(8);
  Step({{a, Draw(3)}});
  Step({{b, Draw(6)}});
  const Tokens good{1}, outside{1, 101}, negative{-1}, none, many(513, 1), three{1, 2, 3};
  const std::vector<int> no_rows, descending{1, 0}, beyond{3};
  const auto forward = [&](std::vector<Chunk> chunks, std::size_t rows = 0) {
    std::vector<float> logits(rows * static_cast<std::size_t>(model_.vocab_size));
    backend_->Forward(chunks, logits);
  };
  using E = ErrorCode;
  ExpectError(E::kInvalidArgument, "101 is outside", [&] { forward({{b, good, no_rows}, {a, outside, no_rows}}); });
  ExpectError(E::kInvalidArgument, "-1 is outside", [&] { forward({{a, negative, no_rows}}); });
  ExpectError(E::kInvalidArgument, "0 tokens", [&] { forward({{a, none, no_rows}}); });
  ExpectError(E::kInvalidArgument, "1 to 512", [&] { forward({{a, many, no_rows}}); });
  ExpectError(E::kCapacity, "6 of its 8", [&] { forward({{b, three, no_rows}}); });
  ExpectError(E::kInvalidArgument, "two chunks", [&] { forward({{a, good, no_rows}, {a, good, no_rows}}); });
  ExpectError(E::kInvalidArgument, "no open sequence 77", [&] { forward({{77, good, no_rows}}); });
  ExpectError(E::kInvalidArgument, "row 0", [&] { forward({{a, three, descending}}, 2); });
  ExpectError(E::kInvalidArgument, "row 3", [&] { forward({{a, three, beyond}}, 1); });
  ExpectError(E::kInvalidArgument, "logits has 101", [&] { forward({{a, good, no_rows}}, 1); });
  ExpectIntact();
}

TEST_F(HostCacheBackendTest, AFailingRunLeavesEverySequenceAsItWas) {
  Make(4, 300, 1200);
  const SeqId a = Open(300), b = Open(300), c = Open(300);
  Step({{a, Draw(60)}, {b, Draw(9)}, {c, Draw(2)}});
  const Tokens chunk = Draw(70), one = Draw(1);
  const std::vector<int> none;
  const std::vector<Chunk> chunks{{a, chunk, none}, {b, one, none}, {c, one, none}};
  for (int which = 0; which < 2; ++which) {  // the chunk's run, then the batch's
    recording_.fail_run = recording_.full_runs + recording_.incremental_runs + which;
    ExpectError(ErrorCode::kBackend, "told to fail", [&] { backend_->Forward(chunks, {}); });
    ExpectIntact();
    recording_.poison_run = recording_.full_runs + recording_.incremental_runs + which;
    ExpectError(ErrorCode::kBackend, "not finite", [&] { backend_->Forward(chunks, {}); });
    ExpectIntact();
  }
}

TEST_F(HostCacheBackendTest, AStepIsGivenUpBetweenTwoRunsOfAGraph) {
  class At final : public ForwardWatch {
   public:
    explicit At(std::size_t done) : done_(done) {}
    bool GiveUp(std::size_t done, std::size_t total) override {
      EXPECT_EQ(total, 3u) << "two chunks, and the batch";
      return done == done_;
    }

   private:
    std::size_t done_;
  };
  Make(4, 300, 1200);
  const SeqId a = Open(300), b = Open(300), c = Open(300), d = Open(300);
  Step({{a, Draw(60)}, {b, Draw(9)}, {c, Draw(2)}, {d, Draw(5)}});
  const Tokens chunk = Draw(70), other = Draw(3), one = Draw(1);
  const std::vector<int> none;
  const std::vector<Chunk> chunks{{a, chunk, none}, {b, one, none}, {c, other, none}, {d, one, none}};
  for (const std::size_t done : {std::size_t{1}, std::size_t{2}}) {
    At watch(done);
    const int runs = recording_.full_runs + recording_.incremental_runs;
    EXPECT_FALSE(backend_->Forward(chunks, {}, &watch));
    EXPECT_EQ(recording_.full_runs + recording_.incremental_runs, runs + static_cast<int>(done));
    ExpectIntact();
  }
  At never(0);
  EXPECT_TRUE(backend_->Forward(chunks, {}, &never));
  EXPECT_EQ(backend_->Length(a), 60u + 2u + 70u);
}

TEST_F(HostCacheBackendTest, NamesTheInputThatAGraphLacks) {
  const auto make = [&](std::vector<TensorInfo> inputs) {
    HostCacheBackend(model_, HostCacheLimits{1, 10, 10, 0}, [inputs] { return SessionWithInputs(inputs); }, {});
  };
  const std::vector<TensorInfo> whole = FullDouble(model_, &recording_)()->inputs();
  for (std::size_t i = 0; i < whole.size(); ++i) {
    auto inputs = whole;
    inputs.erase(inputs.begin() + static_cast<std::ptrdiff_t>(i));
    ExpectError(ErrorCode::kCorruptBundle, whole[i].name, [&] { make(inputs); });
    inputs = whole;
    inputs[i].type = ElementType::kOther;
    ExpectError(ErrorCode::kCorruptBundle, whole[i].name, [&] { make(inputs); });
  }
  auto inputs = whole;
  inputs.push_back({"key_2", ElementType::kFloat32, {}});
  ExpectError(ErrorCode::kCorruptBundle, "11 inputs", [&] { make(inputs); });
}

TEST_F(HostCacheBackendTest, RandomSchedulesEqualEachSequenceAlone) {
  constexpr int kSchedules = 60, kSteps = 40;
  for (int schedule = 0; schedule < kSchedules; ++schedule) {
    random_.seed(static_cast<unsigned>(schedule));
    history_.clear();
    recording_ = {};
    Make(5, 400, 2000, schedule % 3 == 0 ? 1000 : 0);
    for (int step = 0; step < kSteps; ++step) {
      std::vector<SeqId> open;
      for (const auto& [seq, tokens] : history_) open.push_back(seq);
      std::shuffle(open.begin(), open.end(), random_);
      const auto action = random_() % 10;
      if (open.size() < 5 && (open.empty() || action < 3)) {
        Open(400);
      } else if (action == 3) {
        backend_->Close(open[0]);
        history_.erase(open[0]);
      } else if (action == 4) {
        const std::size_t length = random_() % (history_[open[0]].size() + 1);
        backend_->Truncate(open[0], length);
        history_[open[0]].resize(length);
      } else if (action == 5) {
        std::vector<SeqId> from,
            to(open.begin(), open.begin() + static_cast<std::ptrdiff_t>(1 + random_() % open.size()));
        std::map<SeqId, Tokens> next = history_;
        for (const SeqId target : to) {
          from.push_back(open[random_() % open.size()]);
          next[target] = history_[from.back()];
        }
        backend_->Reorder(from, to);
        history_ = next;
      } else {
        std::vector<std::pair<SeqId, Tokens>> parts;
        for (std::size_t i = 0; i < 1 + random_() % open.size(); ++i) {
          const std::size_t room = 400 - history_[open[i]].size();
          const std::size_t count = std::min<std::size_t>(room, random_() % 3 == 0 ? 1 + random_() % 40 : 1);
          if (count > 0) parts.push_back({open[i], Draw(count)});
        }
        Step(parts);
      }
      if (HasFatalFailure()) FAIL() << "schedule " << schedule << ", step " << step;
    }
  }
}

}  // namespace
}  // namespace skywork_rt::host_cache
