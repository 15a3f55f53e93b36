#include "engine/engine.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <exception>
#include <random>
#include <system_error>
#include <utility>

#include "engine/options.h"
#include "support/format.h"
#include "support/log.h"

namespace skywork_rt {
namespace {

using Clock = internal::RequestState::Clock;
using Seconds = std::chrono::duration<double>;

/// Adds the time of its own life to a counter.
class Stopwatch {
 public:
  explicit Stopwatch(double* seconds) : seconds_(seconds) {}
  ~Stopwatch() { *seconds_ += Seconds(Clock::now() - start_).count(); }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

 private:
  double* seconds_;
  Clock::time_point start_ = Clock::now();
};

/// Blocks signals while it lives, so that a thread started meanwhile leaves them to the application's threads (Python
/// handles Ctrl-C on its main thread). Those that a faulty instruction raises stay.
class SignalBlock {
 public:
  SignalBlock() {
    sigset_t all;
    sigfillset(&all);
    for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT}) sigdelset(&all, fault);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalBlock() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalBlock(const SignalBlock&) = delete;
  SignalBlock& operator=(const SignalBlock&) = delete;

 private:
  sigset_t before_;
};

/// Whatever was thrown, as an Error of this library.
Error CurrentError(ErrorCode code_of_others) {
  try {
    throw;
  } catch (const Error& error) {
    return error;
  } catch (const std::exception& error) {
    return Error(code_of_others, error.what());
  } catch (...) {
    return Error(code_of_others, "an exception of an unknown type");
  }
}

std::uint64_t DrawSeed() {
  std::random_device device;
  return (static_cast<std::uint64_t>(device()) << 32) | device();
}

SchedulerLimits MakeSchedulerLimits(const EngineConfig& config, const ModelSpec& model, const Traits& traits) {
  SchedulerLimits limits;
  limits.max_running = config.options.max_batch;
  limits.max_open = traits.max_batch;
  limits.max_cached_tokens = config.options.max_cached_tokens;
  limits.max_chunk = traits.max_chunk;
  limits.prefill_budget = config.options.prefill_budget;
  const std::size_t bytes_per_row = static_cast<std::size_t>(model.vocab_size) * sizeof(float);
  limits.max_logit_rows =
      std::max(static_cast<std::size_t>(config.options.max_batch), config.prompt_logits_bytes / bytes_per_row);
  limits.prefix_cache = config.options.prefix_cache;
  limits.min_prefix = config.min_prefix;
  limits.can_fork = traits.can_fork;
  limits.can_truncate = traits.can_truncate;
  return limits;
}

EngineConfig Resolve(EngineConfig config, const ModelSpec& model, const Traits& traits) {
  config.options = LimitOptions(ResolveOptions(config.options, model), traits);
  return config;
}

/// First prompt position whose logits the request needs: the last one, or that before the first scored token.
std::size_t FirstLogits(const Request& request) {
  const std::size_t last = request.prompt.size() - 1;
  if (!request.sampling.prompt_logprobs.has_value()) return last;
  return std::min(last, std::max<std::size_t>(1, request.prompt_logprobs_from) - 1);
}

}  // namespace

// ------------------------------------------------------------------------------------------- any thread but its own

Engine::Engine(std::unique_ptr<Backend> backend, EngineConfig config)
    : backend_(std::move(backend)),
      model_(backend_->model()),
      traits_(backend_->traits()),
      config_(Resolve(std::move(config), model_, traits_)),
      scheduler_(MakeSchedulerLimits(config_, model_, traits_)) {
  request_limits_.model = &model_;
  request_limits_.max_length = config_.options.max_length;
  request_limits_.max_cached_tokens = config_.options.max_cached_tokens;
  request_limits_.max_running = config_.options.max_batch;
  request_limits_.can_fork = traits_.can_fork;
  request_limits_.has_vocabulary = config_.vocabulary != nullptr;
  now_.cache_capacity = config_.options.max_cached_tokens;
  stats_ = now_;
  const SignalBlock block;
  try {
    thread_ = std::thread([this] { Run(); });
    thread_id_ = thread_.get_id();
  } catch (const std::system_error& error) {
    throw Error(ErrorCode::kCapacity, StrCat("cannot start the engine's thread: ", error.what()));
  }
}

