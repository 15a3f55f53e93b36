#include "support/thread_pool.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <new>

#include "skywork_rt/error.h"

namespace skywork_rt {
namespace {

std::atomic<ThreadPool*> g_pool{nullptr};

}  // namespace

ThreadPool& ThreadPool::Global() {
  ThreadPool* pool = g_pool.load(std::memory_order_acquire);
  if (pool != nullptr) return *pool;
  // The parent's workers do not exist in a forked child: it starts over, and leaks what it inherited.
  static const int registered =
      pthread_atfork(nullptr, nullptr, [] { g_pool.store(nullptr, std::memory_order_release); });
  static_cast<void>(registered);
  auto* fresh = new ThreadPool;
  if (!g_pool.compare_exchange_strong(pool, fresh, std::memory_order_acq_rel)) {
    delete fresh;
    return *pool;
  }
  return *fresh;
}

ThreadPool::Lease::Lease(int threads, const CoreSet& cores)
    : pool_(Global()), threads_(std::clamp(threads, 1, WorkerTeam::kMostThreads)), claim_{cores} {
  pool_.Acquire(&claim_, threads_);
  Settle();
}

ThreadPool::Lease::Lease(IfFree /*how*/, int threads, const CoreSet& cores)
    : pool_(Global()), threads_(std::clamp(threads, 1, WorkerTeam::kMostThreads)), claim_{cores} {
  try {
    if (pool_.TryAcquire(&claim_, threads_)) {
      Settle();
      return;
    }
  } catch (const Error&) {  // the system refuses threads or cores: the caller alone will do
  } catch (const std::bad_alloc&) {
  }
  threads_ = 1;
  UseDefaultFloatEnvironment();
}

void ThreadPool::Lease::Settle() {
  try {
    callers_place_.emplace(claim_.cores);
  } catch (...) {
    pool_.Release(&claim_);
    throw;
  }
  UseDefaultFloatEnvironment();
}

ThreadPool::Lease::~Lease() {
  callers_place_.reset();
  if (claim_.team != nullptr) pool_.Release(&claim_);
}

void ThreadPool::Acquire(Claim* claim, int threads) {
  std::unique_lock<std::mutex> lock(mutex_);
  Enlist(claim);
  turn_.wait(lock, [&] { return MayStart(*claim); });
  GiveTeam(claim, threads);
}

bool ThreadPool::TryAcquire(Claim* claim, int threads) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Enlist(claim);
  if (MayStart(*claim)) {
    GiveTeam(claim, threads);
    return true;
  }
  Withdraw(claim);
  return false;
}

// The claim is withdrawn when there is no team for it.
void ThreadPool::GiveTeam(Claim* claim, int threads) {
  try {
    TeamAndUser& team = TeamFor(claim->cores);
    team.team->Hire(threads);
    team.team->MoveTo(claim->cores);
    team.user = claim;
    claim->team = team.team.get();
  } catch (...) {
    Withdraw(claim);
    turn_.notify_all();
    throw;
  }
}

// Whoever was on these cores before need not move; else whoever is free.
ThreadPool::TeamAndUser& ThreadPool::TeamFor(const CoreSet& cores) {
  const auto free = [](const TeamAndUser& team) { return team.user == nullptr; };
  auto found = std::find_if(teams_.begin(), teams_.end(),
                            [&](const TeamAndUser& team) { return free(team) && team.team->cores() == cores; });
  if (found == teams_.end()) found = std::find_if(teams_.begin(), teams_.end(), free);
  if (found != teams_.end()) return *found;
  teams_.push_back({std::make_unique<WorkerTeam>(), nullptr});
  return teams_.back();
}

void ThreadPool::Release(Claim* claim) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::find_if(teams_.begin(), teams_.end(), [&](const TeamAndUser& team) { return team.user == claim; })->user =
        nullptr;
    claim->team = nullptr;
    Withdraw(claim);
  }
  turn_.notify_all();
}

bool ThreadPool::MayStart(const Claim& claim) const {
  const Claim* earlier = first_;
  while (earlier != &claim && !earlier->cores.Overlaps(claim.cores)) earlier = earlier->next;
  return earlier == &claim;
}

void ThreadPool::Enlist(Claim* claim) {
  Claim** end = &first_;
  while (*end != nullptr) end = &(*end)->next;
  *end = claim;
}

void ThreadPool::Withdraw(Claim* claim) {
  Claim** place = &first_;
  while (*place != claim) place = &(*place)->next;
  *place = claim->next;
}

}  // namespace skywork_rt
