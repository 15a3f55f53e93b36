#include "sampling/token_counts.h"

#include <algorithm>

namespace skywork_rt {

std::size_t TokenCounts::Slot(TokenId token) const {
  const std::size_t mask = slots_.size() - 1;
  std::size_t slot = (static_cast<std::uint32_t>(token) * 0x9E3779B9u >> 7) & mask;
  while (slots_[slot] >= 0 && entries_[static_cast<std::size_t>(slots_[slot])].token != token) slot = (slot + 1) & mask;
  return slot;
}

std::size_t TokenCounts::Find(TokenId token) {
  if (2 * (entries_.size() + 1) > slots_.size()) Grow();
  std::int32_t& index = slots_[Slot(token)];
  if (index < 0) {
    index = static_cast<std::int32_t>(entries_.size());
    entries_.push_back({token, 0});
  }
  return static_cast<std::size_t>(index);
}

void TokenCounts::Grow() {
  slots_.assign(std::max<std::size_t>(64, 2 * slots_.size()), -1);
  for (std::size_t i = 0; i < entries_.size(); ++i) slots_[Slot(entries_[i].token)] = static_cast<std::int32_t>(i);
}

}  // namespace skywork_rt
