#pragma once

#include <atomic>
#include <shared_mutex>

namespace skywork_rt::lite_runtime {

/// Keeps threads out of MindSpore Lite once the process exits: exit() destroys Lite's own static objects, and whoever
/// computes then, or destroys a model, crashes. Never destroyed.
class ExitGate {
 public:
  /// Lets its thread use Lite while it lives.
  class Pass {
   public:
    /// Throws kClosed once the process exits.
    explicit Pass(ExitGate* gate);
    ~Pass();
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;

   private:
    ExitGate* gate_;
  };

  /// From now on no Pass is given; returns once the last one is given back. A thread that exits from within a pass of
  /// its own (a log callback may) waits for nobody.
  void Close();

  bool closed() const { return closed_; }

 private:
  std::atomic<bool> closed_{false};
  std::shared_mutex mutex_;  // shared by the passes
};

/// The gate of this process.
ExitGate& TheExitGate();

}  // namespace skywork_rt::lite_runtime