Engine::~Engine() {
  Close(Generator::CloseMode::kCancel);
}

Engine::StatePtr Engine::Submit(Request request, UpdateCallback callback) {
  StatePtr state = TrySubmit(&request, std::move(callback));
  if (state != nullptr) return state;
  const std::lock_guard<std::mutex> lock(mutex_);
  ++stats_.refused;
  throw Error(ErrorCode::kCapacity, StrCat("the queue is full: ", waiting_, " requests wait and max_queue is ",
                                           config_.options.max_queue, ": try again later"));
}

Engine::StatePtr Engine::TrySubmit(Request* request, UpdateCallback callback) {
  link_->fork_guard.Check();
  std::size_t reserve = 0;
  try {
    reserve = CheckRequest(*request, request_limits_);
  } catch (const Error&) {
    const std::lock_guard<std::mutex> lock(mutex_);
    ++stats_.refused;
    throw;
  }
  const std::uint64_t seed = request->sampling.seed.has_value() ? *request->sampling.seed : DrawSeed();
  StatePtr state;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (closing_ != Closing::kNo) throw Error(ErrorCode::kClosed, why_closed_);
    if (waiting_ >= config_.options.max_queue) return nullptr;
    state = std::make_shared<internal::RequestState>(last_id_ + 1, std::move(*request), reserve, seed,
                                                     std::move(callback), link_);
    inbox_.push_back(state);
    ++last_id_;
    ++waiting_;
    ++stats_.requests;
  }
  news_.notify_one();
  return state;
}

Stats Engine::stats() const {
  link_->fork_guard.Check();
  const std::lock_guard<std::mutex> lock(mutex_);
  Stats stats = stats_;
  stats.queued = waiting_;
  return stats;
}

void Engine::Close(Generator::CloseMode mode) {
  link_->fork_guard.Check();
  if (std::this_thread::get_id() == thread_id_) {
    throw Error(ErrorCode::kInvalidArgument,
                "a callback may not close its generator: it runs on the engine's thread, which would wait for itself");
  }
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    const Closing wanted = mode == Generator::CloseMode::kCancel ? Closing::kCancel : Closing::kFinish;
    closing_ = std::max(closing_, wanted);  // whoever is in a hurry wins
    if (why_closed_.empty()) why_closed_ = "the generator is closed: open a new one";
  }
  news_.notify_one();
  const std::lock_guard<std::mutex> lock(join_mutex_);
  if (thread_.joinable()) thread_.join();
}

// ------------------------------------------------------------------------------------------------- the engine thread

void Engine::Run() {
  internal::MarkEngineThread();
  pthread_setname_np(pthread_self(), "skywork_rt");
  try {
    while (TakeNews()) {
      DropCancelledAndExpired();
      AdmitQueued();
      RunStep();
      if (config_.check_invariants) CheckInvariants();
      Publish();
    }
    FailAll(Error(ErrorCode::kCancelled, "the generator was closed before the request had finished"));
  } catch (...) {
    const Error error = CurrentError(ErrorCode::kInternal);
    Log(LogLevel::kError, StrCat("the engine stops: ", error.what()));
    FailAll(Error(ErrorCode::kInternal, StrCat("the engine stopped: ", error.what())));
  }
  scheduler_.ForgetAll(&to_close_);
  CloseSequences();
  Publish();
}

// Waits while there is nothing to do. False when it is time to stop.
bool Engine::TakeNews() {
  const bool idle = entries_.empty();
  if (idle) ReleaseScratch();
  std::vector<StatePtr> arrivals;
  {
    std::unique_lock<std::mutex> lock(mutex_);
    if (idle) news_.wait(lock, [&] { return !inbox_.empty() || closing_ != Closing::kNo; });
    if (closing_ == Closing::kCancel) return false;
    if (closing_ == Closing::kFinish && inbox_.empty() && idle) return false;
    arrivals.swap(inbox_);
  }
  for (StatePtr& state : arrivals) Accept(std::move(state));
  return true;
}

