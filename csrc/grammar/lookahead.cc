#include "grammar/lookahead.h"

#include <utility>

namespace skywork_rt::grammar {
namespace {

// Beyond this it is text of the model's own, or a number, of which the last one says little about the next.
constexpr std::size_t kFew = 64;
constexpr std::size_t kMostKnown = 4096;
constexpr unsigned kOften = 2;
constexpr std::chrono::milliseconds kSlow{10};  // a mask that no row should have to wait for on a guess's account

/// The model's tokens that a mask allows.
struct Ways {
  std::size_t count = 0;
  TokenId first = 0;
  std::uint64_t key = 14695981039346656037U;  // FNV-1a of all ids; two masks of one key are a wrong guess
};

// nullopt: not a few.
std::optional<Ways> FewWays(const RawMask& mask, std::size_t rows) {
  Ways ways;
  for (std::size_t first = 0; first < rows; first += 32) {
    for (std::uint32_t word = mask[first / 32]; word != 0; word &= word - 1) {
      const std::size_t id = first + static_cast<std::size_t>(__builtin_ctz(word));
      if (id >= rows) break;
      if (ways.count == 0) ways.first = static_cast<TokenId>(id);
      if (++ways.count > kFew) return std::nullopt;
      ways.key = (ways.key ^ static_cast<std::uint64_t>(id)) * 1099511628211U;
    }
  }
  return ways;
}

}  // namespace

void Habits::Learn(const RawMask& mask, TokenId token) {
  const std::optional<Ways> ways = FewWays(mask, rows_);
  if (!ways.has_value() || ways->count < 2 || static_cast<std::size_t>(token) >= rows_) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  if (known_.size() >= kMostKnown && known_.count(ways->key) == 0) known_.clear();
  Habit& habit = known_[ways->key];
  habit.times = habit.token == token ? habit.times + 1 : 1;
  habit.token = token;
}

std::optional<TokenId> Habits::Guess(const RawMask& mask) const {
  if (given_up_) return std::nullopt;
  const std::optional<Ways> ways = FewWays(mask, rows_);
  if (!ways.has_value() || ways->count == 0) return std::nullopt;
  if (ways->count == 1) return ways->first;
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto known = known_.find(ways->key);
  if (known == known_.end() || known->second.times < kOften) return std::nullopt;
  return known->second.token;
}

bool LookAhead(Habits* habits, const AheadBounds& bounds, Matcher* matcher, WorkTimes* times, Ahead* ahead) {
  using Clock = std::chrono::steady_clock;
  bool sound = true;
  for (Clock::time_point now = Clock::now(); ahead->tokens.size() < bounds.tokens && now < bounds.until;) {
    const std::optional<TokenId> token = habits->Guess(ahead->behind(ahead->tokens.size()));
    if (!token.has_value()) break;
    RawMask mask;
    sound = matcher->Consume(*token) && matcher->ComputeMask(&mask);
    if (!sound) break;
    ahead->tokens.push_back(*token);
    ahead->masks.push_back(std::move(mask));
    const Clock::time_point began = std::exchange(now, Clock::now());
    times->Add(now - began);
    if (now - began > kSlow) habits->GiveUp();
  }
  sound = sound && (ahead->tokens.empty() || matcher->Rollback(ahead->tokens.size()));
  if (!sound) habits->GiveUp();
  return sound;
}

}  // namespace skywork_rt::grammar
