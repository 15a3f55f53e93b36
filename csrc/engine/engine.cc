#include "engine/engine.h"

#include <pthread.h>

#include <algorithm>
#include <random>
#include <system_error>
#include <utility>

#include "engine/ends.h"
#include "engine/options.h"
#include "support/current_error.h"
#include "support/float_environment.h"
#include "support/format.h"
#include "support/log.h"
#include "support/signal_block.h"

namespace skywork_rt {
namespace {

using Clock = internal::RequestState::Clock;

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
  limits.block_tokens = traits.block_tokens;
  limits.whole_prompts = traits.whole_prompts;
  limits.static_batch = traits.static_batch;
  limits.optimistic = config.options.admission == "optimistic";
  return limits;
}

// A preempted request reads its own output as if it were prompt: only where that gives the same bits is it invisible.
void CheckAdmission(const GeneratorOptions& options, const Traits& traits) {
  if (options.admission != "optimistic" || (traits.bitwise && traits.block_tokens != 0)) return;
  throw Error(ErrorCode::kUnsupported,
              StrCat("admission is \"optimistic\", but on the backend \"", options.backend, "\" ",
                     traits.bitwise ? "sequences do not share blocks of the cache (Traits::block_tokens)"
                                    : "results depend on how a sequence is computed (Traits::bitwise)",
                     ", so that a preempted request could not go on as if nothing had been: use \"reserve\""));
}

EngineConfig Resolve(EngineConfig config, const Backend& backend) {
  const GeneratorOptions asked = LimitOptions(ResolveOptions(config.options, backend.model()), backend.traits());
  config.options = backend.Chosen(asked);
  if (backend.traits().whole_prompts) config.options.prefix_cache = false;  // a prompt never begins from cached tokens
  CheckAdmission(config.options, backend.traits());
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
      config_(Resolve(std::move(config), *backend_)),
      scheduler_(MakeSchedulerLimits(config_, model_, traits_)),
      budget_(StepBudget::For(config_.options.prefill_stretch, model_, traits_)),
      chooser_(config_.options.threads, CoreSet(config_.options.affinity)),
      proposer_(std::move(config_.proposer)) {
  request_limits_.model = &model_;
  request_limits_.options = &config_.options;
  request_limits_.can_fork = traits_.can_fork;
  request_limits_.only_last_logits = traits_.only_last_logits;
  request_limits_.block_tokens = traits_.block_tokens;
  request_limits_.has_vocabulary = config_.vocabulary != nullptr;
  now_.cache_capacity = config_.options.max_cached_tokens;
  stats_ = now_;
  const SignalBlock block;
  try {
    thread_ = std::thread([this] { Run(); });
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
  throw QueueFull();
}

Error Engine::QueueFull() {
  const std::lock_guard<std::mutex> lock(mutex_);
  ++stats_.refused;
  return MakeError(ErrorCode::kBusy, "the queue is full: ", waiting_, " requests wait and max_queue is ",
                   config_.options.max_queue, ": try again later");
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
  try {
    StatePtr state = Queue(request, reserve, std::move(callback));
    if (state == nullptr) return nullptr;
    news_.notify_one();
    link_->Wake();
    return state;
  } catch (const std::bad_alloc&) {
    throw Error(OutOfMemory());
  }
}

Engine::StatePtr Engine::Queue(Request* request, std::size_t reserve, UpdateCallback callback) {
  const std::uint64_t seed = request->sampling.seed.has_value() ? *request->sampling.seed : DrawSeed();
  const std::lock_guard<std::mutex> lock(mutex_);
  if (closing_ != Closing::kNo) throw Error(why_closed_);
  if (waiting_ >= config_.options.max_queue) return nullptr;
  auto state = std::make_shared<internal::RequestState>(last_id_ + 1, std::move(*request), reserve, seed,
                                                        std::move(callback), link_);
  inbox_.push_back(state);
  ++last_id_;
  ++waiting_;
  ++stats_.requests;
  return state;
}

void Engine::Check(const Request& request) const {
  link_->fork_guard.Check();
  CheckRequest(request, request_limits_);
  const std::lock_guard<std::mutex> lock(mutex_);
  if (closing_ != Closing::kNo) throw Error(why_closed_);
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
  if (OnOwnThread()) {
    throw Error(ErrorCode::kInvalidArgument,
                "a callback may not close its generator: it runs on the engine's thread, which would wait for itself");
  }
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    const Closing wanted = mode == Generator::CloseMode::kCancel ? Closing::kCancel : Closing::kFinish;
    closing_ = std::max(closing_, wanted);  // whoever is in a hurry wins
  }
  news_.notify_one();
  link_->Wake();  // a step that runs asks for closing_ itself
  const std::lock_guard<std::mutex> lock(join_mutex_);
  if (thread_.joinable()) thread_.join();
}

// ------------------------------------------------------------------------------------------------- the engine thread

void Engine::Run() {
  internal::MarkEngineThread(*link_);
  pthread_setname_np(pthread_self(), "skywork_rt");
  UseDefaultFloatEnvironment();
  try {
    while (TakeNews()) {
      DropCancelledAndExpired();
      AdmitQueued();
      ResumeHeld();
      RunStep();
      if (config_.check_invariants) CheckInvariants();
      Publish();
    }
    FailAll(MakeError(ErrorCode::kCancelled, "the generator was closed before the request had finished"));
  } catch (...) {
    const Error error = CurrentError(ErrorCode::kInternal);
    LogText(LogLevel::kError, "the engine stops: ", error.what());
    FailAll(MakeError(ErrorCode::kInternal, "the engine stopped: ", error.what()));
  }
  scheduler_.ForgetAll(&to_close_);
  CloseSequences();
  Publish();
  FreeModel();
}

// Whoever opens one model after another must not hold both, even if the closed Generator lives on.
void Engine::FreeModel() {
  backend_.reset();
  proposer_.reset();
  logits_ = {};
  held_ = {};
  chooser_.Release();
  LogText(LogLevel::kDebug, "closed ", model_.name, " after ", now_.requests, " requests");
}

// Waits while there is nothing to do. False when it is time to stop.
bool Engine::TakeNews() {
  if (entries_.empty()) {
    ReleaseScratch();
    std::unique_lock<std::mutex> lock(mutex_);
    news_.wait(lock, [&] { return !inbox_.empty() || closing_ != Closing::kNo; });
    if (closing_ == Closing::kFinish && inbox_.empty()) return false;
    if (traits_.static_batch) GatherBatch(&lock);
  }
  return TakeArrivals();
}

// A list of requests comes one by one, and the first of them should not keep the others waiting for its end.
void Engine::GatherBatch(std::unique_lock<std::mutex>* lock) {
  const auto whole = [&] {
    return closing_ != Closing::kNo || inbox_.size() >= static_cast<std::size_t>(config_.options.max_batch);
  };
  news_.wait_for(*lock, config_.gather, whole);
}

// From here on the request ends in one way or another.
void Engine::Accept(StatePtr state) {
  const RequestId id = state->id();
  if (state->cancelled()) {  // before it is in entries_, where DropCancelledAndExpired looks
    EndBadly(state.get(), true, Cancelled(id));
    return;
  }
  try {
    Enlist(state);
  } catch (...) {
    const Error error = CurrentError(ErrorCode::kInternal);
    if (entries_.count(id) != 0) {
      Fail(id, error);
    } else {
      EndBadly(state.get(), true, error);
    }
  }
}

void Engine::Enlist(const StatePtr& state) {
  const Request& request = state->request();
  Ticket ticket;
  ticket.id = state->id();
  ticket.priority = request.priority;
  ticket.prompt = request.prompt;
  ticket.rows = RowsOf(request.sampling);
  ticket.beams = request.sampling.num_beams > 1;
  ticket.salt = request.cache_salt;
  ticket.reserve = state->reserve();
  ticket.logits_from = FirstLogits(request);
  Entry entry;
  entry.state = state;
  if (request.deadline.has_value()) entry.deadline = state->submitted() + *request.deadline;
  entries_.emplace(ticket.id, std::move(entry));
  if (request.deadline.has_value()) deadlines_.emplace(state->submitted() + *request.deadline, ticket.id);
  scheduler_.Enqueue(std::move(ticket));
}

void Engine::DropCancelledAndExpired() {
  const std::uint64_t cancellations = link_->cancellations.load(std::memory_order_acquire);
  if (cancellations != seen_cancellations_) {
    seen_cancellations_ = cancellations;
    for (auto next = entries_.begin(); next != entries_.end();) {
      const auto& [id, entry] = *next++;  // Fail takes it out
      if (entry.state->cancelled()) Fail(RequestId{id}, Cancelled(id));
    }
  }
  const Clock::time_point now = config_.clock();
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    const RequestId id = deadlines_.begin()->second;
    Fail(id, DeadlineExceeded(*entries_.at(id).state));
  }
}

// --------------------------------------------------------------------------------------------------------- admission

void Engine::AdmitQueued() {
  while (!wait_for_room_ && scheduler_.queued() != 0) {
    const RequestId first = scheduler_.FirstQueued();
    try {
      const std::optional<Admission> admission = scheduler_.NextAdmission();
      if (!admission.has_value()) return;
      Admit(*admission);
    } catch (...) {
      RefuseAdmission(first, CurrentError(ErrorCode::kBackend));
    }
  }
}

// Either the request runs afterwards, or it is in the queue as before and none of its sequences is open.
void Engine::Admit(const Admission& admission) {
  // What is open can always be closed without memory.
  to_close_.reserve(to_close_.size() + static_cast<std::size_t>(scheduler_.open_rows() + admission.rows));
  for (const SeqId seq : admission.evict) {
    scheduler_.Forget(seq);
    to_close_.push_back(seq);
  }
  CloseSequences();
  Entry& entry = entries_.at(admission.id);
  const bool returns = entry.active != nullptr;  // it was preempted
  std::unique_ptr<ActiveRequest> active;
  if (!returns) {
    active = std::make_unique<ActiveRequest>(entry.state, model_, config_.vocabulary.get(), admission.reuse);
  }
  std::vector<SeqId> rows;
  try {
    OpenRows(admission, &rows);
    scheduler_.Admit(admission, Span<const SeqId>(rows));
  } catch (...) {
    CloseRows(admission, rows);
    throw;
  }
  if (!returns) {
    entry.active = std::move(active);
    now_.prompt_tokens += entry.state->request().prompt.size();
    now_.prefix_hit_tokens += admission.reuse;
    entry.waiting = false;
    const std::lock_guard<std::mutex> lock(mutex_);
    --waiting_;
  }
  CutTakenOver(admission);
}

// Backends may count by pages or buckets and be full before the scheduler's sum is. Then kept sequences go, and after
// them the request waits for running ones; only with nothing left to wait for does it fail. So it is without memory.
void Engine::RefuseAdmission(RequestId id, const Error& error) {
  if (error.code() == ErrorCode::kBusy || error.code() == ErrorCode::kCapacity) {
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

// Opens the request's sequences; `rows` has those that are open when it throws.
void Engine::OpenRows(const Admission& admission, std::vector<SeqId>* rows) {
  const auto count = static_cast<std::size_t>(admission.rows);
  rows->reserve(count);
  if (admission.how == Admission::Reuse::kTakeOver) rows->push_back(admission.source);
  while (rows->size() < count) rows->push_back(backend_->Open(admission.reserve));
  if (admission.how == Admission::Reuse::kCopy) backend_->Copy(admission.source, rows->front(), admission.reuse);
}

// The admission came to nothing: what was opened for it is closed, a kept sequence is kept on.
void Engine::CloseRows(const Admission& admission, const std::vector<SeqId>& rows) {
  for (const SeqId seq : rows) {
    if (admission.how != Admission::Reuse::kTakeOver || seq != admission.source) to_close_.push_back(seq);
  }
  CloseSequences();
}

// Row 0 begins with what is reused, and no more. A sequence that was taken over has no other owner by now.
void Engine::CutTakenOver(const Admission& admission) {
  if (admission.how != Admission::Reuse::kTakeOver || admission.reuse == admission.source_length) return;
  try {
    backend_->Truncate(admission.source, admission.reuse);
  } catch (...) {
    Fail(admission.id, CurrentError(ErrorCode::kBackend));
  }
}

// ----------------------------------------------------------------------------------------------------------- the end

// Row 0 stays for prefix reuse: the other rows share its prompt.
void Engine::LeaveRow(RequestId id, int row) {
  scheduler_.Leave(id, row, row == 0, &to_close_);
  wait_for_room_ = false;
  CloseSequences();
}

void Engine::Finish(RequestId id) {
  std::optional<Entry> entry = TakeEntry(id);
  ++now_.finished;
  Publish();  // whoever sees the result sees it counted
  entry->state->Finish(entry->active->TakeResult());
}

// Takes a request out, wherever it is. Needs no memory.
std::optional<Engine::Entry> Engine::Remove(RequestId id) {
  if (scheduler_.IsQueued(id) || scheduler_.Find(id) != nullptr) scheduler_.Remove(id, &to_close_);
  wait_for_room_ = false;
  CloseSequences();
  return TakeEntry(id);
}

void Engine::Fail(RequestId id, const Error& error) {
  std::optional<Entry> entry = Remove(id);
  if (!entry.has_value()) return;
  if (entry->told) {
    --told_;
  } else {
    EndBadly(entry->state.get(), entry->waiting, error);
  }
}

void Engine::EndBadly(internal::RequestState* state, bool waited, const Error& error) {
  ++(error.code() == ErrorCode::kCancelled ? now_.cancelled : now_.failed);
  if (waited) {
    const std::lock_guard<std::mutex> lock(mutex_);
    --waiting_;
  }
  Publish();
  state->Fail(error);
}

std::optional<Engine::Entry> Engine::TakeEntry(RequestId id) {
  const auto found = entries_.find(id);
  if (found == entries_.end()) return std::nullopt;
  Entry entry = std::move(found->second);
  entries_.erase(found);
  if (!entry.deadline.has_value()) return entry;
  const auto [first, last] = deadlines_.equal_range(*entry.deadline);
  const auto deadline = std::find_if(first, last, [&](const auto& other) { return other.second == id; });
  if (deadline != last) deadlines_.erase(deadline);
  return entry;
}

void Engine::FailAll(const Error& error) {
  std::vector<StatePtr> arrivals;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (closing_ == Closing::kNo) why_closed_ = MakeError(ErrorCode::kClosed, error.what());
    closing_ = Closing::kCancel;
    arrivals.swap(inbox_);
  }
  for (const StatePtr& state : arrivals) EndBadly(state.get(), true, error);
  while (!entries_.empty()) Fail(entries_.begin()->first, error);
}

// A sequence that finds no memory to be closed is closed along with the next ones.
void Engine::CloseSequences() {
  if (computing_) return;  // behind the Forward
  std::size_t left = 0;
  for (const SeqId seq : to_close_) {
    try {
      backend_->Close(seq);
    } catch (const std::bad_alloc&) {
      to_close_[left++] = seq;
    } catch (...) {
      LogText(LogLevel::kError, "sequence ", seq, " did not close: ", CurrentError(ErrorCode::kBackend).what());
    }
  }
  to_close_.resize(left);
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

}  // namespace skywork_rt
