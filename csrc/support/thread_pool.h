#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <type_traits>

#include "support/core_set.h"
#include "support/float_environment.h"

namespace skywork_rt {

/// The one pool of worker threads of this process, shared by every model in it.
///
/// One lease holds it at a time, first come first served, so two models take turns step by step and never run more
/// threads than one of them asked for. Workers spin for a moment between parallel regions, then sleep. The pool is
/// never destroyed: a worker may be inside its wait while the process exits. A child after fork() gets a new pool.
class ThreadPool {
 public:
  static ThreadPool& Global();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  /// Exclusive use of the pool with `threads` threads in all, the caller among them.
  ///
  /// With `cores`, all of them compute on these only: the caller until the lease ends, a worker until it computes for a
  /// lease that says otherwise. Throws Error(kCapacity) when the system refuses a thread or the cores.
  class Lease {
   public:
    explicit Lease(int threads, const CoreSet& cores = {});
    ~Lease();
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;

    int threads() const { return threads_; }

    /// Calls f(task, slot) once for each task in [0, tasks) and returns when all are done. `slot` is in
    /// [0, threads()) and no two calls that run at the same time share one. f must not throw and must not call Run.
    ///
    /// Each slot takes the tasks of its share in order, then helps the others with theirs.
    template <typename F>
    void Run(int tasks, F&& f) {
      Run(tasks, f, [](int) {});
    }

    /// The same; a thread that finds no task left calls after(slot) once, while others may still be at theirs.
    template <typename F, typename After>
    void Run(int tasks, F&& f, After&& after) {
      if (threads_ == 1 || tasks <= 1) {
        for (int task = 0; task < tasks; ++task) f(task, 0);
        after(0);
        return;
      }
      struct Job {
        std::remove_reference_t<F>* f;
        std::remove_reference_t<After>* after;
      } job{&f, &after};
      pool_.RunJob(tasks, threads_,
                   {[](void* context, int task, int slot) noexcept { (*static_cast<Job*>(context)->f)(task, slot); },
                    [](void* context, int slot) noexcept { (*static_cast<Job*>(context)->after)(slot); }, &job});
    }

    /// The first task of the share of `slot` when Run is given `tasks` of them; `tasks` when it has none.
    int FirstTask(int tasks, int slot) const { return ShareBegin(tasks, threads_ < tasks ? threads_ : tasks, slot); }

   private:
    ThreadPool& pool_;
    const int threads_;
    std::optional<CoreScope> callers_place_;
    const FloatEnvironmentKept callers_floats_;  // all threads compute in the default one
  };

 private:
  static constexpr int kMostThreads = 1024;

  /// Where a worker computes, and may go back to.
  struct Place {
    bool confined = false;
    CoreSet at;
    CoreSet own;
  };

  struct Functions {
    void (*run)(void* context, int task, int slot) noexcept = nullptr;
    void (*after)(void* context, int slot) noexcept = nullptr;
    void* context = nullptr;
  };
  /// The tasks of one slot: those from `next` to `end` nobody has taken yet.
  struct alignas(64) Share {
    std::atomic<int> next{0};
    int end = 0;
  };

  static int ShareBegin(int tasks, int slots, int slot) {
    return slot >= slots ? tasks : static_cast<int>(static_cast<std::int64_t>(tasks) * slot / slots);
  }

  ThreadPool() = default;
  ~ThreadPool() = default;

  void Acquire(int threads);
  void Release();
  void RunJob(int tasks, int threads, const Functions& functions);
  void WorkerMain();
  bool Enter(std::uint64_t epoch, int* slot);
  void Drain(int slot);
  void Follow(Place* place) const noexcept;

  // The lease: a ticket lock whose waiters sleep.
  std::mutex lease_mutex_;
  std::condition_variable lease_turn_;
  std::uint64_t next_ticket_ = 0;
  std::uint64_t serving_ = 0;
  int workers_ = 0;  // started so far; guarded by the lease

  CoreSet cores_;  // of the lease, empty for anywhere; workers read it inside a job

  // The job: written by the lease's holder, published by gate_.
  Functions functions_;
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
