#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "backend/host_cache/dense_cache.h"
#include "backend/host_cache/session.h"
#include "skywork_rt/model_spec.h"
#include "skywork_rt/span.h"

namespace skywork_rt::host_cache {

/// A graph of the host-cache contract (docs/bundle-format.md) on a session: finds its inputs by name, gives them
/// shapes and memory, and knows the order of its outputs. It reads a DenseCache and never writes one.
class HostCacheGraph {
 public:
  HostCacheGraph(const HostCacheGraph&) = delete;
  HostCacheGraph& operator=(const HostCacheGraph&) = delete;
  virtual ~HostCacheGraph() = default;

  /// Results of the last run, as the contract states their shapes. Throw Error(kBackend) when the graph gives others.
  Span<const float> logits();
  Span<const float> new_keys(int layer);
  Span<const float> new_values(int layer);

 protected:
  /// What a contract states about an input beside the cache.
  struct Expected {
    const char* name;
    ElementType type;
  };

  /// Throws Error(kCorruptBundle) that names the input when `session` does not have exactly the contract's.
  HostCacheGraph(std::unique_ptr<Session> session, const ModelSpec& model, const std::vector<Expected>& expected);

  /// Resizes when a shape differs from the last run's. `shapes` are those of `expected`, in its order.
  void Shape(std::vector<host_cache::Shape> shapes, std::size_t rows, std::size_t positions);
  /// Binds input `index` of `expected`.
  template <typename T>
  void Bind(std::size_t index, const std::vector<T>& values) {
    session_->Bind(inputs_[index], values.data(), values.size() * sizeof(T));
  }
  /// Binds the cache inputs to `rows` slots from `slot` on.
  void BindCache(const DenseCache& cache, int slot, std::size_t rows, std::size_t positions);
  /// Runs; each row is `new_tokens` long, and `logit_rows` rows of logits come out.
  void RunSession(std::size_t rows, std::size_t new_tokens, std::size_t logit_rows);

  const ModelSpec& model() const { return model_; }

 private:
  Span<const float> Output(std::size_t index, std::size_t floats);

  std::unique_ptr<Session> session_;
  ModelSpec model_;
  std::vector<std::size_t> inputs_;        // session's index of each expected input
  std::vector<std::size_t> cache_inputs_;  // of key_0, value_0, key_1, ...
  std::vector<host_cache::Shape> shapes_;  // of the last Resize
  std::size_t logit_floats_ = 0;           // sizes of the last run's outputs
  std::size_t new_floats_ = 0;
};

/// host-cache/full: any number of new tokens of one sequence.
class FullGraph : public HostCacheGraph {
 public:
  FullGraph(std::unique_ptr<Session> session, const ModelSpec& model);

  /// `tokens` follow what `slot` holds. `logit_rows` are indices into them, at least one.
  void Run(Span<const TokenId> tokens, Span<const int> logit_rows, const DenseCache& cache, int slot);

 private:
  void FillCausalMask(std::size_t count);

  std::vector<std::int32_t> tokens_, logit_rows_;
  std::vector<float> cos_, sin_, cache_mask_, new_mask_;
};

/// host-cache/incremental: one new token for each of several neighbouring slots.
class IncrementalGraph : public HostCacheGraph {
 public:
  IncrementalGraph(std::unique_ptr<Session> session, const ModelSpec& model);

  /// `tokens[i]` follows what slot `first_slot + i` holds.
  void Run(Span<const TokenId> tokens, const DenseCache& cache, int first_slot);

 private:
  std::vector<std::int32_t> tokens_;
  std::vector<float> cos_, sin_, cache_mask_;
};

}  // namespace skywork_rt::host_cache
