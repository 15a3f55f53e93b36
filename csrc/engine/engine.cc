#include "engine/engine.h"

#include <pthread.h>

#include <algorithm>
#include <random>
#include <system_error>
#include <utility>

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
  request_limits_.options = &config_.options;
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
  link_->Wake();
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
  link_->Wake();
  const std::lock_guard<std::mutex> lock(join_mutex_);
  if (thread_.joinable()) thread_.join();
}

// ------------------------------------------------------------------------------------------------- the engine thread

void Engine::Run() {
  internal::MarkEngineThread();
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

}  // namespace skywork_rt
