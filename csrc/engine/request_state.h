#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "engine/fork_guard.h"
#include "skywork_rt/generator.h"

namespace skywork_rt {

/// What a request's owner and the engine share beside the request itself; outlives both.
struct EngineLink {
  ForkGuard fork_guard;
  std::atomic<std::uint64_t> cancellations{0};  // how often any request was cancelled: the engine looks when it changes

  /// From any thread, as long as anybody likes: an engine that waits for masks looks at them again.
  void Wake() {
    const std::lock_guard<std::mutex> lock(wake_mutex);
    woken = true;
    wakes.notify_one();
  }
  std::mutex wake_mutex;
  std::condition_variable wakes;
  bool woken = false;  // guarded by wake_mutex
};

namespace internal {

/// The meeting place of a request's owner, who waits on any thread, and the engine, which fills it.
///
/// Updates that were not taken yet are merged, a sample at a time: a slow reader gets longer pieces, and never holds
/// more memory than the result itself.
class RequestState {
 public:
  using Clock = std::chrono::steady_clock;

  RequestState(std::uint64_t id, Request request, std::size_t reserve, std::uint64_t seed, UpdateCallback callback,
               std::shared_ptr<EngineLink> link);

  // --- the owner's side
  std::uint64_t id() const { return id_; }
  bool Next(Update* update);
  std::optional<bool> NextFor(Update* update, std::chrono::milliseconds timeout);
  void OnNews(NewsCallback on_news);
  Result Get();
  bool WaitFor(std::chrono::milliseconds timeout);
  void Cancel();

  // --- what was asked; constant
  const Request& request() const { return request_; }
  std::size_t reserve() const { return reserve_; }  // prompt + max_tokens, resolved
  std::size_t max_tokens() const { return reserve_ - request_.prompt.size(); }
  std::uint64_t seed() const { return seed_; }
  Clock::time_point submitted() const { return submitted_; }
  double SecondsSinceSubmission() const;

  // --- the engine's side
  bool cancelled() const { return cancelled_.load(std::memory_order_relaxed); }
  /// Hands an update to the callback or to whoever waits. Its strings and vectors are copied from.
  void Deliver(const Update& update);
  /// The end, good or bad. Takes no memory, so that it always comes. The callback has returned for the last time, and
  /// what it holds is destroyed, before anybody who waits hears of the end: it may point into the waiter's stack.
  void Finish(Result result) noexcept;
  void Fail(const Error& error) noexcept;

 private:
  void CheckMayWait() const;
  void CheckNoCallback() const;
  bool TakeUpdate(Update* update);
  void TellTheEnd() noexcept;
  void CallBack(const Update& update) noexcept;
  void DropCallback() noexcept;
  void TellNews() noexcept;
  template <typename Note>
  void End(const Note& note) noexcept;

  const std::uint64_t id_;
  const Request request_;
  const std::size_t reserve_;
  const std::uint64_t seed_;
  const Clock::time_point submitted_ = Clock::now();
  UpdateCallback callback_;  // the engine's thread's alone; empty after the end
  const bool has_callback_;
  const std::shared_ptr<EngineLink> link_;
  std::atomic<bool> cancelled_{false};

  std::mutex mutex_;
  std::condition_variable changed_;    // an update came, or the end
  std::condition_variable ended_now_;  // the end came: who waits for it alone sleeps through the updates
  // Guarded by mutex_.
  std::vector<Update> waiting_;  // one a sample; has tokens when the sample is in ready_
  std::deque<int> ready_;        // samples with something to take, longest waiting first
  NewsCallback on_news_;         // called with mutex_ locked, so that none comes after it was replaced
  bool ended_ = false;
  Result result_;
  std::optional<Error> error_;
};

/// Whether the calling thread is an engine's own, where waiting for a request would never end.
bool OnEngineThread();
/// Whether it is the thread of the engine of this link. Asks a mark of the thread's own, not its id: that is given to
/// another thread once the engine's has ended.
bool OnThreadOf(const EngineLink& link);
/// Marks the calling thread as that of the engine of this link.
void MarkEngineThread(const EngineLink& link);

}  // namespace internal
}  // namespace skywork_rt
