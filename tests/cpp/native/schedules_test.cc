// The bitwise promise: whatever else is in the batch, however a prompt is cut, whether its beginning was cached, forked
// or computed again, given up on the way, and with any number of threads, a position's logits are the same bits.

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "backend/native/native_backend.h"
#include "native/kernel_testing.h"
#include "support/sanitizers.h"

namespace skywork_rt::native {
namespace {

constexpr int kMostSequences = 6;
constexpr std::size_t kLongest = 300;  // reaches into the third block of attention

/// The logits after a list of tokens, each computed alone, in one call, by one thread.
class Oracle {
 public:
  explicit Oracle(std::unique_ptr<Backend> backend) : backend_(std::move(backend)) {}

  const std::vector<float>& After(const std::vector<TokenId>& tokens) {
    std::vector<float>& logits = known_[tokens];
    if (!logits.empty()) return logits;
    logits.resize(static_cast<std::size_t>(backend_->model().vocab_size));
    const SeqId seq = backend_->Open(tokens.size());
    const int last = static_cast<int>(tokens.size()) - 1;
    const Chunk chunk{seq, tokens, {&last, 1}};
    backend_->Forward({&chunk, 1}, logits);
    backend_->Close(seq);
    return logits;
  }

 private:
  std::unique_ptr<Backend> backend_;
  std::map<std::vector<TokenId>, std::vector<float>> known_;
};

/// A few sequences driven at random, with what each holds written down.
class Schedule {
 public:
  Schedule(Backend& backend, Oracle& oracle, unsigned seed)
      : backend_(backend), oracle_(oracle), random_(seed), watch_(seed) {
    // Prompts begin alike, so that forks and truncations meet sequences that differ late.
    for (std::size_t i = 0; i < 64; ++i) common_.push_back(Token());
  }

  ~Schedule() {
    for (const auto& [seq, tokens] : sequences_) backend_.Close(seq);
  }
  Schedule(const Schedule&) = delete;
  Schedule& operator=(const Schedule&) = delete;

  int given_up() const { return given_up_; }

  void Step() {
    const unsigned choice = Below(10);
    if (sequences_.empty() || (choice < 2 && sequences_.size() < kMostSequences)) {
      Open();
    } else if (choice == 2) {
      Fork();
    } else if (choice == 3) {
      Truncate();
    } else if (choice == 4 && sequences_.size() > 2) {
      const SeqId seq = Any();
      backend_.Close(seq);
      sequences_.erase(seq);
    } else {
      Forward();
    }
  }

 private:
  unsigned Below(unsigned n) { return static_cast<unsigned>(random_() % n); }
  TokenId Token() { return static_cast<TokenId>(Below(static_cast<unsigned>(backend_.model().vocab_size))); }

  SeqId Any() {
    auto it = sequences_.begin();
    std::advance(it, Below(static_cast<unsigned>(sequences_.size())));
    return it->first;
  }

  void Open() { sequences_[backend_.Open(kLongest)] = {}; }

  void Fork() {
    std::vector<SeqId> from, to;
    for (const auto& [seq, tokens] : sequences_) {
      if (Below(2) == 0) continue;
      from.push_back(Any());
      to.push_back(seq);
    }
    backend_.Reorder(from, to);
    const auto before = sequences_;
    for (std::size_t i = 0; i < to.size(); ++i) sequences_[to[i]] = before.at(from[i]);
  }

  void Truncate() {
    const SeqId seq = Any();
    std::vector<TokenId>& tokens = sequences_[seq];
    const std::size_t length = Below(static_cast<unsigned>(tokens.size()) + 1);
    backend_.Truncate(seq, length);
    tokens.resize(length);
  }

  void Forward() {
    std::vector<std::vector<TokenId>> inputs;
    std::vector<std::vector<int>> rows;
    std::vector<SeqId> order;
    for (const auto& [seq, tokens] : sequences_) {
      if (tokens.size() == kLongest || Below(4) == 0) continue;
      const std::size_t room = kLongest - tokens.size();
      const std::size_t count = std::min<std::size_t>(room, Below(3) == 0 ? 1 + Below(150) : 1 + Below(3));
      std::vector<TokenId> input;
      for (std::size_t i = 0; i < count; ++i) {
        const std::size_t position = tokens.size() + i;
        input.push_back(position < common_.size() && Below(50) != 0 ? common_[position] : Token());
      }
      inputs.push_back(input);
      rows.push_back(Below(4) == 0 ? std::vector<int>{} : std::vector<int>{static_cast<int>(count) - 1});
      if (!rows.back().empty() && count > 3 && Below(2) == 0) rows.back().insert(rows.back().begin(), 1);
      order.push_back(seq);
    }
    std::vector<Chunk> chunks;
    std::size_t wanted = 0;
    for (std::size_t i = 0; i < order.size(); ++i) {
      chunks.push_back({order[i], inputs[i], rows[i]});
      wanted += rows[i].size();
    }
    const auto vocab = static_cast<std::size_t>(backend_.model().vocab_size);
    std::vector<float> logits(wanted * vocab);
    while (!backend_.Forward(chunks, logits, &watch_)) ++given_up_;
    const float* next = logits.data();
    for (std::size_t i = 0; i < order.size(); ++i) {
      std::vector<TokenId>& tokens = sequences_[order[i]];
      for (const int row : rows[i]) {
        std::vector<TokenId> prefix = tokens;
        prefix.insert(prefix.end(), inputs[i].begin(), inputs[i].begin() + row + 1);
        ASSERT_EQ(std::memcmp(next, oracle_.After(prefix).data(), vocab * sizeof(float)), 0)
            << "after " << prefix.size() << " tokens";
        next += vocab;
      }
      tokens.insert(tokens.end(), inputs[i].begin(), inputs[i].end());
      ASSERT_EQ(backend_.Length(order[i]), tokens.size());
    }
  }

