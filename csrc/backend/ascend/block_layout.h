#pragma once

#include <unordered_map>
#include <vector>

#include "backend/ascend/block_pool.h"
#include "backend/ascend/cache_layout.h"

namespace skywork_rt::ascend {

/// Form paged: a sequence has blocks, all that it may come to from the beginning, and any row of a batch. What is
/// padding is written to the first slot of block 0, which no sequence gets: MindFormers keeps such a block for each
/// sequence.
class BlockLayout final : public CacheLayout {
 public:
  explicit BlockLayout(DeviceForm form);

  void Open(SeqId seq, std::size_t max_tokens) override;
  void Close(SeqId seq) override;
  void Exchange(Span<const SeqId> from, Span<const SeqId> to, Span<const std::size_t> reserved) override;
  void SetLength(SeqId, std::size_t) override {}
  Call Prompts(const std::vector<RowWork>& works) override;
  Call Tokens(const std::vector<RowWork>& works) override;

 private:
  Call Begin(const std::vector<RowWork>& works, const Gears& gears, bool prompts) const;
  void PutTable(const std::vector<std::int32_t>& blocks, std::size_t row, Feeds* feeds) const;

  const DeviceForm form_;
  BlockPool pool_;
  std::unordered_map<SeqId, std::vector<std::int32_t>> blocks_;
};

}  // namespace skywork_rt::ascend
