#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "backend/ascend/cache_layout.h"
#include "backend/ascend/device_form.h"
#include "backend/ascend/device_graph.h"
#include "backend/backend.h"
#include "backend/sequence_ledger.h"

namespace skywork_rt::ascend {

/// The two graphs, opened together so that they share the cache.
struct DeviceSessions {
  std::unique_ptr<GraphSession> full;
  std::unique_ptr<GraphSession> incremental;
};

/// Bounds of a DeviceCacheBackend beside those of its graphs; 0: theirs.
struct DeviceLimits {
  int max_batch = 0;
  std::size_t max_length = 0;
  std::size_t max_cached_tokens = 0;
  std::size_t bytes_per_token = 0;  // Traits::bytes_per_token
};

/// A model as the pair of graphs that MindFormers exports, whose KV cache is Parameters inside them.
///
/// The full graph reads the prompts of sequences that are empty, each at the smallest gear that holds it; the
/// incremental graph computes one token for each sequence of a step. Longer chunks of sequences that are not empty, and
/// rows of logits inside a prompt, are computed one token at a time; the form assign refuses them.
class DeviceCacheBackend final : public Backend {
 public:
  /// Throws kCorruptBundle when the sessions do not have the contract's inputs.
  DeviceCacheBackend(ModelSpec model, const DeviceForm& form, const DeviceLimits& limits, DeviceSessions sessions);

  const ModelSpec& model() const override { return model_; }
  Traits traits() const override { return traits_; }
  GeneratorOptions Chosen(GeneratorOptions options) const override;
  SeqId Open(std::size_t max_tokens) override;
  std::size_t Length(SeqId seq) const override { return ledger_.Length(seq); }
  using Backend::Forward;
  /// Asks the watch between two calls of a graph; the form assign makes one only.
  bool Forward(Span<const Chunk> chunks, Span<float> logits, ForwardWatch* watch) override;
  /// Needs that `from` and `to` are the same sequences: the device copies nothing.
  void Reorder(Span<const SeqId> from, Span<const SeqId> to) override;
  void Copy(SeqId from, SeqId to, std::size_t length) override;
  void Truncate(SeqId seq, std::size_t length) override;
  void Close(SeqId seq) override;

 private:
  /// Part of a chunk: what one call of a graph computes of it.
  struct Part {
    RowWork work;
    float* logits;  // of its last token, or null
  };
  struct Run {
    bool prompts = false;
    std::vector<Part> parts;
  };

  std::vector<Run> Plan(Span<const Chunk> chunks, Span<float> logits) const;
  void PlanPrompts(std::vector<Part> parts, std::vector<Run>* runs) const;
  std::size_t HeadOf(const Chunk& chunk) const;
  void CheckStatic(Span<const Chunk> chunks) const;
  void CheckStaticPrompts(Span<const Chunk> chunks) const;
  bool RunAll(const std::vector<Run>& runs, ForwardWatch* watch);
  void RunOne(const Run& run);
  void ForgetCalls(Span<const Chunk> chunks);

  const ModelSpec model_;
  const DeviceForm form_;
  const Traits traits_;
  SequenceLedger ledger_;
  std::unique_ptr<CacheLayout> layout_;
  DeviceGraph full_;
  DeviceGraph incremental_;
  std::vector<SeqId> open_;
  bool broken_ = false;  // assign: a call failed, and nobody knows what it has added to the cache
};

}  // namespace skywork_rt::ascend
