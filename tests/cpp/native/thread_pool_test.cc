#include "support/thread_pool.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>
#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#include <atomic>
#include <chrono>
#include <limits>
#include <numeric>
#include <optional>
#include <set>
#include <thread>
#include <utility>
#include <vector>

namespace skywork_rt {
namespace {

TEST(ThreadPool, RunsEveryTaskOnceAndNoSlotTwiceAtOnce) {
  for (const int threads : {1, 2, 5}) {
    ThreadPool::Lease lease(threads);
    std::vector<std::atomic<int>> busy(static_cast<std::size_t>(threads));
    for (int round = 0; round < 300; ++round) {
      std::vector<int> runs(37, 0);
      std::atomic<bool> clash{false};
      lease.Run(37, [&](int task, int slot) {
        if (busy[static_cast<std::size_t>(slot)].fetch_add(1) != 0) clash = true;
        ++runs[static_cast<std::size_t>(task)];
        busy[static_cast<std::size_t>(slot)].fetch_sub(1);
      });
      ASSERT_EQ(runs, std::vector<int>(37, 1));
      ASSERT_FALSE(clash);
    }
  }
}

TEST(ThreadPool, WritesOfOneRegionAreSeenByTheNext) {
  ThreadPool::Lease lease(4);
  std::vector<long> values(64, 0);
  for (int round = 0; round < 500; ++round) {
    lease.Run(64, [&](int task, int) {
      // Another thread's write of the round before.
      values[static_cast<std::size_t>(task)] += 1;
    });
    const long sum = std::accumulate(values.begin(), values.end(), 0L);
    ASSERT_EQ(sum, 64L * (round + 1));
  }
}

TEST(ThreadPool, SharesCoverTheTasksInOrder) {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadPool::Lease lease(threads);
    for (const int tasks : {1, 2, 3, 7, 8, 64}) {
      EXPECT_EQ(lease.FirstTask(tasks, 0), 0);
      for (int slot = 0; slot < threads; ++slot) {
        EXPECT_LE(lease.FirstTask(tasks, slot), lease.FirstTask(tasks, slot + 1)) << tasks << " tasks, slot " << slot;
      }
      EXPECT_EQ(lease.FirstTask(tasks, threads), tasks);
    }
  }
}

TEST(ThreadPool, AThreadIsHelpedWithItsShareAndAfterRunsOnceAThreadThatWorked) {
  ThreadPool::Lease lease(2);
  const int second = lease.FirstTask(8, 1);  // the first of the other share
  ASSERT_EQ(second, 4);
  // Task 0 ends when all the others have: only a second thread that goes on to the first one's share can do them.
  std::vector<int> slots(8, -1);
  std::vector<std::atomic<int>> afters(2);
  std::atomic<int> others{0};
  lease.Run(
      8,
      [&](int task, int slot) {
        slots[static_cast<std::size_t>(task)] = slot;
        if (task != 0) {
          others.fetch_add(1);
          return;
        }
        while (others.load() < 7) std::this_thread::yield();
      },
      [&](int slot) { afters[static_cast<std::size_t>(slot)].fetch_add(1); });
  for (int task = 1; task < second; ++task) EXPECT_EQ(slots[static_cast<std::size_t>(task)], 1 - slots[0]) << task;
  EXPECT_EQ(afters[0].load(), 1);
  EXPECT_EQ(afters[1].load(), 1);
}

TEST(ThreadPool, LeasesTakeTurnsSoThatModelsDoNotOversubscribe) {
  std::atomic<int> running{0};
  std::atomic<int> most{0};
  const auto user = [&] {
    for (int step = 0; step < 50; ++step) {
      ThreadPool::Lease lease(2);
      for (int region = 0; region < 5; ++region) {
        lease.Run(8, [&](int, int) {
          const int now = running.fetch_add(1) + 1;
          int seen = most.load();
          while (now > seen && !most.compare_exchange_weak(seen, now)) {
          }
          running.fetch_sub(1);
        });
      }
    }
  };
  std::vector<std::thread> users;
  for (int i = 0; i < 4; ++i) users.emplace_back(user);
  for (std::thread& thread : users) thread.join();
  EXPECT_LE(most.load(), 2);
}

/// Cores that this thread may run on, each a set of its own.
std::vector<CoreSet> SingleCores() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  EXPECT_EQ(sched_getaffinity(0, sizeof(allowed), &allowed), 0);
  std::vector<CoreSet> ones;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &allowed)) ones.emplace_back(std::vector<int>{core});
  }
  return ones;
}

