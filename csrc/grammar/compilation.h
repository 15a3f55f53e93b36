#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "grammar/lookahead.h"
#include "grammar/workshop.h"
#include "skywork_rt/error.h"

namespace skywork_rt::grammar {

/// Something that a thread of the workshop makes, and that a row of the engine waits for. The engine never waits: it
/// asks, and is woken.
class Pending {
 public:
  /// Whether it is there or has failed; if not, `wake` is called when it is. What has taken too long has failed. Who
  /// asks later replaces who asked before: all rows of a model are one engine's. nullptr: nobody is to be woken.
  bool Ready(std::function<void()> wake);
  /// Throws what it failed with.
  void Check() const;
  /// nullopt: it is there, or on its way.
  std::optional<ErrorCode> failure() const;
  /// Whether it is on its way.
  bool pending() const;

 protected:
  using Clock = WorkPool::Clock;

  /// `what` is made, in messages, on threads of `pool`, which is one of `workshop`; that outlives it.
  Pending(const char* what, Workshop* workshop, WorkPool* pool) : what_(what), owner_(workshop), pool_(pool) {}
  ~Pending() = default;

  void Order(WorkPool::Job job);          // it is asked for: `job` calls Begin and End, or is no longer wanted
  void Begin();                           // a thread is at it
  void End(std::optional<Error> failed);  // it is there, even if it was given up; wakes who waits

 private:
  const char* const what_;
  Workshop* const owner_;
  WorkPool* const pool_;
  mutable std::mutex mutex_;
  bool pending_ = false;
  std::optional<Clock::time_point> since_;
  std::optional<Error> failed_;
  std::function<void()> wake_;
};

/// A grammar that is being compiled, or has been: rows with this grammar begin with a clone of its matcher.
class Compilation : public Pending, public std::enable_shared_from_this<Compilation> {
 public:
  Compilation(std::shared_ptr<Workshop> workshop, std::string type, std::string text);

  /// Once. Posts the work.
  void Start();

  // When it is Ready and Check has not thrown.

  /// What may come first.
  const RawMask& first() const { return first_; }
  std::unique_ptr<Matcher> NewMatcher() const;
  /// Of all outputs of the grammar.
  Habits& habits() { return habits_; }

  const std::shared_ptr<Workshop>& workshop() const { return workshop_; }

 private:
  void Run();

  const std::shared_ptr<Workshop> workshop_;
  const std::string type_;
  const std::string text_;
  mutable std::mutex matcher_mutex_;
  std::unique_ptr<Matcher> matcher_;
  RawMask first_;
  Habits habits_;
};

}  // namespace skywork_rt::grammar
