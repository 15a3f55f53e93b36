#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/cache/cache_manager.h"
#include "engine/scheduler_limits.h"
#include "engine/sequence.h"
#include "skywork_rt/span.h"

namespace skywork_rt {

/// Decides who runs: a queue in order of priority and arrival, admission to the cache, prefill in chunks, reuse of
/// cached prefixes. Pure bookkeeping: no threads, no clock, no backend; every change is one call, which does all of
/// what it says or, when memory is out, throws and does nothing. What ends a request takes no memory (but in `close`).
///
/// Rules, in full:
///  - The queue is served strictly in order. A request that does not fit yet holds back those behind it, so none
///    starves.
///  - Admission reserves what the rows may come to, so a running request cannot run out of cache. Under optimistic
///    admission a request of one row reserves its prompt and a token; when a step has no room, the one of lowest
///    priority, of these the youngest, gives way: it returns to its place in the queue with the tokens that it has,
///    and reads them again later. Each stay yields a token at least, as what it takes for that is reserved.
///  - Each step runs every decoding sequence that has a token pending (one, and its guesses) and at most as many prompt
///    tokens as the engine says, and never more than `prefill_budget`.
///  - A finished sequence stays open for prefix reuse until its room is needed; the longest unused goes first.
///  - Where prompts are read whole (Traits::whole_prompts), a step takes the first of them whatever the budget, and
///  more
///    as long as all of them fit into it.
///  - In static batches (Traits::static_batch) requests are admitted until the batch takes its first step, which reads
///    all of their prompts; the next batch waits until the last of them has left.
///  - A request whose prompt begins like one that is being read right now waits for it, and then copies.
class Scheduler {
 public:
  explicit Scheduler(const SchedulerLimits& limits);

  const SchedulerLimits& limits() const { return limits_; }

  // --- the queue
  void Enqueue(Ticket ticket);
  bool IsQueued(RequestId id) const;
  std::size_t queued() const { return queue_.size(); }
  /// The request that is admitted next; the queue is not empty.
  RequestId FirstQueued() const { return queue_.begin()->second.id; }

  // --- admission
  /// What would admit the first request of the queue now; empty when the queue is empty or it must wait.
  std::optional<Admission> NextAdmission() const;
  /// The engine has closed a kept sequence.
  void Forget(SeqId kept) { cache_->Forget(kept); }
  /// The engine has carried out `admission`; `rows` are the request's open sequences, row 0 first.
  Group& Admit(const Admission& admission, Span<const SeqId> rows);

  // --- a step
  /// What to run now, with at most `prompt_tokens` of prompts if the limits allow more. The plan's pointers are valid
  /// until a sequence leaves.
  void PlanStep(StepPlan* plan, std::size_t prompt_tokens) const;
  /// The same within the limits alone.
  void PlanStep(StepPlan* plan) const { PlanStep(plan, limits_.prefill_budget); }
  /// Whether the step has room in the cache; if not, `Victim` must be preempted first.
  bool StepFits(const StepPlan& plan) const { return cache_->StepFits(plan); }
  /// The request that gives way first; some step that it is part of does not fit.
  RequestId Victim() const;
  /// Puts a running request of one row back into the queue. Adds to `close` what the engine must close.
  void Preempt(RequestId id, std::vector<SeqId>* close);
  /// What of the kept sequences must go before the step that fits. The engine cuts the backend's sequence, or closes
  /// it, then calls CutKept.
  std::optional<Cut> NextCut(const StepPlan& plan) const { return cache_->NextCut(plan); }
  void CutKept(const Cut& cut) { cache_->CutKept(cut); }
  /// The backend has computed the chunk. Committing each chunk, or not committing any of a failed call, keeps the
  /// bookkeeping equal to the backend's.
  void Commit(const PlannedChunk& chunk);
  /// The engine has forked row 0, whose prompt is cached, to all other rows.
  void Fork(Group* group);
  /// The next token of a sequence whose tokens are all cached and certain; it will be computed in the next step.
  void Append(Sequence* sequence, TokenId token);
  /// Guesses behind the one pending token; the next step computes them too, with a row of logits for each. All of them
  /// must fit: at most `MostGuesses`.
  void Guess(Sequence* sequence, Span<const TokenId> tokens);
  std::size_t MostGuesses(const Sequence& sequence) const;
  /// The first `right` guesses have become certain, the others are forgotten; what is cached is at most what is
  /// certain. The engine truncates the backend's sequence to `cached`.
  void SettleGuesses(Sequence* sequence, std::size_t right);
  /// The engine has given row i the cached tokens of row parents[i], for all rows at once (beam search).
  void Reorder(Group* group, Span<const int> parents);

  // --- the end
  /// Row `row` is done. Adds to `close` what the engine must close now: the sequence itself unless it is kept for
  /// reuse, and kept ones that it makes superfluous. The last row takes the group with it.
  void Leave(RequestId id, int row, bool keep, std::vector<SeqId>* close);
  /// Takes a request out, wherever it is. Adds its open sequences to `close`.
  void Remove(RequestId id, std::vector<SeqId>* close);
  /// Gives up the kept sequence that was unused for longest, adding it to `close`; false when there is none.
  bool ForgetOldest(std::vector<SeqId>* close);
  /// Gives up all kept sequences, adding them to `close`.
  void ForgetAll(std::vector<SeqId>* close);

  /// The running request of this id, or nullptr. In constant time.
  Group* Find(RequestId id) const;
  const Groups& running() const { return running_; }
  const std::vector<std::unique_ptr<Sequence>>& kept() const { return cache_->kept(); }
  int running_rows() const { return running_rows_; }
  /// Sequences that are open: running and kept ones.
  int open_rows() const { return running_rows_ + static_cast<int>(kept().size()); }
  std::size_t reserved_tokens() const { return cache_->reserved_tokens(); }
  /// Tokens that the open sequences hold; what they share counts once.
  std::size_t cached_tokens() const { return cache_->cached_tokens(); }

  /// Recounts everything. Throws Error(kInternal) that names the first broken promise.
  void CheckInvariants() const;

 private:
  struct QueueKey {
    int priority;
    std::uint64_t arrival;
    bool operator<(const QueueKey& other) const {
      return priority != other.priority ? priority > other.priority : arrival < other.arrival;
    }
  };
  using Queue = std::map<QueueKey, Ticket>;
  struct Place {
    QueueKey key;
    Group* group = nullptr;   // nullptr: it is queued
    Queue::node_type queued;  // its place in the queue while it runs, so that it can return without memory
  };

  bool BatchIsUnderWay() const;
  static QueueKey KeyOf(const Group& group) { return QueueKey{group.ticket.priority, group.arrival}; }
  Groups::iterator PlaceOf(const QueueKey& key);
  Groups::iterator PlaceOf(RequestId id);
  void PlanPrefill(Sequence* row, const Ticket& ticket, std::size_t* budget, std::size_t* logit_rows,
                   StepPlan* plan) const;
  std::unique_ptr<Group> MakeGroup(const Admission& admission, Span<const SeqId> rows) const;
  void KeepOrClose(std::unique_ptr<Sequence> sequence, bool keep, std::vector<SeqId>* close);
  void TakeOut(Groups::iterator group);

  SchedulerLimits limits_;
  Queue queue_;
  Groups running_;  // in the queue's order
  std::unordered_map<RequestId, Place> places_;
  std::unique_ptr<CacheManager> cache_;
  int running_rows_ = 0;
  std::uint64_t arrivals_ = 0;
};

}  // namespace skywork_rt
