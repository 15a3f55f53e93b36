#pragma once

#include <cstddef>
#include <exception>
#include <utility>
#include <vector>

#include "sampling/sampling_scratch.h"
#include "skywork_rt/generator.h"
#include "skywork_rt/model_spec.h"
#include "skywork_rt/span.h"
#include "support/core_set.h"
#include "support/thread_pool.h"

namespace skywork_rt {

/// What choosing from a row of logits came to: a token, or why there is none.
struct ChosenToken {
  TokenId token = 0;
  std::vector<TokenLogprob> logprobs;  // as Choice::logprobs
  std::exception_ptr failure;
};

/// Chooses the tokens of many rows of logits at once, on the thread pool where that pays. Owns the scratch that
/// choosing takes, one a thread, whatever the number of samples.
class RowChooser {
 public:
  /// Of the pool: at most so many threads, the caller among them, on `cores` (empty: anywhere).
  RowChooser(int threads, const CoreSet& cores) : threads_(threads), cores_(cores), scratch_(1) {}

  /// What the calling thread itself chooses with.
  SamplingScratch* scratch() { return &scratch_.front(); }

  /// Whether it may pay to choose from so many rows at once; `work` is the sum over rows of WorkOf.
  bool Pays(std::size_t rows, std::size_t work) const { return threads_ > 1 && rows > 1 && work >= kLeastWork; }
  /// What choosing costs, in logits of a plain argmax. `plain`: the argmax is all that is asked.
  static std::size_t WorkOf(std::size_t logits, bool plain) { return plain ? logits : kDrawnCost * logits; }

  /// Calls choose(row, scratch, chosen) once for each row in [0, rows), on any thread, and keeps what it throws. False,
  /// and none is chosen, when somebody else computes on the cores: waiting for them would take longer.
  template <typename Choose>
  bool ChooseAll(std::size_t rows, std::size_t work, Choose choose) {
    ThreadPool::Lease lease(ThreadPool::Lease::IfFree{}, threads_, cores_);
    if (lease.threads() == 1) return false;
    if (scratch_.size() < static_cast<std::size_t>(threads_)) scratch_.resize(static_cast<std::size_t>(threads_));
    if (chosen_.size() < rows) chosen_.resize(rows);
    const std::size_t grain = GrainOf(rows, work);
    lease.Run(static_cast<int>((rows + grain - 1) / grain), [&](int task, int slot) {
      const std::size_t begin = static_cast<std::size_t>(task) * grain;
      for (std::size_t row = begin; row < rows && row < begin + grain; ++row) {
        ChosenToken& chosen = chosen_[row];
        chosen.failure = nullptr;
        try {
          choose(row, &scratch_[static_cast<std::size_t>(slot)], &chosen);
        } catch (...) {
          chosen.failure = std::current_exception();
        }
      }
    });
    return true;
  }

  /// What the last ChooseAll came to.
  const ChosenToken& chosen(std::size_t row) const { return chosen_[row]; }
  /// Gives memory back that the next ChooseAll will take again.
  void Release() {
    scratch_ = std::vector<SamplingScratch>(1);
    chosen_ = {};
  }

 private:
  // Measured (docs/decisions.md, Sampling): the pool takes 5 to 60 us to be there and done, an argmax looks at about
  // 10 logits a nanosecond, and a draw with cuts costs 8 times as much.
  static constexpr std::size_t kLeastWork = std::size_t{1} << 19;
  static constexpr std::size_t kDrawnCost = 8;
  static constexpr std::size_t kTaskWork = std::size_t{1} << 16;

  /// Rows that are chosen one after the other: enough for a task to be worth its handing out.
  static std::size_t GrainOf(std::size_t rows, std::size_t work) {
    const std::size_t tasks = work / kTaskWork + 1;
    return (rows + tasks - 1) / tasks;
  }

  const int threads_;
  const CoreSet cores_;
  std::vector<SamplingScratch> scratch_;  // a thread each; the first is the caller's
  std::vector<ChosenToken> chosen_;
};

}  // namespace skywork_rt
