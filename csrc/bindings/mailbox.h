#pragma once

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "skywork_rt/generator.h"

namespace skywork_rt::bindings {

/// A file descriptor that an event loop watches and the engine's thread makes readable.
class Wakeup {
 public:
  Wakeup();
  ~Wakeup();
  Wakeup(const Wakeup&) = delete;
  Wakeup& operator=(const Wakeup&) = delete;

  int Descriptor() const { return descriptor_; }
  void Signal() const;
  /// Makes it unreadable until the next signal.
  void Clear() const;

 private:
  int descriptor_;
};

/// Takes the updates of one request from the engine's thread to an event loop, so that the engine never waits for
/// Python: it appends and signals, the loop drains when it wakes up.
class Mailbox {
 public:
  explicit Mailbox(std::shared_ptr<const Wakeup> wakeup) : wakeup_(std::move(wakeup)) {}

  /// Engine's side. False when the mailbox is closed: the request shall be cancelled.
  bool Push(const Update& update);
  /// Everything that came since the last call, oldest first.
  std::vector<Update> Drain();
  /// Drops what is in it and what is still to come.
  void Close();

 private:
  std::shared_ptr<const Wakeup> wakeup_;
  std::mutex mutex_;
  std::vector<Update> updates_;
  bool closed_ = false;
};

}  // namespace skywork_rt::bindings
