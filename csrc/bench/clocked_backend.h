#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <map>
#include <mutex>
#include <vector>

#include "backend/backend.h"
#include "bench/time_host.h"

namespace skywork_rt {

/// A backend that computes nothing and clocks who calls it. Its cache is a length a sequence; its logits are the same
/// made-up row for every sequence but for the largest one, which moves from step to step.
class ClockedBackend final : public Backend {
 public:
  /// Shared with whoever reads the clock when the backend has gone. Nothing is computed before all of `rows` sequences
  /// are there, so that they decode side by side.
  struct Clock {
    void Open() {
      const std::lock_guard<std::mutex> lock(mutex);
      open = true;
      opened.notify_all();
    }
    void WaitUntilOpen() {
      std::unique_lock<std::mutex> lock(mutex);
      opened.wait(lock, [&] { return open; });
    }
    std::mutex mutex;
    std::condition_variable opened;
    bool open = false;
    HostTimes times;  // of the engine's thread until the generator is closed
  };

  ClockedBackend(std::size_t rows, std::size_t vocab_size, std::size_t max_length, Clock* clock);

  const ModelSpec& model() const override { return model_; }
  Traits traits() const override;
  SeqId Open(std::size_t max_tokens) override;
  std::size_t Length(SeqId seq) const override { return lengths_.at(seq); }
  using Backend::Forward;
  bool Forward(Span<const Chunk> chunks, Span<float> logits, ForwardWatch* watch) override;
  void Reorder(Span<const SeqId> from, Span<const SeqId> to) override;
  void Copy(SeqId /*from*/, SeqId to, std::size_t length) override { lengths_.at(to) = length; }
  void Truncate(SeqId seq, std::size_t length) override { lengths_.at(seq) = length; }
  void Close(SeqId seq) override { lengths_.erase(seq); }

 private:
  using Time = std::chrono::steady_clock;

  void Fill(Span<float> logits);
  double ArgmaxSeconds(Span<const float> logits);

  const std::size_t rows_;
  ModelSpec model_;
  Clock* const clock_;
  std::vector<float> row_;
  std::map<SeqId, std::size_t> lengths_;
  SeqId last_ = 0;
  std::size_t step_ = 0;
  bool timing_ = false;  // what follows the last Forward is a step of the host's to be timed
  Time::time_point left_;
  std::size_t found_ = 0;  // keeps the argmax from being left out
};

}  // namespace skywork_rt
