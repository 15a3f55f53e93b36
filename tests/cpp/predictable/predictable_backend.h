#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "backend/backend.h"

namespace skywork_rt {

/// The operations of a Backend, as a hook sees them.
enum class BackendOp { kOpen, kForward, kReorder, kCopy, kTruncate, kClose };

struct PredictableOptions {
  int vocab_size = 97;
  int max_length = 512;
  std::vector<TokenId> eos_ids = {2};
  Traits traits;
  /// Called before an operation touches anything, with how often that operation was called before. May throw, which
  /// is how a failing device is played, or sleep.
  std::function<void(BackendOp op, std::uint64_t call)> hook;
  /// Parts of a Forward, between which it asks its watch.
  std::size_t layers = 1;
  /// Called behind every layer but the last, before the watch is asked, with how many are done.
  std::function<void(std::size_t done)> between;

  PredictableOptions();
};

/// A backend for tests whose logits are a known function of the whole sequence, and of nothing else.
///
/// It caches what a real one would (the tokens) and computes from its cache only, so an engine that feeds a wrong
/// token, position or order gets other output. Every break of Backend's contract by the caller throws kInternal:
/// unknown or closed sequences, two chunks of one sequence, more tokens than reserved, more blocks than there are, rows
/// out of order, a wrong size of logits, use by two threads at once, and whatever Traits exclude.
///
/// With Traits::block_tokens it keeps count of blocks as a cache of pages does that copies a shared one when it is
/// written to.
class PredictableBackend : public Backend {
 public:
  explicit PredictableBackend(PredictableOptions options);
  ~PredictableBackend() override;

  /// The logits behind `sequence`: token Best has 4, the second best 3, all others lie in [0, 2).
  static void Logits(Span<const TokenId> sequence, Span<float> row);
  /// What greedy decoding yields behind `prompt`, an eos id included.
  std::vector<TokenId> Greedy(std::vector<TokenId> prompt, std::size_t max_tokens) const;

  const ModelSpec& model() const override { return model_; }
  Traits traits() const override { return options_.traits; }
  SeqId Open(std::size_t max_tokens) override;
  std::size_t Length(SeqId seq) const override;
  using Backend::Forward;
  bool Forward(Span<const Chunk> chunks, Span<float> logits, ForwardWatch* watch) override;
  void Reorder(Span<const SeqId> from, Span<const SeqId> to) override;
  void Copy(SeqId from, SeqId to, std::size_t length) override;
  void Truncate(SeqId seq, std::size_t length) override;
  void Close(SeqId seq) override;

  /// Most blocks that were in use at one time.
  std::size_t most_blocks() const { return most_blocks_; }
  /// Tokens that Forward has computed.
  std::uint64_t computed() const { return computed_; }
  /// Most tokens that were reserved at one time.
  std::size_t most_reserved() const { return most_reserved_; }
  std::size_t open_sequences() const { return cache_.size(); }

 private:
  /// Counts itself.
  struct Block {
    explicit Block(std::size_t* count) : alive(count) { ++*alive; }
    ~Block() { --*alive; }
    Block(const Block&) = delete;
    Block& operator=(const Block&) = delete;
    std::size_t* alive;
  };
  struct Cache {
    std::size_t reserved = 0;
    std::vector<TokenId> tokens;
    std::vector<std::shared_ptr<Block>> blocks;
  };

  const Cache& At(SeqId seq) const;
  void Before(BackendOp op);
  void CheckChunks(Span<const Chunk> chunks, Span<float> logits) const;
  void CheckMix(Span<const Chunk> chunks) const;
  void CheckWholePrompts(Span<const Chunk> chunks) const;
  void CheckStaticBatch(Span<const Chunk> chunks) const;
  std::size_t BlocksFor(std::size_t tokens) const;
  void TakeBlocks(Cache* cache, std::size_t tokens);
  bool RunLayers(ForwardWatch* watch) const;

  PredictableOptions options_;
  ModelSpec model_;
  std::size_t blocks_ = 0;  // before cache_, whose blocks count themselves in it
  std::size_t most_blocks_ = 0;
  std::uint64_t computed_ = 0;
  std::map<SeqId, Cache> cache_;
  std::map<BackendOp, std::uint64_t> calls_;
  SeqId last_ = 0;
  std::size_t reserved_ = 0;
  std::size_t most_reserved_ = 0;
  mutable std::atomic<bool> busy_{false};
};

}  // namespace skywork_rt
