#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>

#include "support/core_set.h"

namespace skywork_rt {

/// Worker threads that compute one job at a time, together with the thread that gives it. Workers spin for a moment
/// between jobs, then sleep. A team is never destroyed: a worker may be inside its wait while the process exits.
class WorkerTeam {
 public:
  static constexpr int kMostThreads = 1024;

  /// `run(context, task, slot)` for each task, `after(context, slot)` once a thread that took part.
  struct Job {
    void (*run)(void* context, int task, int slot) noexcept = nullptr;
    void (*after)(void* context, int slot) noexcept = nullptr;
    void* context = nullptr;
  };

  WorkerTeam() = default;
  WorkerTeam(const WorkerTeam&) = delete;
  WorkerTeam& operator=(const WorkerTeam&) = delete;

  // All that follows is for one thread at a time.

  /// Sees to it that `threads` threads can compute, the caller among them. Throws Error(kCapacity) when the system
  /// refuses one.
  void Hire(int threads);
  /// Where workers compute from the next job on; empty: anywhere.
  void MoveTo(const CoreSet& cores) { cores_ = cores; }
  const CoreSet& cores() const { return cores_; }
  /// Returns when all tasks in [0, tasks) are done, by at most `threads` threads.
  void Run(int tasks, int threads, const Job& job);

  /// The first task of the share of `slot`, of `slots`.
  static int ShareBegin(int tasks, int slots, int slot) {
    return slot >= slots ? tasks : static_cast<int>(static_cast<std::int64_t>(tasks) * slot / slots);
  }

 private:
  /// Where a worker computes, and may go back to.
  struct Place {
    bool confined = false;
    CoreSet at;
    CoreSet own;
  };
  /// The tasks of one slot: those from `next` to `end` nobody has taken yet.
  struct alignas(64) Share {
    std::atomic<int> next{0};
    int end = 0;
  };

  void WorkerMain();
  bool Enter(std::uint64_t epoch, int* slot);
  void Drain(int slot);
  void Follow(Place* place) const noexcept;

  int workers_ = 0;  // started so far
  CoreSet cores_;    // workers read it inside a job

  // The job: written by who gives it, published by gate_.
  Job job_;
  int slots_ = 0;
  std::array<Share, kMostThreads> shares_;
  // epoch << 32 | closed << 31 | most who may enter << 16 | entered. A worker enters by counting itself in, so one
  // that the system has not scheduled is not waited for.
  std::atomic<std::uint64_t> gate_{std::uint64_t{1} << 31};
  std::atomic<int> left_{0};

  std::mutex sleep_mutex_;
  std::condition_variable wake_;
  std::atomic<int> sleepers_{0};
};

}  // namespace skywork_rt
