#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>

namespace skywork_rt::grammar {

/// A few threads for what a grammar's library computes, beside the engine's own. They have large stacks, because the
/// library recurses along a grammar's rules; memory is taken as the stack is used.
///
/// A job that does not come back is given up: it keeps its thread, which cannot be ended, and another thread takes that
/// one's place, a few times.
class WorkPool {
 public:
  using Clock = std::chrono::steady_clock;
  using Job = std::function<void()>;

  /// Threads start with the first jobs.
  WorkPool(std::size_t threads, Clock::duration longest_job);
  /// Drops the jobs that have not begun, and waits for those that have; not for those that were given up. May be
  /// called by a job.
  ~WorkPool();
  WorkPool(const WorkPool&) = delete;
  WorkPool& operator=(const WorkPool&) = delete;

  /// Runs `job`, which must not throw, after those that came before. Throws kCapacity when the system refuses the
  /// first thread, kBusy when too many jobs have been given up.
  void Post(Job job);
  /// Gives up what has run longer than the longest job may. False when too many have been given up, so that nothing
  /// that waits will ever run.
  bool ReplaceStuck();

  /// What those are told.
  static constexpr const char* kAllStuck =
      "too many grammars did not end compiling, and hold all threads for grammars: open the model again";

 private:
  struct State;
  struct Worker;

  static void* Main(void* argument);
  void Start();

  const Clock::duration longest_job_;
  const std::size_t threads_;
  std::shared_ptr<State> state_;
};

}  // namespace skywork_rt::grammar
