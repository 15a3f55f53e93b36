#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

#include "engine/sequence.h"
#include "skywork_rt/span.h"

namespace skywork_rt {

/// Part of a kept sequence that must go to make room: all but its first `length` tokens, or all of it.
struct Cut {
  SeqId seq = 0;
  std::size_t length = 0;  // 0: it is closed
};

/// Keeps count of what the sequences take of the backend's cache, promises room to requests, and finds the cached
/// tokens that a prompt begins with. The two kinds of cache are two of these: RowCache and BlockCache.
///
/// A member that throws (memory is out) has done nothing. What ends a request takes no memory.
class CacheManager {
 public:
  CacheManager() = default;
  virtual ~CacheManager() = default;
  CacheManager(const CacheManager&) = delete;
  CacheManager& operator=(const CacheManager&) = delete;

  // --- admission
  /// How the request would come in; empty when it must wait for room, or for a prompt like its own that is being read.
  virtual std::optional<Admission> Plan(const Ticket& ticket, const Groups& running, int running_rows) const = 0;
  /// The engine has carried out `admission` of `ticket`; `group` is complete but for its ticket, which it gets next.
  virtual void Admit(const Admission& admission, const Ticket& ticket, Group* group) = 0;

  // --- a step
  /// Whether the step has room, kept sequences not counted; if not, a running request must give way first.
  virtual bool StepFits(const StepPlan& plan) const = 0;
  /// What of the kept sequences must go before the step; empty when nothing must. The engine cuts the backend's
  /// sequence, then calls CutKept.
  virtual std::optional<Cut> NextCut(const StepPlan& plan) const = 0;
  virtual void CutKept(const Cut& cut) = 0;
  /// `cached` of the sequence has grown by `tokens`.
  virtual void Grew(Sequence* sequence, std::size_t tokens) = 0;
  /// `cached` of the sequence has shrunk by `tokens`.
  virtual void Shrank(Sequence* sequence, std::size_t tokens) = 0;
  /// All rows hold the prompt now.
  virtual void Forked(Group* group) = 0;
  /// Row i holds what row parents[i] held.
  virtual void Reordered(Group* group, Span<const int> parents) = 0;
  /// The sequence's first token since its request's admission has come.
  virtual void Progressed(Sequence* sequence) = 0;

  // --- the end
  /// A row has left, and becomes a kept sequence. Adds to `close` what the engine must close: kept ones that it makes
  /// superfluous, or itself.
  virtual void Keep(std::unique_ptr<Sequence> sequence, std::vector<SeqId>* close) = 0;
  /// A sequence is about to be closed.
  virtual void Release(Sequence* sequence) = 0;
  /// The group is gone, or has read its prompt.
  virtual void StopReading(Group* group) = 0;

  // --- kept sequences, longest unused first
  const std::vector<std::unique_ptr<Sequence>>& kept() const { return kept_; }
  /// Takes a kept sequence out, which the engine closes.
  void Forget(SeqId seq);

  /// Tokens that are promised and held: what cannot be given to others.
  virtual std::size_t reserved_tokens() const = 0;
  /// Tokens that are held; those that sequences share count once.
  virtual std::size_t cached_tokens() const = 0;
  /// Recounts everything. Throws Error(kInternal) that names the first broken promise.
  virtual void CheckInvariants(const Groups& running) const = 0;

 protected:
  std::vector<std::unique_ptr<Sequence>> kept_;
};

}  // namespace skywork_rt
