#include "support/memory_stream.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#include "skywork_rt/error.h"
#include "support/format.h"

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

/// Threads that wait for each other before each pass, so that all read at the same time.
class Readers {
 public:
  Readers(const Mapping& mapping, int threads, int passes)
      : waiting_(static_cast<std::size_t>(passes)), finished_(static_cast<std::size_t>(passes)) {
    const std::size_t share = mapping.size() / static_cast<std::size_t>(threads);
    for (int i = 0; i < threads; ++i) {
      std::uint64_t* words = mapping.words() + static_cast<std::size_t>(i) * share;
      threads_.emplace_back([this, words, share, threads, passes] { Read(words, share, threads, passes); });
    }
  }

  /// Seconds of the quickest pass.
  double Best() {
    for (std::thread& thread : threads_) thread.join();
    return *std::min_element(seconds_.begin(), seconds_.end());
  }

 private:
  void Read(std::uint64_t* words, std::size_t count, int threads, int passes) {
    std::fill_n(words, count, 1);  // each thread touches its own part first
    for (int pass = 0; pass < passes; ++pass) {
      const auto index = static_cast<std::size_t>(pass);
      ++waiting_[index];
      while (waiting_[index] < threads) std::this_thread::yield();
      const auto begin = Clock::now();
      sink_ += Sum(words, count);
      if (++finished_[index] == threads) {
        seconds_.push_back(std::chrono::duration<double>(Clock::now() - begin).count());
      }
      while (finished_[index] < threads) std::this_thread::yield();
    }
  }

  std::vector<std::atomic<int>> waiting_;
  std::vector<std::atomic<int>> finished_;
  std::atomic<std::uint64_t> sink_{0};
  std::vector<double> seconds_;  // written by the last reader of a pass only
  std::vector<std::thread> threads_;
};

}  // namespace

double MeasureMemoryStream(int threads, std::size_t bytes, int passes) {
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
