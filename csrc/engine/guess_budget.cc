#include "engine/guess_budget.h"

#include "engine/running_estimate.h"

namespace skywork_rt {

bool GuessBudget::Pays(std::size_t certain, std::size_t guesses) {
  if (certain == 0 || guesses == 0 || certain + guesses > kMostTokens) return false;
  const std::optional<double> alone = seconds_[certain];
  const std::optional<double> cost = alone.has_value() ? CostOfOneMore(certain, certain + guesses) : std::nullopt;
  const bool pays = !cost.has_value() || *cost * static_cast<double>(certain) <= right_ * *alone;
  return (++asked_ % kTryEvery == 0) != pays;
}

// By the step of about so many tokens that was measured.
std::optional<double> GuessBudget::CostOfOneMore(std::size_t certain, std::size_t together) const {
  for (std::size_t away = 0; away < kMostTokens; ++away) {
    for (const std::size_t tokens : {together + away, together > away ? together - away : 0}) {
      if (tokens <= certain || tokens > kMostTokens || !seconds_[tokens].has_value()) continue;
      return (*seconds_[tokens] - *seconds_[certain]) / static_cast<double>(tokens - certain);
    }
  }
  return std::nullopt;
}

void GuessBudget::LearnTime(std::size_t tokens, double seconds) {
  if (tokens <= kMostTokens) Follow(&seconds_[tokens], seconds);
}

void GuessBudget::LearnRight(std::size_t guesses, std::size_t right) {
  constexpr double kWeight = 1.0 / 32;
  for (std::size_t i = 0; i < guesses; ++i) right_ += ((i < right ? 1.0 : 0.0) - right_) * kWeight;
}

}  // namespace skywork_rt