/// Leases of two threads on each of `sets`, held by a thread each. Returns how many were held at one time at most, when
/// each waits a while for the others.
int MostAtOnce(const std::vector<CoreSet>& sets) {
  std::atomic<int> held{0};
  std::atomic<int> most{0};
  const auto hold = [&](const CoreSet& cores) {
    ThreadPool::Lease lease(2, cores);
    const int now = held.fetch_add(1) + 1;
    int seen = most.load();
    while (now > seen && !most.compare_exchange_weak(seen, now)) {
    }
    std::atomic<int> done{0};
    lease.Run(16, [&](int, int) { done.fetch_add(1); });
    EXPECT_EQ(done.load(), 16);
    // Whoever is let in together waits for the others; whoever is not would wait in vain.
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(most.load() > 1 ? 0 : 300);
    while (most.load() < static_cast<int>(sets.size()) && std::chrono::steady_clock::now() < end) {
      std::this_thread::yield();
    }
    held.fetch_sub(1);
  };
  std::vector<std::thread> holders;
  for (const CoreSet& cores : sets) holders.emplace_back(hold, cores);
  for (std::thread& holder : holders) holder.join();
  return most.load();
}

TEST(ThreadPool, LeasesOnDisjointCoresRunSideBySide) {
  const std::vector<CoreSet> cores = SingleCores();
  if (cores.size() < 2) GTEST_SKIP() << "needs two cores";
  for (int round = 0; round < 3; ++round) {
    // One holds its cores until the other has come and gone: waiting for each other would never end.
    std::optional<ThreadPool::Lease> first(std::in_place, 2, cores[0]);
    std::atomic<int> done{0};
    std::thread other([&] {
      ThreadPool::Lease second(2, cores[1]);
      for (int region = 0; region < 50; ++region) second.Run(8, [&](int, int) { done.fetch_add(1); });
    });
    int mine = 0;
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (done.load() < 400 && std::chrono::steady_clock::now() < end) {
      std::atomic<int> here{0};
      first->Run(8, [&](int, int) { here.fetch_add(1); });
      ASSERT_EQ(here.load(), 8);
      mine += here.load();
    }
    EXPECT_EQ(done.load(), 400) << "the second lease waited for the first, which did " << mine << " tasks";
    first.reset();
    other.join();
  }
}

TEST(ThreadPool, LeasesOnOverlappingCoresTakeTurns) {
  const std::vector<CoreSet> cores = SingleCores();
  if (cores.size() < 2) GTEST_SKIP() << "needs two cores";
  EXPECT_EQ(MostAtOnce({cores[0], cores[0]}), 1);
  EXPECT_EQ(MostAtOnce({CoreSet(), cores[1]}), 1) << "without cores a lease may run anywhere";
  EXPECT_EQ(MostAtOnce({CoreSet::OfThisThread(), cores[1]}), 1);
}

TEST(ThreadPool, ALeaseThatMayNotWaitHasTheCallerAlone) {
  const std::vector<CoreSet> cores = SingleCores();
  const auto threads_and_tasks = [](const CoreSet& on) {
    std::pair<int, int> got;
    std::thread([&] {
      ThreadPool::Lease lease(ThreadPool::Lease::IfFree{}, 2, on);
      lease.Run(8, [&](int, int slot) { got.second += slot == 0 ? 1 : 0; });
      got.first = lease.threads();
    }).join();
    return got;
  };
  {
    const ThreadPool::Lease busy(2, cores[0]);
    EXPECT_EQ(threads_and_tasks({}), std::make_pair(1, 8));
    EXPECT_EQ(threads_and_tasks(cores[0]), std::make_pair(1, 8));
    if (cores.size() > 1) {
      EXPECT_EQ(threads_and_tasks(cores[1]).first, 2);
    }
  }
  EXPECT_EQ(threads_and_tasks({}).first, 2);
}

