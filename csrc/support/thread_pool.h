#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <type_traits>
#include <vector>

#include "support/core_set.h"
#include "support/float_environment.h"
#include "support/worker_team.h"

namespace skywork_rt {

/// The one pool of worker threads of this process, shared by every model in it.
///
/// Leases on overlapping cores take turns, first come first served, so two models take turns step by step and never run
/// more threads than one of them asked for. Leases on disjoint cores run side by side, each with a team of its own; one
/// without cores may run anywhere, and so overlaps with all. The pool is never destroyed, as its teams are not. A child
/// after fork() gets a new pool.
class ThreadPool {
 private:
  /// A lease that computes or waits, in the order in which they came.
  struct Claim {
    CoreSet cores;
    WorkerTeam* team = nullptr;  // while it computes
    Claim* next = nullptr;
  };

 public:
  static ThreadPool& Global();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  /// Use of the pool with `threads` threads in all, the caller among them; exclusive on its cores.
  ///
  /// With `cores`, all of them compute on these only: the caller until the lease ends, a worker until it computes for a
  /// lease that says otherwise. Throws Error(kCapacity) when the system refuses a thread or the cores.
  class Lease {
   public:
    explicit Lease(int threads, const CoreSet& cores = {});
    /// For little work: where the other would wait or throw, this one has the caller as its only thread, and no part of
    /// the pool.
    struct IfFree {};
    Lease(IfFree how, int threads, const CoreSet& cores = {});
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
      struct Context {
        std::remove_reference_t<F>* f;
        std::remove_reference_t<After>* after;
      } context{&f, &after};
      claim_.team->Run(tasks, threads_,
                       {[](void* to, int task, int slot) noexcept { (*static_cast<Context*>(to)->f)(task, slot); },
                        [](void* to, int slot) noexcept { (*static_cast<Context*>(to)->after)(slot); }, &context});
    }

    /// The first task of the share of `slot` when Run is given `tasks` of them; `tasks` when it has none.
    int FirstTask(int tasks, int slot) const {
      return WorkerTeam::ShareBegin(tasks, threads_ < tasks ? threads_ : tasks, slot);
    }

   private:
    void Settle();

    ThreadPool& pool_;
    int threads_;
    Claim claim_;
    std::optional<CoreScope> callers_place_;
    const FloatEnvironmentKept callers_floats_;  // all threads compute in the default one
  };

 private:
  struct TeamAndUser {
    std::unique_ptr<WorkerTeam> team;
    const Claim* user;  // nullptr: free
  };

  ThreadPool() = default;
  ~ThreadPool() = default;

  void Acquire(Claim* claim, int threads);
  bool TryAcquire(Claim* claim, int threads);
  void GiveTeam(Claim* claim, int threads);
  TeamAndUser& TeamFor(const CoreSet& cores);
  void Release(Claim* claim);
  bool MayStart(const Claim& claim) const;
  void Enlist(Claim* claim);
  void Withdraw(Claim* claim);

  std::mutex mutex_;
  std::condition_variable turn_;
  // Guarded by mutex_.
  Claim* first_ = nullptr;  // of all claims, the oldest first; each lives in its lease
  std::vector<TeamAndUser> teams_;
};

}  // namespace skywork_rt
