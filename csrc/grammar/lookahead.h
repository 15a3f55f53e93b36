#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "grammar/workshop.h"
#include "skywork_rt/model_spec.h"

namespace skywork_rt::grammar {

/// One bit an id of the token table: what may come.
using RawMask = std::vector<std::uint32_t>;

/// What may come at one place of an output, what will probably come, and what may come behind that.
struct Ahead {
  RawMask mask;
  std::vector<TokenId> tokens;  // probable, one behind the other
  std::vector<RawMask> masks;   // behind each of them

  /// What may come behind the first `taken` of the tokens.
  const RawMask& behind(std::size_t taken) const { return taken == 0 ? mask : masks[taken - 1]; }
};

/// How the outputs of one grammar went on where it leaves few ways: the keys of an object, punctuation, the white space
/// that a model likes. Two places of a grammar that allow the same count as one. Any thread may use it.
class Habits {
 public:
  /// `rows`: of the model. What the token table adds behind them never comes.
  explicit Habits(std::size_t rows) : rows_(rows) {}

  /// `token` came where `mask` was.
  void Learn(const RawMask& mask, TokenId token);
  /// What probably comes there: the only token that may, or what came the last times. nullopt: no telling.
  std::optional<TokenId> Guess(const RawMask& mask) const;
  /// Nothing is guessed any more.
  void GiveUp() { given_up_ = true; }

 private:
  struct Habit {
    TokenId token = 0;
    unsigned times = 0;  // in a row
  };

  const std::size_t rows_;
  std::atomic<bool> given_up_{false};
  mutable std::mutex mutex_;
  std::unordered_map<std::uint64_t, Habit> known_;
};

/// What bounds a look ahead.
struct AheadBounds {
  std::size_t tokens = 0;
  std::chrono::steady_clock::time_point until;
};

/// Adds guesses to `ahead`, whose mask is that of the matcher's place; the matcher is there again on return. False: it
/// is of no use any more, because the grammar cannot be followed back (llguidance's max_tokens and stop) or is at a
/// dead end behind a guess; the habits are then given up, and the guesses that were added are sound. They are given up,
/// too, where a mask behind a guess is slow.
bool LookAhead(Habits* habits, const AheadBounds& bounds, Matcher* matcher, WorkTimes* times, Ahead* ahead);

}  // namespace skywork_rt::grammar
