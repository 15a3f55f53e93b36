#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "backend/backend.h"
#include "decode/proposer.h"
#include "engine/active_request.h"
#include "engine/guess_budget.h"
#include "engine/request_check.h"
#include "engine/request_state.h"
#include "engine/row_chooser.h"
#include "engine/scheduler.h"
#include "engine/step_budget.h"
#include "skywork_rt/generator.h"
#include "text/vocabulary.h"

namespace skywork_rt {

/// What an engine is made of beside its backend.
struct EngineConfig {
  GeneratorOptions options;
  std::shared_ptr<const Vocabulary> vocabulary;  // nullptr: ids in, ids out
  std::size_t min_prefix = 16;                   // SchedulerLimits::min_prefix
  std::size_t prompt_logits_bytes = 64 << 20;    // bounds the logits of one step's prompt log-probabilities
  std::shared_ptr<Proposer> proposer;            // nullptr: every step decodes one token of a sequence
  /// Static batches (Traits::static_batch): how long the first request of an idle engine waits for more that begin with
  /// it; whoever comes later waits for all of the batch.
  std::chrono::milliseconds gather{10};
  std::size_t most_guesses = 4;  // of the proposer or a mask, a sequence and step
  /// What the engine's thread looks at for deadlines and for how long a step takes.
  std::function<std::chrono::steady_clock::time_point()> clock = &std::chrono::steady_clock::now;
#ifdef NDEBUG
  bool check_invariants = false;
#else
  bool check_invariants = true;  // after every step, against the backend too
#endif
};

/// Runs requests on a backend in one batch that changes every step (continuous batching, Yu et al. 2022, Orca). One
/// thread, started here, owns scheduler and backend; every other thread reaches it through the inbox.
///
/// Memory that runs out, at any allocation, ends requests with an error and loses none of them: what ends a request
/// takes no memory, and what was begun for one is undone.
class Engine {
 public:
  using StatePtr = std::shared_ptr<internal::RequestState>;

  /// Throws kInvalidArgument when an option is out of its range for this backend.
  Engine(std::unique_ptr<Backend> backend, EngineConfig config);
  ~Engine();  // Close(kCancel)
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// Throws what CheckRequest throws, kBusy (queue full), kCapacity (memory is out) and kClosed.
  StatePtr Submit(Request request, UpdateCallback callback);
  /// The same, but nullptr instead of an error when the queue is full; then `request` is untouched.
  StatePtr TrySubmit(Request* request, UpdateCallback callback);
  /// Throws what Submit would throw, but kBusy.
  void Check(const Request& request) const;
  /// Ends the thread, and frees the backend. Throws kInvalidArgument on the engine's own thread.
  void Close(Generator::CloseMode mode);
  /// Whether the caller runs on the engine's thread, that is in a callback.
  bool OnOwnThread() const { return internal::OnThreadOf(*link_); }

  const ModelSpec& model() const { return model_; }
  const GeneratorOptions& options() const { return config_.options; }
  const Vocabulary* vocabulary() const { return config_.vocabulary.get(); }
  Stats stats() const;
  /// In a child of fork() the engine must be leaked: it has no thread to join, and its mutex may be locked for ever.
  bool forked() const { return link_->fork_guard.forked(); }

 private:
  /// What the engine thread knows of an accepted request.
  struct Entry {
    StatePtr state;
    std::unique_ptr<ActiveRequest> active;  // once admitted
    bool waiting = true;                    // until then it counts in waiting_
    std::optional<internal::RequestState::Clock::time_point> deadline;
    bool told = false;       // its owner has heard of the end already; it is taken out when the step has ended
    bool repeating = false;  // a Forward of its sequences was given up, and none has come to its end since
  };
  /// A planned chunk, with everything by value: handling one chunk may end the request of another.
  struct Work {
    RequestId id = 0;
    int row = 0;
    std::size_t end = 0;                     // position behind the chunk
    std::size_t logit_rows = 0;              // of the last positions
    std::size_t first_logit = 0;             // index of the chunk's first row in logits_
    std::optional<std::size_t> chosen = {};  // the row of chooser_ that has its token
  };
  /// Which of `guesses_` come behind a row, if they are worth computing.
  struct RowGuess {
    Sequence* sequence = nullptr;
    std::size_t first = 0;
    std::size_t count = 0;
  };
  /// A decoding row whose logits are there and whose mask is not: it sits steps out until then.
  struct HeldRow {
    RequestId id = 0;
    int row = 0;
    std::vector<float> logits;  // [vocab_size]
  };
  /// What a step computes, and how long its calls of Forward took.
  struct StepSize {
    std::size_t decode_tokens = 0;
    std::size_t prompt_tokens = 0;
    double seconds = 0;
    bool whole = true;  // none of them failed or was given up
  };
  /// Lets the backend ask, while it computes, whether the step is still wanted.
  class Watch final : public ForwardWatch {
   public:
    explicit Watch(Engine* engine) : engine_(engine) {}
    bool GiveUp(std::size_t done, std::size_t total) override { return engine_->GivesUp(done, total); }

   private:
    Engine* engine_;
  };
  /// A row of logits whose token may be chosen before its turn comes.
  struct RowAhead {
    const ActiveRequest* request = nullptr;
    int sample = 0;
    Span<float> logits;
  };
  enum class Closing { kNo, kFinish, kCancel };

