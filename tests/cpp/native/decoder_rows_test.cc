// What one step of many sequences does row by row is shared between threads, as it is for one long prompt.

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "backend/native/decoder.h"
#include "backend/native/kernels/choose_kernels.h"
#include "backend/native/paged_cache.h"
#include "backend/native/weights/model_weights.h"
#include "backend/native/weights/weights_file.h"
#include "native/tiny_model.h"

namespace skywork_rt::native {
namespace {

/// Counts the threads that rotate; the first of them waits for a second one before it goes on.
struct Witness {
  std::mutex mutex;
  std::set<std::thread::id> threads;
  std::atomic<int> seen{0};

  void Note() {
    {
      const std::lock_guard<std::mutex> lock(mutex);
      threads.insert(std::this_thread::get_id());
      seen = static_cast<int>(threads.size());
    }
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (seen.load() < 2 && std::chrono::steady_clock::now() < end) std::this_thread::yield();
  }
};

Witness* g_witness = nullptr;

void WatchedRotate(float* head, const float* cosine, const float* sine, int head_dim, float scale) {
  g_witness->Note();
  ChooseKernels().rotate(head, cosine, sine, head_dim, scale);
}

TEST(DecoderRows, RotaryAndTheCachesWritesOfManySequencesRunOnSeveralThreads) {
  const TemporaryDirectory directory;
  const TinyModel model = MakeTinyModel({}, directory.path());
  const WeightsFile file(model.file, FileContents::Map(model.file));
  const ModelWeights weights(model.spec, file);
  Kernels kernels = ChooseKernels();
  kernels.rotate = &WatchedRotate;
  constexpr int kSequences = 16;
  PagedCache cache(model.spec, CacheKind::kF32, kSequences * kPageTokens, kSequences);
  Decoder decoder(model.spec, weights, kernels, cache, 2, kernels.exact);
  Pass pass;
  std::vector<SeqId> sequences;
  for (int i = 0; i < kSequences; ++i) {
    sequences.push_back(cache.Open(4));
    cache.Prepare(sequences.back(), 1);
    pass.tokens.push_back(i);
    pass.wanted.push_back(i);
  }
  for (int i = 0; i < kSequences; ++i) {
    pass.pieces.push_back({&cache.Pages(sequences[static_cast<std::size_t>(i)]), 0, i, 1});
  }
  std::vector<float> logits(pass.wanted.size() * static_cast<std::size_t>(model.spec.vocab_size));
  Witness witness;
  g_witness = &witness;
  ThreadPool::Lease lease(2);
  decoder.Run(lease, pass, logits.data(), [] { return false; });
  g_witness = nullptr;
  EXPECT_EQ(witness.threads.size(), 2u);
}

}  // namespace
}  // namespace skywork_rt::native
