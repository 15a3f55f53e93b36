#include "backend/host_cache/dense_cache.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include "host_cache/recording_session.h"
#include "skywork_rt/error.h"
#include "support/sanitizers.h"

namespace skywork_rt::host_cache {
namespace {

std::vector<float> Pattern(const ModelSpec& model, std::size_t count, float seed) {
  std::vector<float> values(static_cast<std::size_t>(model.kv_heads * model.head_dim) * count);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = seed + static_cast<float>(i);
  return values;
}

void Append(DenseCache* cache, const ModelSpec& model, int slot, std::size_t count, float seed) {
  const std::size_t position = cache->length(slot);
  cache->Fit(std::max(cache->positions(), position + count));
  for (int layer = 0; layer < model.layers; ++layer) {
    cache->WriteKeys(layer, slot, position, count, Pattern(model, count, seed).data());
    cache->WriteValues(layer, slot, position, count, Pattern(model, count, seed + 0.5f).data());
  }
  cache->SetLength(slot, position + count);
}

/// Everything that the slot holds, in one row.
std::vector<float> Contents(const DenseCache& cache, const ModelSpec& model, int slot) {
  std::vector<float> all;
  for (int layer = 0; layer < model.layers; ++layer) {
    for (const float* array : {cache.keys(layer, slot), cache.values(layer, slot)}) {
      for (int head = 0; head < model.kv_heads; ++head) {
        const float* start = array + static_cast<std::size_t>(head) * cache.positions() * model.head_dim;
        all.insert(all.end(), start, start + cache.length(slot) * model.head_dim);
      }
    }
  }
  return all;
}

TEST(PositionsFor, GrowsInStepsThatWasteAtMostAnEighthAndNeverPassTheBound) {
  EXPECT_EQ(PositionsFor(0, 2048), 64u);
  EXPECT_EQ(PositionsFor(64, 2048), 64u);
  EXPECT_EQ(PositionsFor(65, 2048), 128u);
  EXPECT_EQ(PositionsFor(2047, 2048), 2048u);
  EXPECT_EQ(PositionsFor(10, 12), 12u);
  for (std::size_t longest = 1; longest < 20000; longest += 7) {
    const std::size_t positions = PositionsFor(longest, 20000);
    EXPECT_GE(positions, longest);
    EXPECT_LE(positions, std::max<std::size_t>(longest + 64, longest + longest / 7)) << longest;
  }
}

TEST(DenseCache, KeepsContentsThroughGrowthAndShrinking) {
  const ModelSpec model = TinySpec();
  DenseCache cache(model, 3, 2048);
  Append(&cache, model, 0, 5, 1);
  Append(&cache, model, 2, 60, 1000);
  const auto first = Contents(cache, model, 0), third = Contents(cache, model, 2);
  cache.Fit(1500);
  EXPECT_GE(cache.positions(), 1500u);
  EXPECT_EQ(Contents(cache, model, 0), first);
  EXPECT_EQ(Contents(cache, model, 2), third);
  cache.Fit(60);
  EXPECT_EQ(cache.positions(), 64u);
  EXPECT_EQ(Contents(cache, model, 0), first);
  EXPECT_EQ(Contents(cache, model, 2), third);
}

TEST(DenseCache, CopiesOnlyWhatTwoSlotsDoNotShare) {
  const ModelSpec model = TinySpec();
  DenseCache cache(model, 3, 256);
  Append(&cache, model, 0, 50, 1);
  const std::size_t whole = cache.CopyCost(0, 1);
  cache.Copy(0, 1);
  EXPECT_EQ(cache.shared(0, 1), 50u);
  Append(&cache, model, 0, 1, 7);
  Append(&cache, model, 1, 1, 8);
  EXPECT_EQ(cache.shared(0, 1), 50u);
  EXPECT_EQ(cache.CopyCost(0, 1), whole / 50);
  cache.Copy(0, 1);
  EXPECT_EQ(Contents(cache, model, 1), Contents(cache, model, 0));
  cache.Copy(1, 2);
  EXPECT_EQ(cache.shared(0, 2), 51u);  // through slot 1
  cache.SetLength(0, 20);
  EXPECT_EQ(cache.shared(0, 2), 20u);
  Append(&cache, model, 0, 31, 99);
  cache.Copy(0, 2);
  EXPECT_EQ(Contents(cache, model, 2), Contents(cache, model, 0));
}

TEST(DenseCache, SwapExchangesContentsAndWhatIsShared) {
  const ModelSpec model = TinySpec();
  DenseCache cache(model, 4, 256);
  Append(&cache, model, 0, 9, 1);
  cache.Copy(0, 1);
  Append(&cache, model, 1, 3, 40);
  Append(&cache, model, 2, 30, 500);
  const auto a = Contents(cache, model, 1), b = Contents(cache, model, 2);
  cache.Swap(1, 2);
  EXPECT_EQ(Contents(cache, model, 2), a);
  EXPECT_EQ(Contents(cache, model, 1), b);
  EXPECT_EQ(cache.shared(0, 2), 9u);
  EXPECT_EQ(cache.shared(0, 1), 0u);
  cache.Swap(2, 3);  // into a hole
  EXPECT_EQ(Contents(cache, model, 3), a);
  EXPECT_EQ(cache.length(2), 0u);
  EXPECT_EQ(cache.shared(0, 3), 9u);
}

TEST(DenseCache, RefusesWhatIsNotFinite) {
  const ModelSpec model = TinySpec();
  DenseCache cache(model, 1, 64);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    std::vector<float> values = Pattern(model, 3, 1);
    values[7] = bad;
    try {
      cache.WriteValues(1, 0, 4, 3, values.data());
      ADD_FAILURE() << "stored " << bad;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kBackend);
      EXPECT_NE(std::string(error.what()).find("layer 1"), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find("positions 4 to 6"), std::string::npos) << error.what();
    }
  }
}

std::size_t ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  std::size_t total = 0, resident = 0;
  statm >> total >> resident;
  return resident * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

TEST(DenseCache, TakesMemoryForWhatIsWrittenAndGivesItBack) {
  if (skywork_rt::testing::kAddressSanitizer)
    GTEST_SKIP() << "counts resident bytes, to which AddressSanitizer adds its own";
  ModelSpec model = TinySpec();
  model.kv_heads = 8;
  model.head_dim = 64;
  constexpr std::size_t kLength = 8192;
  const std::size_t token_bytes = model.CacheBytesPerToken(sizeof(float));
  const std::size_t before = ResidentBytes();
  DenseCache cache(model, 16, kLength);
  cache.Fit(kLength);  // 16 slots of 64 MiB, were they touched
  Append(&cache, model, 3, 4096, 1);
  const std::size_t used = ResidentBytes() - before;
  EXPECT_GE(used, 4096 * token_bytes * 9 / 10);
  EXPECT_LE(used, 4096 * token_bytes * 13 / 10 + (16u << 20));
  cache.Clear(3);
  EXPECT_LE(ResidentBytes(), before + (16u << 20));
}

TEST(DenseCache, SaysHowMuchTheSystemRefused) {
  ModelSpec model = TinySpec();
  model.head_dim = 1 << 20;
  model.rope.inverse_frequencies.assign(1 << 19, 1.0f);
  try {
    DenseCache cache(model, 1 << 10, 1 << 20);
    cache.Fit(1 << 20);
    ADD_FAILURE() << "reserved an impossible cache";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCapacity);
    EXPECT_NE(std::string(error.what()).find("bytes for the KV cache"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace skywork_rt::host_cache
