#include "backend/ascend/block_pool.h"

#include <iterator>

namespace skywork_rt::ascend {

BlockPool::BlockPool(int blocks, int block_tokens) : block_tokens_(static_cast<std::size_t>(block_tokens)) {
  for (std::int32_t block = kPadding + 1; block < blocks; ++block) free_.insert(free_.end(), block);
}

std::vector<std::int32_t> BlockPool::Take(std::size_t count) {
  const auto end = std::next(free_.begin(), static_cast<std::ptrdiff_t>(count));
  std::vector<std::int32_t> taken(free_.begin(), end);
  free_.erase(free_.begin(), end);
  return taken;
}

std::int32_t BlockPool::SlotOf(const std::vector<std::int32_t>& blocks, std::size_t position) const {
  return blocks.at(position / block_tokens_) * static_cast<std::int32_t>(block_tokens_) +
         static_cast<std::int32_t>(position % block_tokens_);
}

}  // namespace skywork_rt::ascend
