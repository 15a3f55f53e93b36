#pragma once

#include <pthread.h>
#include <signal.h>

namespace skywork_rt {

/// Blocks signals while it lives, so that a thread started meanwhile leaves them to the application's threads (Python
/// handles Ctrl-C on its main thread). Those that a faulty instruction raises stay.
class SignalBlock {
 public:
  SignalBlock() {
    sigset_t all;
    sigfillset(&all);
    for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT}) sigdelset(&all, fault);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalBlock() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalBlock(const SignalBlock&) = delete;
  SignalBlock& operator=(const SignalBlock&) = delete;

 private:
  sigset_t before_;
};

}  // namespace skywork_rt