TEST(ThreadPool, WorksAgainAfterItsWorkersHaveGoneToSleep) {
  for (int round = 0; round < 3; ++round) {
    ThreadPool::Lease lease(3);
    std::atomic<int> done{0};
    lease.Run(10, [&](int, int) { done.fetch_add(1); });
    EXPECT_EQ(done.load(), 10);
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
  }
}

/// Where the threads of a lease compute; the barrier makes all of them take part.
std::vector<CoreSet> PlacesOf(ThreadPool::Lease& lease) {
  std::vector<CoreSet> places(static_cast<std::size_t>(lease.threads()));
  std::atomic<int> arrived{0};
  lease.Run(lease.threads(), [&](int task, int) {
    places[static_cast<std::size_t>(task)] = CoreSet::OfThisThread();
    ++arrived;
    while (arrived.load() < lease.threads()) std::this_thread::yield();
  });
  return places;
}

TEST(ThreadPool, AllThreadsOfALeaseComputeOnItsCoresAndOnlyWhileItIsHeld) {
  const CoreSet anywhere = CoreSet::OfThisThread();
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  ASSERT_EQ(sched_getaffinity(0, sizeof(allowed), &allowed), 0);
  if (CPU_COUNT(&allowed) < 2) GTEST_SKIP() << "needs two cores";
  std::vector<CoreSet> ones;
  for (int core = 0; ones.size() < 2; ++core) {
    if (CPU_ISSET(core, &allowed)) ones.emplace_back(std::vector<int>{core});
  }
  for (int round = 0; round < 20; ++round) {
    for (const CoreSet& cores : {ones[0], anywhere, ones[1], CoreSet(), ones[0]}) {
      ThreadPool::Lease lease(3, cores);
      for (const CoreSet& place : PlacesOf(lease)) ASSERT_EQ(place, cores.empty() ? anywhere : cores);
    }
    ASSERT_EQ(CoreSet::OfThisThread(), anywhere);
    ThreadPool::Lease lease(4);  // one worker more, which must not inherit what others were confined to
    for (const CoreSet& place : PlacesOf(lease)) ASSERT_EQ(place, anywhere);
  }
}

#if !defined(__SANITIZE_THREAD__)  // tsan does not follow threads started after fork
#if defined(__SSE__)
/// Whether the calling thread keeps numbers that are too small for full precision.
bool KeepsTheSmallest() {
  volatile float smallest = std::numeric_limits<float>::min();
  return smallest * 0.5f > 0.0f;
}

TEST(ThreadPool, ComputesByIeeeRulesWhateverTheApplicationHasSet) {
  const unsigned before = _mm_getcsr();
  _mm_setcsr(before | 0x8040);  // flush to zero, and take the smallest for zero
  ASSERT_FALSE(KeepsTheSmallest());
  std::vector<int> kept(64, 0);
  {
    ThreadPool::Lease lease(7);  // more than other tests, so that new workers inherit what is set
    lease.Run(64, [&](int task, int) { kept[static_cast<std::size_t>(task)] = KeepsTheSmallest() ? 1 : 0; });
  }
  EXPECT_EQ(kept, std::vector<int>(64, 1));
  EXPECT_FALSE(KeepsTheSmallest()) << "the application's own setting must come back";
  _mm_setcsr(before);
}
#endif

TEST(ThreadPool, AForkedChildGetsAPoolOfItsOwn) {
  {
    ThreadPool::Lease(3).Run(8, [](int, int) {});
  }
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    alarm(20);  // a hang becomes a failure
    std::atomic<int> done{0};
    ThreadPool::Lease(3).Run(100, [&](int, int) { done.fetch_add(1); });
    _exit(done.load() == 100 ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}
#endif

}  // namespace
}  // namespace skywork_rt