void Engine::Accept(StatePtr state) {
  const Request& request = state->request();
  const RequestId id = state->id();
  Ticket ticket;
  ticket.id = id;
  ticket.priority = request.priority;
  ticket.prompt = request.prompt;
  ticket.rows = RowsOf(request.sampling);
  ticket.reserve = state->reserve();
  ticket.logits_from = FirstLogits(request);
  Entry entry;
  if (request.deadline.has_value()) {
    entry.deadline = state->submitted() + *request.deadline;
    deadlines_.emplace(*entry.deadline, id);
  }
  const bool cancelled = state->cancelled();  // before it was in entries_, where DropCancelledAndExpired looks
  entry.state = std::move(state);
  entries_.emplace(id, std::move(entry));
  scheduler_.Enqueue(std::move(ticket));
  if (cancelled) Fail(id, Error(ErrorCode::kCancelled, StrCat("request ", id, " was cancelled")));
}

void Engine::DropCancelledAndExpired() {
  const std::uint64_t cancellations = link_->cancellations.load(std::memory_order_acquire);
  if (cancellations != seen_cancellations_) {
    seen_cancellations_ = cancellations;
    std::vector<RequestId> cancelled;
    for (const auto& [id, entry] : entries_) {
      if (entry.state->cancelled()) cancelled.push_back(id);
    }
    for (const RequestId id : cancelled) {
      Fail(id, Error(ErrorCode::kCancelled, StrCat("request ", id, " was cancelled")));
    }
  }
  const Clock::time_point now = Clock::now();
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    const RequestId id = deadlines_.begin()->second;
    const auto& state = *entries_.at(id).state;
    Fail(id, Error(ErrorCode::kDeadlineExceeded, StrCat("request ", id, " did not finish within its deadline of ",
                                                        state.request().deadline->count(), " ms")));
  }
}

// --------------------------------------------------------------------------------------------------------- admission

void Engine::AdmitQueued() {
  while (!wait_for_room_) {
    const std::optional<Admission> admission = scheduler_.NextAdmission();
    if (!admission.has_value()) return;
    Admit(*admission);
  }
}

void Engine::Admit(const Admission& admission) {
  for (const SeqId seq : admission.evict) {
    scheduler_.Forget(seq);
    to_close_.push_back(seq);
  }
  CloseSequences();
  Entry& entry = entries_.at(admission.id);
  try {
    auto active = std::make_unique<ActiveRequest>(entry.state, model_, config_.vocabulary.get(), admission.reuse);
    const std::vector<SeqId> rows = OpenRows(admission);
    scheduler_.Admit(admission, Span<const SeqId>(rows));
    entry.active = std::move(active);
  } catch (...) {
    RefuseAdmission(admission.id, CurrentError(ErrorCode::kBackend));
    return;
  }
  now_.prompt_tokens += entry.state->request().prompt.size();
  now_.prefix_hit_tokens += admission.reuse;
  const std::lock_guard<std::mutex> lock(mutex_);
  --waiting_;
}

// Backends may count by pages or buckets and be full before the scheduler's sum is. Then kept sequences go, and after
// them the request waits for running ones; only with nothing left to wait for does it fail.
void Engine::RefuseAdmission(RequestId id, const Error& error) {
  if (error.code() == ErrorCode::kCapacity) {
    if (scheduler_.ForgetOldest(&to_close_)) {
      CloseSequences();
      return;
    }
    if (!scheduler_.running().empty()) {
      wait_for_room_ = true;  // until a row leaves
      return;
    }
  }
  Fail(id, error);
}

