#include "backend/lite_runtime/exit_gate.h"

#include <mutex>

#include "skywork_rt/error.h"

namespace skywork_rt::lite_runtime {
namespace {

thread_local int passes_of_this_thread = 0;

}  // namespace

ExitGate::Pass::Pass(ExitGate* gate) : gate_(gate) {
  const auto refuse_when_closed = [gate] {
    if (gate->closed_) throw Error(ErrorCode::kClosed, "the process exits: MindSpore Lite computes nothing any more");
  };
  refuse_when_closed();  // before the lock: those who come must not keep Close() waiting for ever
  std::shared_lock<std::shared_mutex> lock(gate->mutex_);
  refuse_when_closed();
  lock.release();
  ++passes_of_this_thread;
}

ExitGate::Pass::~Pass() {
  --passes_of_this_thread;
  gate_->mutex_.unlock_shared();
}

void ExitGate::Close() {
  closed_ = true;
  if (passes_of_this_thread == 0) const std::unique_lock<std::shared_mutex> wait_for_the_last(mutex_);
}

ExitGate& TheExitGate() {
  static auto* gate = new ExitGate;  // NOLINT(cppcoreguidelines-owning-memory): threads use it while statics go
  return *gate;
}

}  // namespace skywork_rt::lite_runtime
