#pragma once

#include <cstdint>

#include "engine/cache/cache_manager.h"
#include "engine/cache/prefix_tree.h"
#include "engine/scheduler_limits.h"

namespace skywork_rt {

/// The cache of a backend whose sequences share blocks (Traits::block_tokens; Kwon et al. 2023, PagedAttention).
///
/// Every block of the backend has a counterpart here, which counts the sequences that hold it. Only full blocks are
/// shared: of the block that a copy ends in each sequence counts one of its own from the start, though the backend
/// copies it when it is first written to. So the backend never holds more blocks than are counted.
///
/// A running sequence is promised the blocks that it may come to, so that it cannot run out: with all of its
/// reservation, or, optimistically, with its prompt and one token; what it grows beyond is taken from what is free, and
/// when nothing is, another request gives way (Scheduler::Victim). Requests of several rows always reserve.
///  - in use (held by running sequences) + promised <= capacity; what kept sequences alone hold comes on top, as long
///    as it does not have to go.
///  - Kept blocks go only when a step needs them: from the tail of the sequence that was kept first.
class BlockCache final : public CacheManager {
 public:
  explicit BlockCache(const SchedulerLimits& limits);

  std::optional<Admission> Plan(const Ticket& ticket, const Groups& running, int running_rows) const override;
  void Admit(const Admission& admission, const Ticket& ticket, Group* group) override;
  bool StepFits(const StepPlan& plan) const override;
  std::optional<Cut> NextCut(const StepPlan& plan) const override;
  void CutKept(const Cut& cut) override;
  void Grew(Sequence* sequence, std::size_t tokens) override;
  void Shrank(Sequence* sequence, std::size_t tokens) override;
  void Forked(Group* group) override;
  void Reordered(Group* group, Span<const int> parents) override;
  void Progressed(Sequence* sequence) override;
  void Keep(std::unique_ptr<Sequence> sequence, std::vector<SeqId>* close) override;
  void Release(Sequence* sequence) override;
  void StopReading(Group* group) override;

  std::size_t reserved_tokens() const override { return (in_use_ + promised_) * block_tokens_; }
  std::size_t cached_tokens() const override { return cached_tokens_; }
  void CheckInvariants(const Groups& running) const override;

  /// Blocks that a request takes when it shares nothing: of its rows' prompt the full blocks once.
  static std::size_t BlocksOf(std::size_t block_tokens, std::size_t prompt, std::size_t reserve, std::size_t rows);

 private:
  struct Block {
    std::uint32_t users = 0;    // sequences that hold it
    std::uint32_t running = 0;  // those of them that run
    std::uint32_t tokens = 0;   // cached in it
  };

  std::size_t BlocksFor(std::size_t tokens) const { return (tokens + block_tokens_ - 1) / block_tokens_; }
  std::size_t TokensIn(const Sequence& sequence, std::size_t block) const;
  bool Optimistic(const Ticket& ticket) const { return limits_.optimistic && ticket.rows == 1; }
  std::size_t Due(const Ticket& ticket) const;
  std::size_t Need(const Ticket& ticket, const PrefixTree::Match& match) const;
  bool MakeOpenRows(const Ticket& ticket, int running_rows, Admission* admission) const;
  std::size_t NewBlocks(const PlannedChunk& chunk) const;

  static std::size_t PromiseOf(const Sequence& sequence);
  std::uint32_t Take(std::size_t tokens);
  void ShareFull(const Sequence& from, std::size_t blocks, Sequence* to);
  void Drop(std::uint32_t block, bool running);
  void DropAll(Sequence* sequence, std::size_t keep);
  void Fill(std::uint32_t block, std::size_t tokens);
  void Promised(Sequence* sequence, std::size_t before);
  void Index(Sequence* sequence, bool whole);
  void StartReading(const Ticket& ticket, Group* group);

  const SchedulerLimits limits_;
  const std::size_t block_tokens_;
  const std::size_t capacity_;       // blocks
  std::vector<Block> blocks_;        // every block that was ever taken
  std::vector<std::uint32_t> free_;  // those of them that nobody holds
  std::size_t in_use_ = 0;           // blocks that running sequences hold
  std::size_t promised_ = 0;         // blocks that they may take beside
  std::size_t cached_tokens_ = 0;
  std::size_t running_rows_ = 0;
  PrefixTree tree_;     // all open sequences, as far as they are cached
  PrefixTree reading_;  // the prompts that are being read
};

}  // namespace skywork_rt
