#include "bench/memory_stream.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <limits>
#include <system_error>
#include <thread>
#include <vector>

#include "skywork_rt/error.h"
#include "support/format.h"
#include "support/worker_team.h"

namespace skywork_rt {
namespace {

using Clock = std::chrono::steady_clock;

/// Anonymous memory in huge pages where the system gives them.
class Mapping {
 public:
  explicit Mapping(std::size_t bytes) : bytes_(bytes) {
    memory_ = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory_ == MAP_FAILED) throw Error(ErrorCode::kCapacity, StrCat("cannot map ", bytes, " bytes to stream from"));
    madvise(memory_, bytes, MADV_HUGEPAGE);
  }
  ~Mapping() { munmap(memory_, bytes_); }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  std::uint64_t* words() const { return static_cast<std::uint64_t*>(memory_); }
  std::size_t size() const { return bytes_ / sizeof(std::uint64_t); }

 private:
  void* memory_ = nullptr;
  std::size_t bytes_;
};

constexpr std::size_t kLanes = 32;  // independent sums, so that no addition waits for the one before

std::uint64_t Sum(const std::uint64_t* words, std::size_t count) {
  std::array<std::uint64_t, kLanes> sums{};
  for (std::size_t i = 0; i + kLanes <= count; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) sums[lane] += words[i + lane];
  }
  std::uint64_t total = 0;
  for (const std::uint64_t sum : sums) total += sum;
  return total;
}

/// Threads that wait for each other before each pass, so that all read at the same time. A pass lasts from the moment
/// at which the last of them is ready to the moment at which the last of them is done: a thread that the system lets
/// wait makes a pass long, never short.
class Readers {
 public:
  Readers(const Mapping& mapping, int threads, int passes)
      : threads_(threads), passes_(static_cast<std::size_t>(passes)) {
    const std::size_t share = mapping.size() / static_cast<std::size_t>(threads);
    readers_.reserve(static_cast<std::size_t>(threads));
    try {
      for (int i = 0; i < threads; ++i) {
        std::uint64_t* words = mapping.words() + static_cast<std::size_t>(i) * share;
        readers_.emplace_back([this, words, share] { Read(words, share); });
      }
    } catch (const std::system_error& error) {
      const std::size_t started = readers_.size();
      refused_ = true;
      Join();
      throw Error(ErrorCode::kCapacity, StrCat("the system refused thread ", started + 1, " of the ", threads,
                                               " asked for (", error.what(), "); ask for fewer threads"));
    }
  }

  /// Seconds of the quickest pass.
  double Best() {
    Join();
    double best = std::numeric_limits<double>::infinity();
    for (const Pass& pass : passes_)
      best = std::min(best, std::chrono::duration<double>(pass.end - pass.begin).count());
    return best;
  }

 private:
  void Join() {
    for (std::thread& reader : readers_) reader.join();
  }

  struct Pass {
    std::atomic<int> ready{0};
    std::atomic<bool> started{false};
    std::atomic<int> done{0};
    Clock::time_point begin;  // written by the last one to be ready, before `started`
    Clock::time_point end;    // written by the last one to be done
  };

  void Read(std::uint64_t* words, std::size_t count) {
    std::fill_n(words, count, 1);  // each thread touches its own part first
    for (Pass& pass : passes_) {
      if (++pass.ready == threads_) {
        pass.begin = Clock::now();
        pass.started = true;
      }
      while (!pass.started) {
        if (refused_) return;  // who is waited for never comes
        std::this_thread::yield();
      }
      sink_ += Sum(words, count);
      if (++pass.done == threads_) pass.end = Clock::now();
    }
  }

  const int threads_;
  std::vector<Pass> passes_;
  std::atomic<bool> refused_{false};
  std::atomic<std::uint64_t> sink_{0};  // so that the sums are not optimised away
  std::vector<std::thread> readers_;
};

}  // namespace

double MeasureMemoryStream(int threads, std::size_t bytes, int passes) {
  if (threads > WorkerTeam::kMostThreads) {
    throw Error(ErrorCode::kInvalidArgument,
                StrCat("threads is ", threads, ", but must be in [1, ", WorkerTeam::kMostThreads, "]"));
  }
  if (threads < 1 || passes < 1 || bytes < static_cast<std::size_t>(std::max(threads, 1)) * kLanes * 8) {
    throw Error(ErrorCode::kInvalidArgument,
                StrCat("cannot stream ", bytes, " bytes with ", threads, " threads in ", passes,
                       " passes; threads and passes must be at least 1, and each "
                       "thread needs ",
                       kLanes * 8, " bytes"));
  }
  const Mapping mapping(bytes);
  return static_cast<double>(bytes) / Readers(mapping, threads, passes).Best();
}

}  // namespace skywork_rt