// Opens the request's sequences, row 0 holding what is reused; on error none of them is left.
std::vector<SeqId> Engine::OpenRows(const Admission& admission) {
  const bool take_over = admission.how == Admission::Reuse::kTakeOver;
  std::vector<SeqId> opened;
  try {
    for (int i = take_over ? 1 : 0; i < admission.rows; ++i) opened.push_back(backend_->Open(admission.reserve));
    if (admission.how == Admission::Reuse::kCopy) {
      const SeqId source = admission.source;
      const SeqId target = opened.front();
      backend_->Reorder(Span<const SeqId>(&source, 1), Span<const SeqId>(&target, 1));
    }
    if (admission.reuse < admission.source_length) {
      backend_->Truncate(take_over ? admission.source : opened.front(), admission.reuse);
    }
  } catch (...) {
    to_close_.insert(to_close_.end(), opened.begin(), opened.end());
    CloseSequences();
    throw;
  }
  if (take_over) opened.insert(opened.begin(), admission.source);
  return opened;
}

// ------------------------------------------------------------------------------------------------------------ a step

void Engine::RunStep() {
  scheduler_.PlanStep(&plan_);
  if (plan_.empty()) return;
  ++now_.steps;
  if (traits_.mixed_steps) {
    plan_.decode.insert(plan_.decode.end(), plan_.prefill.begin(), plan_.prefill.end());
    RunForward(Span<const PlannedChunk>(plan_.decode));
    return;
  }
  // A request is in one of the two lists only, so what happens to the first leaves the second valid.
  if (!plan_.decode.empty()) RunForward(Span<const PlannedChunk>(plan_.decode));
  if (!plan_.prefill.empty()) RunForward(Span<const PlannedChunk>(plan_.prefill));
}

void Engine::RunForward(Span<const PlannedChunk> chunks) {
  PrepareForward(chunks);
  if (!CallForward()) return;
  for (const PlannedChunk& chunk : chunks) scheduler_.Commit(chunk);
  const Stopwatch stopwatch(&now_.sampling_seconds);
  for (const Work& work : work_) {
    try {
      HandleLogits(work);
    } catch (...) {
      Fail(work.id, CurrentError(ErrorCode::kInternal));
    }
  }
}

void Engine::PrepareForward(Span<const PlannedChunk> chunks) {
  std::size_t rows = 0;
  for (const PlannedChunk& chunk : chunks) rows += chunk.logit_rows;
  row_indices_.resize(rows);  // before anything points into it
  const std::size_t logits = rows * static_cast<std::size_t>(model_.vocab_size);
  if (logits_.size() < logits) logits_.resize(logits);
  chunks_.clear();
  work_.clear();
  std::size_t next = 0;
  for (const PlannedChunk& chunk : chunks) {
    const Sequence& sequence = *chunk.sequence;
    for (std::size_t r = 0; r < chunk.logit_rows; ++r) {
      row_indices_[next + r] = static_cast<int>(chunk.count - chunk.logit_rows + r);
    }
    chunks_.push_back(Chunk{sequence.seq, Span<const TokenId>(sequence.tokens.data() + sequence.cached, chunk.count),
                            Span<const int>(row_indices_.data() + next, chunk.logit_rows)});
    work_.push_back(Work{sequence.owner, sequence.row, sequence.cached + chunk.count, chunk.logit_rows, next});
    next += chunk.logit_rows;
  }
}

// False when the backend failed; then the step's requests are lost and all others are as they were.
bool Engine::CallForward() {
  const std::size_t logits = row_indices_.size() * static_cast<std::size_t>(model_.vocab_size);
  try {
    const Stopwatch stopwatch(&now_.forward_seconds);
    backend_->Forward(Span<const Chunk>(chunks_), Span<float>(logits_.data(), logits));
    return true;
  } catch (...) {
    LoseStep(CurrentError(ErrorCode::kBackend));
    return false;
  }
}

void Engine::LoseStep(const Error& error) {
  const std::string message =
      StrCat("the backend failed in a step of ", work_.size(), " sequences, whose requests are lost (",
             ErrorCodeName(error.code()), "): ", error.what());
  Log(LogLevel::kError, message);
  for (const Work& work : work_) {
    if (entries_.count(work.id) != 0) Fail(work.id, Error(ErrorCode::kBackend, message));
  }
}

