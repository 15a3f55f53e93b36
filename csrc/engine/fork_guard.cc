#include "engine/fork_guard.h"

#include <pthread.h>

#include <atomic>

#include "skywork_rt/error.h"

namespace skywork_rt {
namespace {

// How many forks lie between this process and the first one that loaded the library. Counting in the child's handler
// costs nothing where getpid() would be a system call.
std::atomic<std::uint64_t> g_generation{0};

extern "C" void SkyworkRtCountFork() {
  g_generation.fetch_add(1, std::memory_order_relaxed);
}

void WatchForks() {
  static const int status = pthread_atfork(nullptr, nullptr, &SkyworkRtCountFork);
  if (status != 0) throw Error(ErrorCode::kInternal, "pthread_atfork failed: out of memory");
}

}  // namespace

ForkGuard::ForkGuard() : generation_((WatchForks(), g_generation.load(std::memory_order_relaxed))) {}

bool ForkGuard::forked() const noexcept {
  return g_generation.load(std::memory_order_relaxed) != generation_;
}

void ForkGuard::Check() const {
  if (forked()) {
    throw Error(
        ErrorCode::kClosed,
        "this generator was opened before fork() and does not exist in the child process: open one in the child, "
        "or start the child by spawn instead of fork");
  }
}

}  // namespace skywork_rt
