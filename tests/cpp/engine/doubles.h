#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "decode/proposer.h"
#include "engine/engine_fixture.h"
#include "skywork_rt/logits_mask.h"

// Doubles of the two seams of decoding: who guesses tokens ahead, and who says which tokens may come.

namespace skywork_rt {

/// Guesses what the predictable backend's greedy answer is, and spoils every guess that `wrong` (a function of how many
/// tokens are known) says to spoil.
class KnowingProposer final : public Proposer {
 public:
  explicit KnowingProposer(std::function<bool(std::size_t)> wrong) : wrong_(std::move(wrong)) {}

  void Propose(Span<const TokenId> tokens, std::size_t most, std::vector<TokenId>* proposed) override {
    const PredictableBackend backend{PredictableOptions()};
    const std::vector<TokenId> known(tokens.begin(), tokens.end());
    *proposed = backend.Greedy(known, most);
    for (std::size_t i = 0; i < proposed->size(); ++i) {
      if (wrong_(known.size() + i)) (*proposed)[i] = ((*proposed)[i] + 1) % PredictableOptions().vocab_size;
    }
    asked_ += 1;
    most_asked_ = std::max(most_asked_, most);
  }

  std::size_t asked() const { return asked_; }
  std::size_t most_asked() const { return most_asked_; }

 private:
  const std::function<bool(std::size_t)> wrong_;
  std::size_t asked_ = 0;
  std::size_t most_asked_ = 0;
};

/// A clock of an engine whose steps take no time, so that guesses always pay.
inline std::function<std::chrono::steady_clock::time_point()> StillClock() {
  return [] { return std::chrono::steady_clock::time_point(); };
}

/// Allows, at output position i, the tokens for which `allowed` says so. With a gate it is ready only when the test
/// lets it: Open() is called from another thread, as a grammar's own thread would.
class FunctionMask final : public LogitsMask {
 public:
  using Rule = std::function<bool(std::size_t position, TokenId token)>;

  /// Shared by a mask and its forks.
  struct Gate {
    std::mutex mutex;
    std::size_t opened = 0;  // positions below this are ready
    std::vector<std::function<void()>> waiting;
    std::atomic<int> refused{0};

    void Open(std::size_t positions) {
      std::vector<std::function<void()>> wakes;
      {
        const std::lock_guard<std::mutex> lock(mutex);
        opened = std::max(opened, positions);
        wakes.swap(waiting);
      }
      for (const auto& wake : wakes) wake();
    }
  };

  explicit FunctionMask(Rule allowed, std::shared_ptr<Gate> gate = nullptr, int vocab_size = 97)
      : allowed_(std::move(allowed)), gate_(std::move(gate)), vocab_size_(vocab_size) {}

  bool Ready(std::function<void()> wake) override {
    if (gate_ == nullptr) return true;
    const std::lock_guard<std::mutex> lock(gate_->mutex);
    if (position_ < gate_->opened) return true;
    ++gate_->refused;
    gate_->waiting.push_back(std::move(wake));
    return false;
  }

  Span<const std::uint32_t> Allowed() override {
    bits_.assign((static_cast<std::size_t>(vocab_size_) + 31) / 32, 0);
    for (TokenId token = 0; token < vocab_size_; ++token) {
      if (allowed_(position_, token)) bits_[static_cast<std::size_t>(token) / 32] |= 1U << (token % 32);
    }
    return Span<const std::uint32_t>(bits_);
  }

  void Accept(TokenId /*token*/) override { ++position_; }

  Span<const TokenId> Likely() override {
    if (!likely_) return {};
    said_ = likely_(position_);
    return Span<const TokenId>(said_);
  }
  /// What Likely says, at each position.
  void set_likely(std::function<std::vector<TokenId>(std::size_t)> likely) { likely_ = std::move(likely); }

  std::unique_ptr<LogitsMask> Fork() const override {
    auto fork = std::make_unique<FunctionMask>(allowed_, gate_, vocab_size_);
    fork->position_ = position_;
    fork->likely_ = likely_;
    return fork;
  }

 private:
  const Rule allowed_;
  const std::shared_ptr<Gate> gate_;
  const int vocab_size_;
  std::size_t position_ = 0;
  std::vector<std::uint32_t> bits_;
  std::function<std::vector<TokenId>(std::size_t)> likely_;
  std::vector<TokenId> said_;
};

}  // namespace skywork_rt