void Engine::HandleLogits(const Work& work) {
  const auto entry = entries_.find(work.id);
  if (entry == entries_.end()) return;  // lost earlier in this step
  Group* group = scheduler_.Find(work.id);
  const auto vocab = static_cast<std::size_t>(model_.vocab_size);
  for (std::size_t r = 0; r < work.logit_rows; ++r) {
    const std::size_t position = work.end - work.logit_rows + r;
    const Span<float> logits(logits_.data() + (work.first_logit + r) * vocab, vocab);
    if (position + 1 < group->ticket.prompt.size()) {
      entry->second.active->AddPromptLogits(position, logits);
    } else if (group->reading_prompt) {
      StartDecoding(group, entry->second.active.get(), logits);
    } else if (!entry->second.active->uses_beams()) {
      StepSample(group, entry->second.active.get(), work.row, logits);
    } else if (work.row == 0) {  // beams are planned side by side, so their rows of logits are neighbours
      StepBeams(group, entry->second.active.get(),
                Span<float>(logits.data(), entry->second.active->beam_width() * vocab));
    }
  }
}

void Engine::StartDecoding(Group* group, ActiveRequest* request, Span<float> logits) {
  const int rows = group->ticket.rows;
  if (rows > 1) ForkRows(group);
  scheduler_.Fork(group);
  if (request->uses_beams()) {
    StepBeams(group, request, logits);
    return;
  }
  // The group lives until its last row leaves, which is the last that this loop looks at.
  for (int row = 0; row < rows; ++row) StepSample(group, request, row, logits);
}

void Engine::ForkRows(Group* group) {
  std::vector<SeqId> to;
  for (std::size_t i = 1; i < group->rows.size(); ++i) to.push_back(group->rows[i]->seq);
  const std::vector<SeqId> from(to.size(), group->rows[0]->seq);
  backend_->Reorder(Span<const SeqId>(from), Span<const SeqId>(to));
}

void Engine::StepSample(Group* group, ActiveRequest* request, int row, Span<float> logits) {
  const RequestId id = group->ticket.id;
  const ActiveRequest::Outcome outcome = request->Next(row, logits);
  ++now_.generated_tokens;
  if (!outcome.finished) {
    scheduler_.Append(group->rows[static_cast<std::size_t>(row)].get(), outcome.token);
    return;
  }
  LeaveRow(id, row);
  if (request->unfinished() == 0) Finish(id);
}

void Engine::StepBeams(Group* group, ActiveRequest* request, Span<float> logits) {
  const RequestId id = group->ticket.id;
  if (request->NextBeams(logits)) {
    now_.generated_tokens += request->generated();
    const int rows = group->ticket.rows;
    for (int row = 0; row < rows; ++row) LeaveRow(id, row);
    Finish(id);
    return;
  }
  const std::vector<BeamStep>& steps = request->beam_steps();
  ReorderBeams(group, steps);
  for (std::size_t i = 0; i < steps.size(); ++i) scheduler_.Append(group->rows[i].get(), steps[i].token);
}

void Engine::ReorderBeams(Group* group, const std::vector<BeamStep>& steps) {
  std::vector<int> parents;
  std::vector<SeqId> from;
  std::vector<SeqId> to;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const auto parent = static_cast<std::size_t>(steps[i].parent);
    parents.push_back(steps[i].parent);
    if (parent == i) continue;
    from.push_back(group->rows[parent]->seq);
    to.push_back(group->rows[i]->seq);
  }
  if (to.empty()) return;
  // The first step's beams all come from row 0, whose prompt all rows hold already.
  const bool first = group->rows[0]->tokens.size() == group->ticket.prompt.size();
  if (!first) backend_->Reorder(Span<const SeqId>(from), Span<const SeqId>(to));
  scheduler_.Reorder(group, Span<const int>(parents));
}

// ----------------------------------------------------------------------------------------------------------- the end

// Row 0 stays for prefix reuse: the other rows share its prompt.
void Engine::LeaveRow(RequestId id, int row) {
  scheduler_.Leave(id, row, row == 0, &to_close_);
  wait_for_room_ = false;
  CloseSequences();
}

