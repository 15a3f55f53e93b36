#include "support/worker_team.h"

#include <algorithm>
#include <system_error>
#include <thread>

#include "skywork_rt/error.h"
#include "support/float_environment.h"
#include "support/format.h"

namespace skywork_rt {
namespace {

// Long enough to bridge the serial parts between two regions of a step, short enough to cost nobody a core.
constexpr int kSpins = 4000;
constexpr std::uint64_t kClosed = std::uint64_t{1} << 31;
constexpr std::uint64_t kCountMask = 0xFFFF;

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

std::uint64_t EpochOf(std::uint64_t gate) {
  return gate >> 32;
}

}  // namespace

void WorkerTeam::Hire(int threads) {
  try {
    while (workers_ < threads - 1) {
      std::thread([this] { WorkerMain(); }).detach();
      ++workers_;
    }
  } catch (const std::system_error& error) {
    throw Error(ErrorCode::kCapacity, StrCat("The system refused thread ", workers_ + 2, " of the ", threads,
                                             " asked for (", error.what(), "). Ask for fewer threads."));
  }
}

void WorkerTeam::Follow(Place* place) const noexcept {
  if (cores_.empty()) {
    if (place->confined) place->own.Confine();
    place->confined = false;
    return;
  }
  if (place->confined && place->at == cores_) return;
  if (!place->confined) place->own = CoreSet::OfThisThread();
  place->confined = cores_.Confine();  // the caller has been there, so this fails only if the cores have just gone
  place->at = cores_;
}

void WorkerTeam::Drain(int slot) {
  for (int i = 0; i < slots_; ++i) {
    Share& share = shares_[static_cast<std::size_t>((slot + i) % slots_)];
    while (share.next.load(std::memory_order_relaxed) < share.end) {
      const int task = share.next.fetch_add(1, std::memory_order_relaxed);
      if (task < share.end) job_.run(job_.context, task, slot);
    }
  }
  job_.after(job_.context, slot);
}

void WorkerTeam::Run(int tasks, int threads, const Job& job) {
  job_ = job;
  slots_ = std::min(threads, tasks);
  for (int slot = 0; slot < slots_; ++slot) {
    Share& share = shares_[static_cast<std::size_t>(slot)];
    share.next.store(ShareBegin(tasks, slots_, slot), std::memory_order_relaxed);
    share.end = ShareBegin(tasks, slots_, slot + 1);
  }
  left_.store(0, std::memory_order_relaxed);
  const std::uint64_t epoch = EpochOf(gate_.load(std::memory_order_relaxed)) + 1;
  const auto helpers = static_cast<std::uint64_t>(slots_ - 1);
  gate_.store(epoch << 32 | helpers << 16, std::memory_order_seq_cst);
  if (sleepers_.load(std::memory_order_seq_cst) > 0) {
    { const std::lock_guard<std::mutex> lock(sleep_mutex_); }
    wake_.notify_all();
  }
  Drain(0);
  const std::uint64_t last = gate_.fetch_or(kClosed, std::memory_order_acq_rel);
  const auto entered = static_cast<int>(last & kCountMask);
  for (int spins = 0; left_.load(std::memory_order_acquire) != entered; ++spins) {
    if (spins < kSpins) {
      Pause();
    } else {
      std::this_thread::yield();
    }
  }
}

bool WorkerTeam::Enter(std::uint64_t epoch, int* slot) {
  std::uint64_t gate = gate_.load(std::memory_order_acquire);
  while (EpochOf(gate) == epoch && (gate & kClosed) == 0 && (gate & kCountMask) < (gate >> 16 & (kCountMask >> 1))) {
    if (gate_.compare_exchange_weak(gate, gate + 1, std::memory_order_acq_rel)) {
      *slot = static_cast<int>(gate & kCountMask) + 1;
      return true;
    }
  }
  return false;
}

void WorkerTeam::WorkerMain() {
  UseDefaultFloatEnvironment();
  Place place;
  std::uint64_t seen = 0;
  for (;;) {
    std::uint64_t epoch = seen;
    for (int spins = 0; spins < kSpins && epoch == seen; ++spins) {
      Pause();
      epoch = EpochOf(gate_.load(std::memory_order_acquire));
    }
    if (epoch == seen) {
      std::unique_lock<std::mutex> lock(sleep_mutex_);
      sleepers_.fetch_add(1, std::memory_order_seq_cst);
      wake_.wait(lock, [&] {
        epoch = EpochOf(gate_.load(std::memory_order_seq_cst));
        return epoch != seen;
      });
      sleepers_.fetch_sub(1, std::memory_order_relaxed);
    }
    seen = epoch;
    int slot = 0;
    if (!Enter(epoch, &slot)) continue;
    Follow(&place);
    Drain(slot);
    left_.fetch_add(1, std::memory_order_release);
  }
}

}  // namespace skywork_rt
