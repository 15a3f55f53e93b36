#pragma once

#include <array>
#include <cstddef>
#include <optional>

namespace skywork_rt {

/// Whether tokens that will only probably come are worth computing (Proposer, LogitsMask::Likely): by what steps were
/// measured to take, and by how many guesses were right. Where reading the weights is what a step waits for, more
/// tokens cost next to nothing; where computing is, each costs what it would cost later. It has no clock of its own.
class GuessBudget {
 public:
  /// Whether a step of `certain` tokens of rows that decode yields more a second with `guesses` more: whether one costs
  /// less there than a token otherwise, counting those that are wrong. Yes as well as long as nobody knows; and now
  /// and then the other answer, so that both kinds of steps are measured again.
  bool Pays(std::size_t certain, std::size_t guesses);

  /// A step of so many tokens, guesses included, and no prompts took so long.
  void LearnTime(std::size_t tokens, double seconds);
  /// `right` of the guesses of a row were.
  void LearnRight(std::size_t guesses, std::size_t right);

 private:
  std::optional<double> CostOfOneMore(std::size_t certain, std::size_t together) const;

  static constexpr std::size_t kMostTokens = 64;  // beyond it computing is what a step waits for, on any machine
  static constexpr std::size_t kTryEvery = 64;    // answers

  std::array<std::optional<double>, kMostTokens + 1> seconds_;  // running estimates, by tokens
  double right_ = 0.8;                                          // share, a running estimate
  std::size_t asked_ = 0;
};

}  // namespace skywork_rt