void Engine::Finish(RequestId id) {
  Entry entry = TakeEntry(id);
  ++now_.finished;
  Publish();  // whoever sees the result sees it counted
  entry.state->Finish(entry.active->TakeResult());
}

void Engine::Fail(RequestId id, const Error& error) {
  Entry entry = TakeEntry(id);
  scheduler_.Remove(id, &to_close_);
  wait_for_room_ = false;
  CloseSequences();
  ++(error.code() == ErrorCode::kCancelled ? now_.cancelled : now_.failed);
  if (entry.active == nullptr) {
    const std::lock_guard<std::mutex> lock(mutex_);
    --waiting_;
  }
  Publish();
  entry.state->Fail(error.code(), error.what());
}

Engine::Entry Engine::TakeEntry(RequestId id) {
  const auto found = entries_.find(id);
  Entry entry = std::move(found->second);
  entries_.erase(found);
  if (!entry.deadline.has_value()) return entry;
  const auto [first, last] = deadlines_.equal_range(*entry.deadline);
  deadlines_.erase(std::find_if(first, last, [&](const auto& deadline) { return deadline.second == id; }));
  return entry;
}

void Engine::FailAll(const Error& error) {
  std::vector<StatePtr> arrivals;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (closing_ == Closing::kNo) why_closed_ = error.what();
    closing_ = Closing::kCancel;
    arrivals.swap(inbox_);
  }
  for (StatePtr& state : arrivals) Accept(std::move(state));
  while (!entries_.empty()) Fail(entries_.begin()->first, error);
}

void Engine::CloseSequences() {
  for (const SeqId seq : to_close_) {
    try {
      backend_->Close(seq);
    } catch (...) {
      Log(LogLevel::kError, StrCat("sequence ", seq, " did not close: ", CurrentError(ErrorCode::kBackend).what()));
    }
  }
  to_close_.clear();
}

// A burst of prompt log-probabilities makes the logits large; they need not stay so.
void Engine::ReleaseScratch() {
  const std::size_t usual =
      static_cast<std::size_t>(config_.options.max_batch) * static_cast<std::size_t>(model_.vocab_size);
  if (logits_.size() <= usual) return;
  logits_.clear();
  logits_.shrink_to_fit();
}

void Engine::Publish() {
  now_.running = static_cast<std::size_t>(scheduler_.running_rows());
  now_.cached_tokens = scheduler_.cached_tokens();
  const std::lock_guard<std::mutex> lock(mutex_);
  now_.requests = stats_.requests;  // the two that Submit counts
  now_.refused = stats_.refused;
  stats_ = now_;
}

void Engine::CheckInvariants() {
  const auto promise = [](bool holds, const std::string& what) {
    if (!holds) throw Error(ErrorCode::kInternal, StrCat("engine: ", what));
  };
  scheduler_.CheckInvariants();
  std::size_t running = 0;
  for (const auto& group : scheduler_.running()) {
    promise(entries_.count(group->ticket.id) != 0, StrCat("request ", group->ticket.id, " runs without an owner"));
    ++running;
    for (const auto& row : group->rows) {
      if (row == nullptr) continue;
      promise(backend_->Length(row->seq) == row->cached,
              StrCat("sequence ", row->seq, " holds ", backend_->Length(row->seq), " tokens, not ", row->cached));
    }
  }
  for (const auto& kept : scheduler_.kept()) {
    promise(backend_->Length(kept->seq) == kept->cached,
            StrCat("kept sequence ", kept->seq, " holds ", backend_->Length(kept->seq), " tokens, not ", kept->cached));
  }
  promise(entries_.size() == running + scheduler_.queued(),
          StrCat(entries_.size(), " requests, but ", running, " run and ", scheduler_.queued(), " wait"));
  const std::lock_guard<std::mutex> lock(mutex_);
  promise(waiting_ == scheduler_.queued() + inbox_.size(),
          StrCat(waiting_, " are counted as waiting, ", scheduler_.queued(), " + ", inbox_.size(), " are"));
  promise(waiting_ <= config_.options.max_queue, StrCat(waiting_, " wait, ", config_.options.max_queue, " may"));
}

}  // namespace skywork_rt
