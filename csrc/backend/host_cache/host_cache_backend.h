#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "backend/backend.h"
#include "backend/host_cache/dense_cache.h"
#include "backend/host_cache/host_cache_graph.h"
#include "backend/host_cache/session.h"

namespace skywork_rt::host_cache {

/// Bounds of a HostCacheBackend; all are at least 1.
struct HostCacheLimits {
  int max_batch = 16;                 // most sequences open at once
  std::size_t max_length = 0;         // longest sequence, in tokens
  std::size_t max_cached_tokens = 0;  // most tokens that all sequences may reserve together
  /// Tokens that the full graph computes beyond one a step before the incremental graph is loaded. A load takes as
  /// long as the full graph takes for some 64 tokens, whatever the model's size, and doubles the memory: a short
  /// batch is over sooner without it.
  std::size_t patience = 64;
  std::string device = "cpu";  // GeneratorOptions::device
};

/// A model exported as the host-cache graphs: on MindSpore Lite's CPU runtime (float32), or through another provider.
///
/// The full graph computes chunks of several tokens, and single tokens until batches of them have come often enough
/// to be worth loading the incremental graph, which computes one token for many sequences. Sequences live in the
/// slots of a DenseCache; those of a decode batch are moved together when they are not neighbours.
class HostCacheBackend final : public Backend {
 public:
  /// `open_full` is called here, `open_incremental` when it is worth it; an empty one means that the bundle has
  /// no such graph, and batches are computed one sequence at a time.
  HostCacheBackend(ModelSpec model, const HostCacheLimits& limits, const SessionFactory& open_full,
                   SessionFactory open_incremental);

  const ModelSpec& model() const override { return model_; }
  Traits traits() const override;
  GeneratorOptions Chosen(GeneratorOptions options) const override;
  SeqId Open(std::size_t max_tokens) override;
  std::size_t Length(SeqId seq) const override;
  using Backend::Forward;
  /// Asks the watch between two runs of a graph.
  bool Forward(Span<const Chunk> chunks, Span<float> logits, ForwardWatch* watch) override;
  void Reorder(Span<const SeqId> from, Span<const SeqId> to) override;
  void Copy(SeqId from, SeqId to, std::size_t length) override;
  void Truncate(SeqId seq, std::size_t length) override;
  void Close(SeqId seq) override;

 private:
  struct Sequence {
    int slot;
    std::size_t reserved;  // tokens
  };
  /// A chunk of the running Forward and where its logits go.
  struct Work {
    const Chunk* chunk;
    std::size_t first_logit_row;
  };

  const Sequence& Find(SeqId seq) const;
  int FreeSlot() const;
  void Validate(Span<const Chunk> chunks, Span<float> logits) const;
  void FitCache(Span<const Chunk> chunks);
  void RunFull(const Work& work, Span<float> logits);
  /// The sequences of `batch` are in the slots from `first` on, in any order.
  void RunIncremental(const std::vector<Work>& batch, int first, Span<float> logits);
  /// Whether the incremental graph computes a batch of so many single tokens; loads it when it has become worth it.
  bool TakesIncremental(std::size_t batch);
  /// Moves the sequences of `batch` to neighbouring slots, the cheapest way; returns the first slot.
  int Gather(const std::vector<Work>& batch);
  void SwapSlots(int a, int b);
  Span<float> LogitRow(Span<float> logits, std::size_t row) const;

  ModelSpec model_;
  HostCacheLimits limits_;
  SessionFactory open_incremental_;
  DenseCache cache_;
  FullGraph full_;
  std::unique_ptr<IncrementalGraph> incremental_;  // null until it is needed
  std::unordered_map<SeqId, Sequence> sequences_;
  std::vector<SeqId> occupants_;  // a slot's sequence, or kNobody
  std::size_t reserved_ = 0;      // tokens, over all sequences
  std::size_t impatience_ = 0;    // tokens, see HostCacheLimits::patience
  SeqId next_ = 1;
};

}  // namespace skywork_rt::host_cache