  /// Gives up now and then.
  class Fickle final : public ForwardWatch {
   public:
    explicit Fickle(unsigned seed) : random_(seed) {}
    bool GiveUp(std::size_t /*done*/, std::size_t /*total*/) override { return random_() % 8 == 0; }

   private:
    std::mt19937 random_;
  };

  Backend& backend_;
  Oracle& oracle_;
  std::mt19937 random_;
  Fickle watch_;
  int given_up_ = 0;
  std::vector<TokenId> common_;
  std::map<SeqId, std::vector<TokenId>> sequences_;
};

void RunSchedules(const TinyOptions& shape, const std::string& kv_cache, int count, unsigned first_seed,
                  const std::string& activations = "f32") {
  const TemporaryDirectory directory;
  const TinyModel model = MakeTinyModel(shape, directory.path());
  BackendOptions options;
  options.kv_cache = kv_cache;
  options.activations = activations;
  options.max_batch = kMostSequences;
  options.max_length = kLongest;
  options.threads = 1;
  Oracle oracle(OpenBackend(model.spec, model.file, options));
  std::vector<std::unique_ptr<Backend>> backends;
  for (const int threads : {1, 2, 3}) {
    options.threads = threads;
    backends.push_back(OpenBackend(model.spec, model.file, options));
  }
  int given_up = 0;
  for (int i = 0; i < testing::Repeats(count); ++i) {
    Schedule schedule(*backends[static_cast<std::size_t>(i) % backends.size()], oracle,
                      first_seed + static_cast<unsigned>(i));
    for (int step = 0; step < 25; ++step) {
      schedule.Step();
      if (::testing::Test::HasFatalFailure()) FAIL() << "schedule " << i << " step " << step;
    }
    given_up += schedule.given_up();
  }
  EXPECT_GT(given_up, testing::Repeats(count)) << "Forwards that were given up";
}

TinyOptions Small() {
  TinyOptions shape;
  shape.hidden_size = 40;
  shape.intermediate_size = 50;
  shape.heads = 4;
  shape.kv_heads = 2;
  shape.head_dim = 10;
  shape.vocab_size = 61;
  return shape;
}

TEST(BitwisePromise, HoldsOverRandomSchedulesWithInt8Weights) {
  RunSchedules(Small(), "f32", 150, 1000);
}

TEST(BitwisePromise, HoldsOverRandomSchedulesWithInt4WeightsAndHalfCache) {
  TinyOptions shape = Small();
  shape.kind = kInt4;
  RunSchedules(shape, "f16", 100, 2000);
}

TEST(BitwisePromise, HoldsOverRandomSchedulesWithFloatWeights) {
  TinyOptions shape = Small();
  shape.kind = kBf16;
  shape.vocabulary_kind = kF32;
  RunSchedules(shape, "f32", 50, 3000);
}

TEST(BitwisePromise, HoldsOverRandomSchedulesWithRoundedActivations) {
  TinyOptions shape = Small();
  shape.kind = kInt4;
  RunSchedules(shape, "f32", 50, 4000, "int8");
}

/// What processors that do not multiply bytes do with integer weights.
TEST(BitwisePromise, HoldsOverRandomSchedulesWithIntegerWeightsMadeFloats) {
  const WithInstructionSet chosen(FindKernels("avx2") != nullptr ? "avx2" : "scalar");
  for (const WeightKind kind : IntegerKinds()) {
    TinyOptions shape = Small();
    shape.kind = kind;
    RunSchedules(shape, "f32", 25, 5000);
  }
}

TEST(BitwisePromise, HoldsOverRandomSchedulesWithEveryKindOfWeightsInALayer) {
  TinyOptions shape = Small();
  shape.kinds_in_turn = {kInt4, kF32, kInt8, kInt4, kInt8, kBf16};
  RunSchedules(shape, "f32", 25, 6000);
  shape.kinds_in_turn = {kInt8, kInt4, kInt4};
  RunSchedules(shape, "f32", 25, 7000, "int8");
  shape.kinds_in_turn = kKinds;
  RunSchedules(shape, "f32", 25, 8000);
}

}  // namespace
}  // namespace skywork_rt::native
