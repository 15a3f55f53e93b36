#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "backend/backend.h"
#include "skywork_rt/span.h"

namespace skywork_rt {

using RequestId = std::uint64_t;

/// What bounds the scheduler: the user's options and the backend's traits, already reconciled.
struct SchedulerLimits {
  int max_running = 1;                // sequences of running requests
  int max_open = 1;                   // the same plus sequences kept for prefix reuse; >= max_running
  std::size_t max_cached_tokens = 0;  // reserved by all open sequences together
  std::size_t max_chunk = 1;          // tokens of one sequence in one step
  std::size_t prefill_budget = 1;     // prompt tokens of all sequences in one step
  std::size_t max_logit_rows = 1;     // logit rows of one step that prompt log-probabilities may add
  bool prefix_cache = false;          // keep finished sequences, reuse what begins alike
  std::size_t min_prefix = 16;        // fewer common tokens are not worth a reuse
  bool can_fork = false;              // Traits::can_fork
  bool can_truncate = false;          // Traits::can_truncate
};

/// What the scheduler must know of a request to place it.
struct Ticket {
  RequestId id = 0;             // unique, never 0
  int priority = 0;             // higher first, equals by arrival
  std::vector<TokenId> prompt;  // not empty
  int rows = 1;                 // sequences that it needs at once: samples or beams
  std::size_t reserve = 0;      // tokens that each of them may hold: prompt + max_tokens
  std::size_t logits_from = 0;  // first prompt position whose logits are wanted; the last one always is
};

/// One open backend sequence. A step computes what is in `tokens` and not yet cached: many tokens while the prompt is
/// being read, one when decoding, and what is guessed behind it.
struct Sequence {
  SeqId seq = 0;
  RequestId owner = 0;          // 0: kept for prefix reuse only
  int row = 0;                  // which of its request's sequences, row 0 reads the prompt
  std::vector<TokenId> tokens;  // prompt and output, then guesses
  std::size_t guesses = 0;      // how many of them, the last ones, may turn out wrong (Proposer)
  std::size_t cached = 0;       // how many of them the backend holds, <= tokens.size() <= reserved
  std::size_t reserved = 0;     // given to Backend::Open
  std::uint64_t last_used = 0;  // scheduler's clock, for eviction by age

  std::size_t pending() const { return tokens.size() - cached; }
  /// Tokens that are certain.
  std::size_t certain() const { return tokens.size() - guesses; }
};

/// A request whose sequences are open.
struct Group {
  Ticket ticket;
  std::uint64_t arrival = 0;
  std::vector<std::unique_ptr<Sequence>> rows;  // a row that has left is null
  bool reading_prompt = true;                   // only row 0 runs; ends with Fork
};

/// How to bring the first request of the queue into the batch. The engine carries it out on the backend, then tells
/// the scheduler by Admit; until then nothing has changed.
struct Admission {
  enum class Reuse {
    kNone,
    kTakeOver,  // row 0 becomes the kept sequence `source`, truncated to `reuse`
    kCopy,      // row 0 is opened, gets the tokens of `source`, and is truncated to `reuse`
  };
  RequestId id = 0;
  int rows = 1;
  std::size_t reserve = 0;
  std::vector<SeqId> evict;  // kept sequences to close first
  Reuse how = Reuse::kNone;
  SeqId source = 0;
  std::size_t source_length = 0;
  std::size_t reuse = 0;  // prompt tokens that need not be computed
};

/// The next `count` pending tokens of a sequence.
struct PlannedChunk {
  Sequence* sequence = nullptr;
  std::size_t count = 0;
  std::size_t logit_rows = 0;  // the last so many of them
};

/// What one step computes.
struct StepPlan {
  std::vector<PlannedChunk> decode;
  std::vector<PlannedChunk> prefill;

