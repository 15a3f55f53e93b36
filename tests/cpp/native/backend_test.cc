#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "backend/native/native_backend.h"
#include "native/kernel_testing.h"
#include "skywork_rt/error.h"
#include "support/format.h"
#include "support/sanitizers.h"

namespace skywork_rt::native {
namespace {

std::vector<TokenId> RandomTokens(std::size_t n, int vocab, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<TokenId> tokens(n);
  for (TokenId& t : tokens) t = static_cast<TokenId>(random() % static_cast<unsigned>(vocab));
  return tokens;
}

std::vector<float> AllLogits(Backend& backend, const std::vector<TokenId>& tokens) {
  const SeqId seq = backend.Open(tokens.size());
  std::vector<int> rows(tokens.size());
  std::iota(rows.begin(), rows.end(), 0);
  std::vector<float> logits(tokens.size() * static_cast<std::size_t>(backend.model().vocab_size));
  const Chunk chunk{seq, tokens, rows};
  backend.Forward({&chunk, 1}, logits);
  backend.Close(seq);
  return logits;
}

BackendOptions Options(int threads = 2) {
  BackendOptions options;
  options.threads = threads;
  options.max_batch = 4;
  return options;
}

double LargestDifference(const std::vector<float>& a, const std::vector<double>& b) {
  EXPECT_EQ(a.size(), b.size());
  double most = 0;
  for (std::size_t i = 0; i < a.size(); ++i) most = std::max(most, std::abs(static_cast<double>(a[i]) - b[i]));
  return most;
}

TEST(NativeBackend, EqualsTheTextbookForEveryShapeAndKindOfWeights) {
  std::vector<TinyOptions> models;
  for (const WeightKind kind : kKinds) {
    TinyOptions options;
    options.kind = options.vocabulary_kind = kind;
    models.push_back(options);
  }
  models.push_back({});
  models.back().kind = kInt4;  // mixed, as int4 files are
  models.push_back({});
  // Every matrix of a layer of another kind than its neighbours, as GGUF files may have them.
  models.back().kinds_in_turn = {kInt4, kF32, kInt8, kInt4, kInt8, kBf16};
  models.push_back({});
  models.back().kinds_in_turn = kKinds;
  models.push_back({});
  models.back().qkv_bias = true;
  models.push_back({});
  models.back().tied_embeddings = true;
  models.push_back({});
  models.back().output_bias = true;
  models.push_back({});
  models.back().mlp_bias = true;
  for (const int head_dim : {2, 16, 18, 32}) {
    models.push_back({});
    models.back().qk_norm = true;
    models.back().head_dim = head_dim;
  }
  models.push_back({});
  models.back().layers_without_rope = {1};
  models.push_back({});
  models.back().layers_without_rope = {0};
  models.back().qk_norm = models.back().qkv_bias = models.back().output_bias = models.back().mlp_bias = true;
  models.push_back({});
  models.back().kv_heads = 6;  // MHA
  models.push_back({});
  models.back().kv_heads = 1;  // MQA
  models.push_back({});
  models.back().heads = 30;  // more query heads than one attention call takes
  models.back().kv_heads = 1;
  models.back().head_dim = 2;
  models.push_back({});
  models.back().head_dim = 128;
  const TemporaryDirectory directory;
  // More than a pass of 96 tokens and than a block of 128 positions.
  const std::vector<TokenId> tokens = RandomTokens(static_cast<std::size_t>(testing::Size(300, 140)), 131, 5);
  for (std::size_t i = 0; i < models.size(); ++i) {
    const TinyModel model = MakeTinyModel(models[i], directory.path(), static_cast<unsigned>(i + 1));
    const auto backend = OpenBackend(model.spec, model.file, Options());
    EXPECT_LT(LargestDifference(AllLogits(*backend, tokens), ReferenceLogits(model, tokens)), 1e-4) << "model " << i;
  }
}

TEST(NativeBackend, AsksItsWatchBehindEveryLayerOfEveryPassButTheLast) {
  class Counting final : public ForwardWatch {
   public:
    bool GiveUp(std::size_t done, std::size_t total) override {
      EXPECT_EQ(done, ++asked);
      EXPECT_EQ(total, 12u);
      return asked == give_up_at;
    }
    std::size_t asked = 0;
    std::size_t give_up_at = 0;
  };
  const TemporaryDirectory directory;
  TinyOptions shape;
  shape.layers = 4;
  const TinyModel model = MakeTinyModel(shape, directory.path());
  const auto backend = OpenBackend(model.spec, model.file, Options());
  const std::vector<TokenId> tokens = RandomTokens(250, 131, 6);  // three passes
  const SeqId seq = backend->Open(300);
  const Chunk chunk{seq, tokens, {}};
  Counting stops;
  stops.give_up_at = 6;
  EXPECT_FALSE(backend->Forward({&chunk, 1}, {}, &stops));
  EXPECT_EQ(stops.asked, 6u) << "no layer behind the sixth";
  EXPECT_EQ(backend->Length(seq), 0u);
  Counting counts;
  EXPECT_TRUE(backend->Forward({&chunk, 1}, {}, &counts));
  EXPECT_EQ(counts.asked, 11u);
  EXPECT_EQ(backend->Length(seq), 250u);
}

TEST(NativeBackend, HalfPrecisionCacheStaysCloseToTheTextbook) {
  const TemporaryDirectory directory;
  const TinyModel model = MakeTinyModel({}, directory.path());
  BackendOptions options = Options();
  options.kv_cache = "f16";
  const auto backend = OpenBackend(model.spec, model.file, options);
  const std::vector<TokenId> tokens = RandomTokens(200, 131, 6);
  EXPECT_LT(LargestDifference(AllLogits(*backend, tokens), ReferenceLogits(model, tokens)), 2e-2);
}

TEST(NativeBackend, RoundedActivationsStayCloseToTheTextbookAndNeedIntegerWeights) {
  const TemporaryDirectory directory;
  const std::vector<TokenId> tokens = RandomTokens(200, 131, 9);
  std::vector<std::vector<WeightKind>> mixtures = {{kInt8, kInt4}, IntegerKinds()};
  for (const WeightKind kind : IntegerKinds()) mixtures.push_back({kind});
  for (const std::vector<WeightKind>& kinds : mixtures) {
    TinyOptions shape;
    shape.kinds_in_turn = kinds;
    const TinyModel model = MakeTinyModel(shape, directory.path());
    BackendOptions options = Options();
    options.activations = "int8";
    const auto backend = OpenBackend(model.spec, model.file, options);
    EXPECT_LT(LargestDifference(AllLogits(*backend, tokens), ReferenceLogits(model, tokens)), 0.4);
  }
  TinyOptions shape;
  shape.kind = kBf16;
  shape.vocabulary_kind = kBf16;  // a single matrix of integers would do
  const TinyModel model = MakeTinyModel(shape, directory.path());
  BackendOptions options = Options();
  options.activations = "int8";
  try {
    OpenBackend(model.spec, model.file, options);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
    EXPECT_THAT(error.what(), ::testing::HasSubstr("bf16"));
  }
}

/// All logits of a prompt with one instruction set; empty where the processor lacks it.
std::vector<float> LogitsWith(const char* isa, const TinyModel& model, const BackendOptions& options,
                              const std::vector<TokenId>& tokens) {
  if (FindKernels(isa) == nullptr) return {};
  const WithInstructionSet chosen(isa);
  return AllLogits(*OpenBackend(model.spec, model.file, options), tokens);
}

TEST(NativeBackend, ThreadsAndWaysOfLoadingGiveTheSameBits) {
  const TemporaryDirectory directory;
  TinyOptions shape;
  shape.kind = kInt4;
  const TinyModel model = MakeTinyModel(shape, directory.path());
  const std::vector<TokenId> tokens = RandomTokens(150, 131, 7);
  for (const char* isa : {"scalar", "avx2", "avx512", "avx512vnni"}) {
    BackendOptions copied = Options(3);
    copied.mmap = false;
    BackendOptions mapped = Options(1);
    mapped.mmap = true;
    const std::vector<float> logits = LogitsWith(isa, model, copied, tokens);
    EXPECT_EQ(logits.empty(), FindKernels(isa) == nullptr) << isa;
    EXPECT_TRUE(SameBits(logits, LogitsWith(isa, model, mapped, tokens))) << isa;
  }
}

TEST(NativeBackend, InstructionSetsGiveTheSameBitsUnlessOneMultipliesBytes) {
  const TemporaryDirectory directory;
  const std::vector<TokenId> tokens = RandomTokens(static_cast<std::size_t>(testing::Size(150, 100)), 131, 7);
  for (const WeightKind kind : kKinds) {
    TinyOptions shape;
    shape.kind = kind;
    shape.vocabulary_kind = kind;
    const TinyModel model = MakeTinyModel(shape, directory.path());
    for (const char* activations : {"f32", "int8"}) {
      const bool integers = FactsOf(kind).integers;
      if (!integers && std::string(activations) == "int8") continue;
      BackendOptions options = Options();
      options.activations = activations;
      const std::vector<float> expected = LogitsWith("scalar", model, options, tokens);
      ASSERT_FALSE(expected.empty());
      const float largest = *std::max_element(expected.begin(), expected.end());
      for (const char* isa : {"avx2", "avx512", "avx512vnni"}) {
        const std::vector<float> logits = LogitsWith(isa, model, options, tokens);
        if (logits.empty()) continue;
        const std::string what = StrCat(isa, " ", FactsOf(kind).name, " activations ", activations);
        if (std::string(isa) != "avx512vnni" || !integers || std::string(activations) == "int8") {
          EXPECT_TRUE(SameBits(logits, expected)) << what;
          continue;
        }
        EXPECT_FALSE(SameBits(logits, expected)) << what << ": is it still the fixed-point path?";
        for (std::size_t i = 0; i < logits.size(); ++i) ASSERT_NEAR(logits[i], expected[i], largest * 1e-5f) << what;
      }
    }
  }
}

TEST(NativeBackend, RefusesUnknownOptionsByName) {
  const TemporaryDirectory directory;
  const TinyModel model = MakeTinyModel({}, directory.path());
  const auto expect = [&](ErrorCode code, const std::string& part, const BackendOptions& options) {
    try {
      OpenBackend(model.spec, model.file, options);
      ADD_FAILURE() << part;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code);
      EXPECT_THAT(error.what(), ::testing::HasSubstr(part));
    }
  };
  BackendOptions options = Options();
  options.kv_cache = "int3";
  expect(ErrorCode::kInvalidArgument, "kv_cache is \"int3\"", options);
  options = Options();
  options.activations = "fp8";
  expect(ErrorCode::kInvalidArgument, "activations is \"fp8\"", options);
  options = Options();
  options.max_batch = 0;
  expect(ErrorCode::kInvalidArgument, "max_batch is 0", options);
  options = Options();
  options.affinity = {1 << 20};
  expect(ErrorCode::kInvalidArgument, "this process may run on", options);
  options = Options();
  options.max_cached_tokens = std::size_t{1} << 60;
  expect(ErrorCode::kCapacity, "max_cached_tokens", options);
  setenv("SKYWORK_RT_NATIVE_ISA", "sse9", 1);
  expect(ErrorCode::kUnsupported, "sse9", Options());
  unsetenv("SKYWORK_RT_NATIVE_ISA");
}

TEST(NativeBackend, TellsWhatACachedTokenTakesBeforeItIsOpened) {
  const TemporaryDirectory directory;
  const TinyModel model = MakeTinyModel({}, directory.path());  // 2 layers, 3 heads of 18, which are padded to 32
  for (const auto& [kind, bytes] : {std::pair<const char*, std::size_t>{"f32", 4}, {"f16", 2}}) {
    BackendOptions options = Options();
    options.kv_cache = kind;
    const BackendMemory memory = MemoryOf(model.spec, options);
    EXPECT_EQ(memory.per_token, std::size_t{2 * 2 * 3 * 32} * bytes) << "keys and values, as " << kind;
    EXPECT_EQ(OpenBackend(model.spec, model.file, options)->traits().bytes_per_token, memory.per_token);
    EXPECT_GE(memory.work, 4 * 16 * memory.per_token) << "a page that each of 4 sequences may leave empty";
  }
  BackendOptions wrong = Options();
  wrong.kv_cache = "int3";
  EXPECT_THROW(MemoryOf(model.spec, wrong), Error);
}

TEST(NativeBackend, TwoModelsInOneProcessShareTheThreads) {
  const TemporaryDirectory directory;
  const TinyModel model = MakeTinyModel({}, directory.path());
  const std::vector<TokenId> tokens = RandomTokens(120, 131, 8);
  const auto first = OpenBackend(model.spec, model.file, Options(2));
  const std::vector<float> expected = AllLogits(*first, tokens);
  std::vector<std::thread> users;
  std::atomic<int> wrong{0};
  for (int i = 0; i < 3; ++i) {
    users.emplace_back([&] {
      const auto backend = OpenBackend(model.spec, model.file, Options(2));
      for (int round = 0; round < 5; ++round) {
        const std::vector<float> logits = AllLogits(*backend, tokens);
        if (std::memcmp(logits.data(), expected.data(), logits.size() * sizeof(float)) != 0) ++wrong;
      }
    });
  }
  for (std::thread& user : users) user.join();
  EXPECT_EQ(wrong.load(), 0);
}

}  // namespace
}  // namespace skywork_rt::native
