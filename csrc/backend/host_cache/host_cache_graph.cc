#include "backend/host_cache/host_cache_graph.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "bundle/rope.h"
#include "skywork_rt/error.h"
#include "support/format.h"

namespace skywork_rt::host_cache {
namespace {

// Added to scores. Not -inf: a row whose positions are all masked must not become NaN.
constexpr float kMasked = -1e30f;

std::int64_t Dim(std::size_t value) {
  return static_cast<std::int64_t>(value);
}

/// Cosine twice over, and sine with its first half negated, so that the graph's rotation is one
/// x * cos + swap_halves(x) * sin. Both are [head_dim].
void FillRotary(const RopeSpec& rope, std::size_t position, Span<float> cos, Span<float> sin) {
  const std::size_t half = cos.size() / 2;
  RotaryAt(rope, position, cos.subspan(0, half), sin.subspan(half, half));
  for (std::size_t i = 0; i < half; ++i) {
    cos[half + i] = cos[i];
    sin[i] = -sin[half + i];
  }
}

void FillCacheMask(std::size_t length, Span<float> mask) {
  std::fill(mask.begin(), mask.begin() + length, 0.0f);
  std::fill(mask.begin() + length, mask.end(), kMasked);
}

}  // namespace

HostCacheGraph::HostCacheGraph(std::unique_ptr<Session> session, const ModelSpec& model,
                               const std::vector<Expected>& expected)
    : session_(std::move(session)), model_(model) {
  std::unordered_map<std::string, std::size_t> by_name;
  for (std::size_t i = 0; i < session_->inputs().size(); ++i) by_name.emplace(session_->inputs()[i].name, i);
  const auto index_of = [&](const std::string& name, ElementType type) {
    const auto found = by_name.find(name);
    if (found == by_name.end()) {
      throw Error(ErrorCode::kCorruptBundle, StrCat("the graph has no input ", name, "; export the bundle again"));
    }
    if (session_->inputs()[found->second].type != type) {
      throw Error(ErrorCode::kCorruptBundle,
                  StrCat("the graph's input ", name, " is not ", type == ElementType::kInt32 ? "int32" : "float32",
                         "; export the bundle again"));
    }
    return found->second;
  };
  for (const Expected& input : expected) inputs_.push_back(index_of(input.name, input.type));
  for (int layer = 0; layer < model_.layers; ++layer) {
    cache_inputs_.push_back(index_of(StrCat("key_", layer), ElementType::kFloat32));
    cache_inputs_.push_back(index_of(StrCat("value_", layer), ElementType::kFloat32));
  }
  const std::size_t wanted = inputs_.size() + cache_inputs_.size();
  if (session_->inputs().size() != wanted) {
    throw Error(ErrorCode::kCorruptBundle,
                StrCat("the graph has ", session_->inputs().size(), " inputs where a model of ", model_.layers,
                       " layers has ", wanted, "; export the bundle again"));
  }
}

void HostCacheGraph::Shape(std::vector<host_cache::Shape> shapes, std::size_t rows, std::size_t positions) {
  std::vector<host_cache::Shape> all(inputs_.size() + cache_inputs_.size());
  for (std::size_t i = 0; i < inputs_.size(); ++i) all[inputs_[i]] = std::move(shapes[i]);
  const host_cache::Shape cache{Dim(rows), model_.kv_heads, Dim(positions), model_.head_dim};
  for (const std::size_t input : cache_inputs_) all[input] = cache;
  if (all == shapes_) return;
  shapes_.clear();  // a failed Resize leaves the session in no known shape
  session_->Resize(all);
  shapes_ = std::move(all);
}

void HostCacheGraph::BindCache(const DenseCache& cache, int slot, std::size_t rows, std::size_t positions) {
  const std::size_t bytes = rows * static_cast<std::size_t>(model_.kv_heads) * positions *
                            static_cast<std::size_t>(model_.head_dim) * sizeof(float);
  for (int layer = 0; layer < model_.layers; ++layer) {
    const auto pair = 2 * static_cast<std::size_t>(layer);
    session_->Bind(cache_inputs_[pair], cache.keys(layer, slot), bytes);
    session_->Bind(cache_inputs_[pair + 1], cache.values(layer, slot), bytes);
  }
}

void HostCacheGraph::RunSession(std::size_t rows, std::size_t new_tokens, std::size_t logit_rows) {
  session_->Run();
  logit_floats_ = logit_rows * static_cast<std::size_t>(model_.vocab_size);
  new_floats_ =
      rows * static_cast<std::size_t>(model_.kv_heads) * new_tokens * static_cast<std::size_t>(model_.head_dim);
}

Span<const float> HostCacheGraph::logits() {
  return Output(0, logit_floats_);
}

Span<const float> HostCacheGraph::new_keys(int layer) {
  return Output(1 + 2 * static_cast<std::size_t>(layer), new_floats_);
}

Span<const float> HostCacheGraph::new_values(int layer) {
  return Output(2 + 2 * static_cast<std::size_t>(layer), new_floats_);
}

Span<const float> HostCacheGraph::Output(std::size_t index, std::size_t floats) {
  const Span<const float> output = session_->Output(index);
  if (output.size() != floats) {
    throw Error(ErrorCode::kBackend, StrCat("output ", index, " of the graph has ", output.size(), " values where ",
                                            floats, " were expected; export the bundle again"));
  }
  return output;
}

FullGraph::FullGraph(std::unique_ptr<Session> session, const ModelSpec& model)
    : HostCacheGraph(std::move(session), model,
                     {{"tokens", ElementType::kInt32},
                      {"cos", ElementType::kFloat32},
                      {"sin", ElementType::kFloat32},
                      {"cache_mask", ElementType::kFloat32},
                      {"new_mask", ElementType::kFloat32},
                      {"logit_rows", ElementType::kInt32}}) {}

void FullGraph::Run(Span<const TokenId> tokens, Span<const int> logit_rows, const DenseCache& cache, int slot) {
  const std::size_t count = tokens.size(), length = cache.length(slot);
  const std::size_t positions = length == 0 ? 1 : cache.positions();  // nothing cached: one masked position is enough
  const auto dim = static_cast<std::size_t>(model().head_dim);
  tokens_.assign(tokens.begin(), tokens.end());
  logit_rows_.assign(logit_rows.begin(), logit_rows.end());
  cos_.resize(count * dim);
  sin_.resize(count * dim);
  for (std::size_t i = 0; i < count; ++i) {
    FillRotary(model().rope, length + i, {&cos_[i * dim], dim}, {&sin_[i * dim], dim});
  }
  cache_mask_.resize(positions);
  FillCacheMask(length, cache_mask_);
  FillCausalMask(count);
  const host_cache::Shape rotary{1, 1, Dim(count), Dim(dim)};
  Shape({{1, Dim(count)},
         rotary,
         rotary,
         {1, 1, 1, Dim(positions)},
         {1, 1, Dim(count), Dim(count)},
         {Dim(logit_rows.size())}},
        1, positions);
  Bind(0, tokens_);
  Bind(1, cos_);
  Bind(2, sin_);
  Bind(3, cache_mask_);
  Bind(4, new_mask_);
  Bind(5, logit_rows_);
  BindCache(cache, slot, 1, positions);
  RunSession(1, count, logit_rows.size());
}

void FullGraph::FillCausalMask(std::size_t count) {
  if (new_mask_.size() == count * count) return;
  new_mask_.assign(count * count, kMasked);
  for (std::size_t i = 0; i < count; ++i) std::fill_n(&new_mask_[i * count], i + 1, 0.0f);
}

IncrementalGraph::IncrementalGraph(std::unique_ptr<Session> session, const ModelSpec& model)
    : HostCacheGraph(std::move(session), model,
                     {{"tokens", ElementType::kInt32},
                      {"cos", ElementType::kFloat32},
                      {"sin", ElementType::kFloat32},
                      {"cache_mask", ElementType::kFloat32}}) {}

void IncrementalGraph::Run(Span<const TokenId> tokens, const DenseCache& cache, int first_slot) {
  const std::size_t rows = tokens.size(), positions = cache.positions();
  const auto dim = static_cast<std::size_t>(model().head_dim);
  tokens_.assign(tokens.begin(), tokens.end());
  cos_.resize(rows * dim);
  sin_.resize(rows * dim);
  cache_mask_.resize(rows * positions);
  for (std::size_t i = 0; i < rows; ++i) {
    const std::size_t length = cache.length(first_slot + static_cast<int>(i));
    FillRotary(model().rope, length, {&cos_[i * dim], dim}, {&sin_[i * dim], dim});
    FillCacheMask(length, {&cache_mask_[i * positions], positions});
  }
  const host_cache::Shape rotary{Dim(rows), 1, 1, Dim(dim)};
  Shape({{Dim(rows), 1}, rotary, rotary, {Dim(rows), 1, 1, Dim(positions)}}, rows, positions);
  Bind(0, tokens_);
  Bind(1, cos_);
  Bind(2, sin_);
  Bind(3, cache_mask_);
  BindCache(cache, first_slot, rows, positions);
  RunSession(rows, 1, rows);
}

}  // namespace skywork_rt::host_cache
