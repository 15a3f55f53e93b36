#pragma once

#include <cstddef>
#include <cstdint>
#include <set>
#include <vector>

namespace skywork_rt::ascend {

/// The blocks of a paged cache that are free. Block 0 is never given: padding is written there.
class BlockPool {
 public:
  static constexpr std::int32_t kPadding = 0;

  BlockPool(int blocks, int block_tokens);

  /// Blocks that `tokens` take.
  std::size_t BlocksFor(std::size_t tokens) const { return (tokens + block_tokens_ - 1) / block_tokens_; }
  std::size_t free() const { return free_.size(); }
  /// The `count` free blocks of the lowest numbers; there are as many.
  std::vector<std::int32_t> Take(std::size_t count);
  void Give(const std::vector<std::int32_t>& blocks) { free_.insert(blocks.begin(), blocks.end()); }
  /// Where the cache has the position of a sequence of these blocks.
  std::int32_t SlotOf(const std::vector<std::int32_t>& blocks, std::size_t position) const;

 private:
  std::size_t block_tokens_;
  std::set<std::int32_t> free_;
};

}  // namespace skywork_rt::ascend