  Error QueueFull();
  StatePtr Queue(Request* request, std::size_t reserve, UpdateCallback callback);

  void Run();
  void FreeModel();
  bool TakeNews();
  void GatherBatch(std::unique_lock<std::mutex>* lock);
  void Accept(StatePtr state);
  void Enlist(const StatePtr& state);
  void DropCancelledAndExpired();

  void AdmitQueued();
  void Admit(const Admission& admission);
  void RefuseAdmission(RequestId id, const Error& error);
  void OpenRows(const Admission& admission, std::vector<SeqId>* rows);
  void CloseRows(const Admission& admission, const std::vector<SeqId>& rows);
  void CutTakenOver(const Admission& admission);

  void RunStep();
  void ComputeStep();
  void RunPlan();
  void PlanStep();
  void MakeRoom();
  void Preempt(RequestId id);
  void CutKept(const Cut& cut);
  std::size_t DecodeTokens() const;
  std::size_t PromptTokens();
  void GuessAhead();
  void Guess(Sequence* sequence, ActiveRequest* request);
  void ResumeHeld();
  void WaitForMasks();
  void RunForward(Span<const PlannedChunk> chunks);
  void PrepareForward(Span<const PlannedChunk> chunks);
  bool CallForward();
  void LoseStep(const Error& error);
  void LoseRunning(const Error& error);

  bool GivesUp(std::size_t done, std::size_t total);
  bool TakeArrivals();
  bool SomeEnd() const;
  bool Ends(const Entry& entry) const;
  bool SoonerWithout(double elapsed, double rest);
  void MarkRepeating();
  void TellEnds();
  void Tell(Entry* entry, const Error& error);
  void RemoveTold();
  void EndRepeating();
  void UndoStep();

  void ChooseAhead();
  void ChooseRows();
  std::size_t GatherRows();
  void HandleLogits(const Work& work);
  void StartDecoding(Group* group, ActiveRequest* request, Span<float> logits, const ChosenToken* chosen);
  void StepSample(Group* group, ActiveRequest* request, int row, Span<float> logits, const ChosenToken* chosen);
  ActiveRequest::Outcome NextToken(ActiveRequest* request, int row, Span<float> logits, const ChosenToken* chosen);
  void Hold(Group* group, int row, Span<const float> logits);
  void Settle(Sequence* sequence, std::size_t right);
  void StepBeams(Group* group, ActiveRequest* request, Span<float> logits);
  void ForkRows(Group* group);
  void ReorderBeams(Group* group, const std::vector<BeamStep>& steps);

  void LeaveRow(RequestId id, int row);
  void Finish(RequestId id);
  std::optional<Entry> Remove(RequestId id);
  void Fail(RequestId id, const Error& error);
  void FailAll(const Error& error);
  void EndBadly(internal::RequestState* state, bool waited, const Error& error);
  std::optional<Entry> TakeEntry(RequestId id);
  void CloseSequences();
  void ReleaseScratch();
  void Publish();
  void CheckInvariants();

  // Set once, read by all.
  std::unique_ptr<Backend> backend_;  // until the engine's thread ends
  const ModelSpec model_;
  const Traits traits_;
  EngineConfig config_;
  RequestLimits request_limits_;
  const std::shared_ptr<EngineLink> link_ = std::make_shared<EngineLink>();

  // Shared by all threads, guarded by mutex_.
  mutable std::mutex mutex_;
  std::condition_variable news_;
  std::vector<StatePtr> inbox_;
  std::size_t waiting_ = 0;  // in the inbox or in the scheduler's queue
  std::uint64_t last_id_ = 0;
  Closing closing_ = Closing::kNo;
  Error why_closed_{ErrorCode::kClosed, "the generator is closed: open a new one"};
  Stats stats_;

  // The engine thread's own.
  Scheduler scheduler_;
  std::unordered_map<RequestId, Entry> entries_;
  std::multimap<internal::RequestState::Clock::time_point, RequestId> deadlines_;
  std::uint64_t seen_cancellations_ = 0;
  std::size_t told_ = 0;    // entries with told set
  bool repeating_ = false;  // there may be entries with repeating set
  bool computing_ = false;  // the backend is in Forward: nothing else of it may be called
  internal::RequestState::Clock::time_point forward_began_;
  StepBudget budget_;
  GuessBudget guess_budget_;
  StepSize step_;
  Watch watch_{this};
  bool wait_for_room_ = false;  // the backend had none: admit nothing before a row leaves
  StepPlan plan_;
  std::vector<Chunk> chunks_;
  std::vector<int> row_indices_;
  std::vector<Work> work_;
  std::vector<float> logits_;
  std::vector<RowAhead> rows_ahead_;
  RowChooser chooser_;
  std::vector<SeqId> to_close_;
  std::vector<HeldRow> held_;
  std::vector<TokenId> guess_;  // of one row
  std::vector<TokenId> guesses_;
  std::vector<RowGuess> guessing_;
  const std::function<void()> wake_ = [link = link_] { link->Wake(); };
  std::shared_ptr<Proposer> proposer_;  // nullptr: no guesses
  Stats now_;                           // counters of the engine thread, published to stats_

  std::mutex join_mutex_;
  std::thread thread_;
};

}  // namespace skywork_rt
