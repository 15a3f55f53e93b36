#include "engine/request_state.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "support/format.h"
#include "support/log.h"

namespace skywork_rt {
namespace internal {
namespace {

thread_local const EngineLink* t_engine = nullptr;  // whose thread this is

/// Longer waits are as good as for ever, and would overflow the clock's nanoseconds.
constexpr std::chrono::milliseconds kLongestWait = std::chrono::hours(24 * 365);

RequestState::Clock::time_point EndOf(std::chrono::milliseconds timeout) {
  return RequestState::Clock::now() + std::min(timeout, kLongestWait);
}

void Append(const Update& more, Update* update) {
  update->sample = more.sample;
  update->token_ids.insert(update->token_ids.end(), more.token_ids.begin(), more.token_ids.end());
  update->text += more.text;
  update->logprobs.insert(update->logprobs.end(), more.logprobs.begin(), more.logprobs.end());
  update->finish_reason = more.finish_reason;
}

}  // namespace

bool OnEngineThread() {
  return t_engine != nullptr;
}
bool OnThreadOf(const EngineLink& link) {
  return t_engine == &link;
}
void MarkEngineThread(const EngineLink& link) {
  t_engine = &link;
}

RequestState::RequestState(std::uint64_t id, Request request, std::size_t reserve, std::uint64_t seed,
                           UpdateCallback callback, std::shared_ptr<EngineLink> link)
    : id_(id),
      request_(std::move(request)),
      reserve_(reserve),
      seed_(seed),
      callback_(std::move(callback)),
      has_callback_(static_cast<bool>(callback_)),
      link_(std::move(link)),
      waiting_(static_cast<std::size_t>(std::max(1, request_.sampling.n))) {}

void RequestState::CheckMayWait() const {
  link_->fork_guard.Check();
  if (OnEngineThread()) {
    throw Error(ErrorCode::kInvalidArgument,
                "a callback may not wait for a request: it runs on the engine's thread, which would wait for itself");
  }
}

bool RequestState::TakeUpdate(Update* update) {
  if (ready_.empty()) return false;
  Update& taken = waiting_[static_cast<std::size_t>(ready_.front())];
  ready_.pop_front();
  // The buffers of the caller's last update are what the next one is collected in: no allocation in the long run.
  std::swap(*update, taken);
  taken.token_ids.clear();
  taken.text.clear();
  taken.logprobs.clear();
  return true;
}

bool RequestState::Next(Update* update) {
  while (true) {
    if (const std::optional<bool> next = NextFor(update, kLongestWait); next.has_value()) return *next;
  }
}

void RequestState::CheckNoCallback() const {
  if (!has_callback_) return;
  throw Error(ErrorCode::kInvalidArgument,
              StrCat("request ", id_, " was submitted with a callback, which gets its updates; wait with Get()"));
}

std::optional<bool> RequestState::NextFor(Update* update, std::chrono::milliseconds timeout) {
  CheckMayWait();
  CheckNoCallback();
  std::unique_lock<std::mutex> lock(mutex_);
  if (!changed_.wait_until(lock, EndOf(timeout), [&] { return ended_ || !ready_.empty(); })) return std::nullopt;
  return TakeUpdate(update);
}

// What was there before goes with the parameter, when the lock is no longer held.
void RequestState::OnNews(NewsCallback on_news) {
  link_->fork_guard.Check();
  CheckNoCallback();
  const std::lock_guard<std::mutex> lock(mutex_);
  on_news_.swap(on_news);
  if (ended_ || !ready_.empty()) TellNews();
  if (ended_) on_news_.swap(on_news);
}

void RequestState::TellNews() noexcept {
  if (!on_news_) return;
  try {
    on_news_(ended_);
  } catch (const std::exception& error) {
    LogText(LogLevel::kError, "the news callback of request ", id_, " threw: ", error.what());
  } catch (...) {
    LogText(LogLevel::kError, "the news callback of request ", id_, " threw");
  }
}

Result RequestState::Get() {
  CheckMayWait();
  std::unique_lock<std::mutex> lock(mutex_);
  ended_now_.wait(lock, [&] { return ended_; });
  if (error_.has_value()) throw Error(*error_);
  return result_;
}

bool RequestState::WaitFor(std::chrono::milliseconds timeout) {
  CheckMayWait();
  std::unique_lock<std::mutex> lock(mutex_);
  return ended_now_.wait_until(lock, EndOf(timeout), [&] { return ended_; });
}

void RequestState::Cancel() {
  cancelled_.store(true, std::memory_order_relaxed);
  link_->cancellations.fetch_add(1, std::memory_order_release);
  // In a child of fork() nobody waits, and the mutex may be locked for ever.
  if (!link_->fork_guard.forked()) link_->Wake();
}

double RequestState::SecondsSinceSubmission() const {
  return std::chrono::duration<double>(Clock::now() - submitted_).count();
}

void RequestState::Deliver(const Update& update) {
  if (has_callback_) {
    if (!cancelled()) CallBack(update);
    return;
  }
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    Update& waiting = waiting_[static_cast<std::size_t>(update.sample)];
    if (waiting.token_ids.empty()) ready_.push_back(update.sample);
    Append(update, &waiting);
    TellNews();
  }
  changed_.notify_all();
}

void RequestState::CallBack(const Update& update) noexcept {
  bool go_on = false;
  try {
    go_on = callback_(update);
  } catch (const std::exception& error) {
    LogText(LogLevel::kError, "the callback of request ", id_, " threw, which cancels it: ", error.what());
  } catch (...) {
    LogText(LogLevel::kError, "the callback of request ", id_, " threw, which cancels it");
  }
  if (!go_on) Cancel();
}

void RequestState::DropCallback() noexcept {
  const UpdateCallback last = std::exchange(callback_, nullptr);
}

void RequestState::TellTheEnd() noexcept {
  changed_.notify_all();
  ended_now_.notify_all();
}

// `note` takes down how it ended.
template <typename Note>
void RequestState::End(const Note& note) noexcept {
  DropCallback();
  NewsCallback last;  // destroyed when the lock is no longer held
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    note();
    ended_ = true;
    TellNews();
    last.swap(on_news_);
  }
  TellTheEnd();
}

void RequestState::Finish(Result result) noexcept {
  End([&] { result_ = std::move(result); });
}

void RequestState::Fail(const Error& error) noexcept {
  if (has_callback_) {
    Update last;
    last.finish_reason = FinishReason::kError;
    CallBack(last);
  }
  End([&] { error_.emplace(error); });
}

}  // namespace internal

namespace {

internal::RequestState& Checked(const std::shared_ptr<internal::RequestState>& state) {
  if (state == nullptr) {
    throw Error(ErrorCode::kInvalidArgument, "this RequestHandle refers to no request: use what Submit returned");
  }
  return *state;
}

}  // namespace

std::uint64_t RequestHandle::id() const {
  return Checked(state_).id();
}
bool RequestHandle::Next(Update* update) {
  return Checked(state_).Next(update);
}
std::optional<bool> RequestHandle::NextFor(Update* update, std::chrono::milliseconds timeout) {
  return Checked(state_).NextFor(update, timeout);
}
void RequestHandle::OnNews(NewsCallback on_news) {
  Checked(state_).OnNews(std::move(on_news));
}
Result RequestHandle::Get() {
  return Checked(state_).Get();
}
bool RequestHandle::WaitFor(std::chrono::milliseconds timeout) const {
  return Checked(state_).WaitFor(timeout);
}
void RequestHandle::Cancel() {
  Checked(state_).Cancel();
}

}  // namespace skywork_rt
