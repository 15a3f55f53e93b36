#include "grammar/work_pool.h"

#include <pthread.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <utility>
#include <vector>

#include "skywork_rt/error.h"
#include "support/format.h"
#include "support/signal_block.h"

namespace skywork_rt::grammar {
namespace {

constexpr std::size_t kMostGivenUp = 4;
// Rules, references and the like of a grammar of the size that is accepted, one frame or two of the library each.
constexpr std::size_t kStackBytes = sizeof(void*) == 8 ? std::size_t{512} << 20 : std::size_t{32} << 20;

}  // namespace

struct WorkPool::Worker {
  std::shared_ptr<State> state;
  pthread_t thread{};
  bool busy = false;
  bool given_up = false;
  Clock::time_point since;
};

struct WorkPool::State {
  std::mutex mutex;
  std::condition_variable wakes;
  std::deque<Job> jobs;
  std::vector<std::shared_ptr<Worker>> workers;  // without those that were given up
  std::size_t idle = 0;
  std::size_t given_up = 0;
  bool closes = false;
};

WorkPool::WorkPool(std::size_t threads, Clock::duration longest_job)
    : longest_job_(longest_job), threads_(threads), state_(std::make_shared<State>()) {}

WorkPool::~WorkPool() {
  std::vector<std::shared_ptr<Worker>> workers;
  std::deque<Job> dropped;
  {
    const std::lock_guard<std::mutex> lock(state_->mutex);
    state_->closes = true;
    workers.swap(state_->workers);
    dropped.swap(state_->jobs);
  }
  state_->wakes.notify_all();
  dropped.clear();  // outside the lock: what jobs hold may hold more
  for (const auto& worker : workers) {
    if (pthread_equal(worker->thread, pthread_self()) != 0) {
      pthread_detach(worker->thread);
    } else {
      pthread_join(worker->thread, nullptr);
    }
    worker->state.reset();
  }
}

void WorkPool::Post(Job job) {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  const bool may_start = state_->given_up < kMostGivenUp;
  if (state_->workers.empty() && !may_start) throw Error(ErrorCode::kBusy, kAllStuck);
  if (may_start && state_->jobs.size() >= state_->idle && state_->workers.size() < threads_) Start();
  state_->jobs.push_back(std::move(job));
  state_->wakes.notify_one();
}

// The lock is held.
void WorkPool::Start() {
  auto worker = std::make_shared<Worker>();
  worker->state = state_;
  auto argument = std::make_unique<std::shared_ptr<Worker>>(worker);
  state_->workers.push_back(worker);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, kStackBytes);
  int failed = 0;
  {
    const SignalBlock block;
    failed = pthread_create(&worker->thread, &attributes, &WorkPool::Main, argument.get());
  }
  pthread_attr_destroy(&attributes);
  if (failed == 0) {
    (void)argument.release();  // the thread's now
    return;
  }
  state_->workers.pop_back();
  if (state_->workers.empty()) {
    throw Error(ErrorCode::kCapacity, StrCat("the system refuses a thread for grammars (error ", failed, ")"));
  }
}

void* WorkPool::Main(void* argument) {
  std::shared_ptr<Worker> worker;
  {
    const std::unique_ptr<std::shared_ptr<Worker>> given(static_cast<std::shared_ptr<Worker>*>(argument));
    worker = *given;
  }
  pthread_setname_np(pthread_self(), "skywork_rt gram");
  const std::shared_ptr<State> state = worker->state;
  std::unique_lock<std::mutex> lock(state->mutex);
  while (!worker->given_up) {
    ++state->idle;
    state->wakes.wait(lock, [&] { return state->closes || !state->jobs.empty(); });
    --state->idle;
    if (state->closes) break;
    Job job = std::move(state->jobs.front());
    state->jobs.pop_front();
    worker->busy = true;
    worker->since = Clock::now();
    lock.unlock();
    job();
    job = nullptr;  // what it holds goes outside the lock, too
    lock.lock();
    worker->busy = false;
  }
  if (worker->given_up) --state->given_up;
  return nullptr;
}

bool WorkPool::ReplaceStuck() {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  const Clock::time_point now = Clock::now();
  std::vector<std::shared_ptr<Worker>>& workers = state_->workers;
  for (std::size_t i = 0; i < workers.size();) {
    Worker* worker = workers[i].get();
    if (!worker->busy || now - worker->since < longest_job_) {
      ++i;
      continue;
    }
    worker->given_up = true;
    ++state_->given_up;
    pthread_detach(worker->thread);
    workers.erase(workers.begin() + static_cast<std::ptrdiff_t>(i));
  }
  if (state_->given_up >= kMostGivenUp) return !workers.empty();
  while (workers.size() < std::min(threads_, state_->jobs.size())) Start();
  return true;
}

}  // namespace skywork_rt::grammar