  bool empty() const { return decode.empty() && prefill.empty(); }
};

/// Decides who runs: a queue in order of priority and arrival, admission by reservation, prefill in chunks, reuse of
/// cached prefixes. Pure bookkeeping: no threads, no clock, no backend; every change is one call, which does all of
/// what it says or, when memory is out, throws and does nothing. What ends a request takes no memory (but in `close`).
///
/// Rules, in full:
///  - The queue is served strictly in order. A request that does not fit yet holds back those behind it, so none
///    starves. What runs is never preempted.
///  - Admission reserves `rows * reserve` tokens, so a running request cannot run out of cache.
///  - Each step runs every decoding sequence that has a token pending (one, and its guesses) and at most as many prompt
///    tokens as the engine says, and never more than `prefill_budget`.
///  - A finished sequence stays open for prefix reuse until its room is needed; the longest unused goes first.
///  - A request whose prompt begins like one that is being read right now waits for it, and then copies.
class Scheduler {
 public:
  explicit Scheduler(const SchedulerLimits& limits);

  const SchedulerLimits& limits() const { return limits_; }

  // --- the queue
  void Enqueue(Ticket ticket);
  bool IsQueued(RequestId id) const { return queue_keys_.count(id) != 0; }
  std::size_t queued() const { return queue_.size(); }
  /// The request that is admitted next; the queue is not empty.
  RequestId FirstQueued() const { return queue_.begin()->second.id; }

  // --- admission
  /// What would admit the first request of the queue now; empty when the queue is empty or it must wait.
  std::optional<Admission> NextAdmission() const;
  /// The engine has closed a kept sequence.
  void Forget(SeqId kept);
  /// The engine has carried out `admission`; `rows` are the request's open sequences, row 0 first.
  Group& Admit(const Admission& admission, Span<const SeqId> rows);

  // --- a step
  /// What to run now, with at most `prompt_tokens` of prompts if the limits allow more. The plan's pointers are valid
  /// until a sequence leaves.
  void PlanStep(StepPlan* plan, std::size_t prompt_tokens) const;
  /// The same within the limits alone.
  void PlanStep(StepPlan* plan) const { PlanStep(plan, limits_.prefill_budget); }
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

  Group* Find(RequestId id);
  const std::vector<std::unique_ptr<Group>>& running() const { return running_; }
  const std::vector<std::unique_ptr<Sequence>>& kept() const { return kept_; }
  int running_rows() const { return running_rows_; }
  /// Sequences that are open: running and kept ones.
  int open_rows() const { return running_rows_ + static_cast<int>(kept_.size()); }
  std::size_t reserved_tokens() const { return reserved_tokens_; }
  std::size_t cached_tokens() const;

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
  struct Candidate {
    const Sequence* sequence = nullptr;
    std::size_t match = 0;
  };

  Admission::Reuse HowToReuse(const Sequence& source, std::size_t match, const Ticket& ticket) const;
  Candidate FindPrefix(const Ticket& ticket) const;
  bool PrefixIsBeingRead(const Ticket& ticket, std::size_t already) const;
  bool MakeRoom(int rows, std::size_t tokens, SeqId spare, std::vector<SeqId>* evict) const;
  void PlanPrefill(Sequence* row, const Ticket& ticket, std::size_t* budget, std::size_t* logit_rows,
                   StepPlan* plan) const;
  std::unique_ptr<Group> MakeGroup(const Admission& admission, Span<const SeqId> rows) const;
  void Touch(SeqId seq);
  void Keep(std::unique_ptr<Sequence> sequence, std::vector<SeqId>* close);

  SchedulerLimits limits_;
  std::map<QueueKey, Ticket> queue_;
  std::map<RequestId, QueueKey> queue_keys_;
  std::vector<std::unique_ptr<Group>> running_;  // in the queue's order
  std::vector<std::unique_ptr<Sequence>> kept_;  // finished, oldest use first
  int running_rows_ = 0;
  std::size_t reserved_tokens_ = 0;
  std::uint64_t clock_ = 0;
  std::uint64_t arrivals_ = 0;
};

/// Length of the longest common beginning.
std::size_t CommonPrefix(Span<const TokenId> a, Span<const TokenId> b);

}  // namespace skywork_rt
