#include "backend/ascend/block_layout.h"

#include <algorithm>
#include <utility>

#include "backend/ascend/row_layout.h"
#include "skywork_rt/error.h"
#include "support/format.h"

namespace skywork_rt::ascend {
namespace {

constexpr std::int32_t kPaddingSlot = 0;  // of block BlockPool::kPadding
constexpr std::int32_t kNoBlock = -1;

}  // namespace

std::unique_ptr<CacheLayout> CacheLayout::For(const DeviceForm& form) {
  if (form.form == Form::kPaged) return std::make_unique<BlockLayout>(form);
  return std::make_unique<RowLayout>(form);
}

BlockLayout::BlockLayout(DeviceForm form)
    : form_(std::move(form)), pool_(form_.cache.blocks, form_.cache.block_tokens) {}

void BlockLayout::Open(SeqId seq, std::size_t max_tokens) {
  const std::size_t wanted = pool_.BlocksFor(max_tokens);
  if (wanted > pool_.free()) {
    throw Error(ErrorCode::kBusy,
                StrCat("a sequence of ", max_tokens, " tokens takes ", wanted, " blocks of ", form_.cache.block_tokens,
                       " tokens, and ", pool_.free(), " of ", form_.cache.blocks - 1, " are free"));
  }
  blocks_.emplace(seq, pool_.Take(wanted));
}

void BlockLayout::Close(SeqId seq) {
  pool_.Give(blocks_.at(seq));
  blocks_.erase(seq);
}

void BlockLayout::Exchange(Span<const SeqId> from, Span<const SeqId> to, Span<const std::size_t> reserved) {
  std::vector<std::vector<std::int32_t>> moved;
  for (const SeqId seq : from) moved.push_back(blocks_.at(seq));
  for (std::size_t i = 0; i < to.size(); ++i) {  // what is beyond a reservation holds no tokens
    while (moved[i].size() > pool_.BlocksFor(reserved[i])) {
      pool_.Give({moved[i].back()});
      moved[i].pop_back();
    }
  }
  for (std::size_t i = 0; i < to.size(); ++i) {
    const std::vector<std::int32_t> more = pool_.Take(pool_.BlocksFor(reserved[i]) - moved[i].size());
    moved[i].insert(moved[i].end(), more.begin(), more.end());
    blocks_.at(to[i]) = std::move(moved[i]);
  }
}

void BlockLayout::PutTable(const std::vector<std::int32_t>& blocks, std::size_t row, Feeds* feeds) const {
  const auto table = static_cast<std::size_t>(form_.cache.table);
  std::copy(blocks.begin(), blocks.end(), feeds->block_tables.begin() + static_cast<std::ptrdiff_t>(row * table));
}

/// A call that is all padding but for the block tables; work i has row i.
Call BlockLayout::Begin(const std::vector<RowWork>& works, const Gears& gears, bool prompts) const {
  std::size_t longest = 0;
  for (const RowWork& work : works) longest = std::max(longest, prompts ? work.tokens.size() : 0);
  const std::optional<Gear> gear = gears.Smallest(static_cast<int>(works.size()), longest);
  if (!gear) {
    throw Error(ErrorCode::kCapacity, StrCat("no gear of the graph has ", works.size(), " rows and ", longest,
                                             " tokens; there are ", gears.ToString()));
  }
  const auto batch = static_cast<std::size_t>(gear->batch);
  const std::size_t tokens = prompts ? gear->length : 1;
  Call call;
  call.feeds.gear = *gear;
  call.feeds.tokens.assign(batch * tokens, form_.pad_id);
  call.feeds.valid_lengths.assign(batch, 1);
  call.feeds.slot_mapping.assign(batch * tokens, kPaddingSlot);
  call.feeds.block_tables.assign(batch * static_cast<std::size_t>(form_.cache.table), kNoBlock);
  for (std::size_t row = 0; row < batch; ++row) {
    call.feeds.batch_index.push_back(static_cast<std::int64_t>(row));
    if (row < works.size()) {
      PutTable(blocks_.at(works[row].seq), row, &call.feeds);
      call.rows.push_back(row);
    } else {
      PutTable({BlockPool::kPadding}, row, &call.feeds);
    }
  }
  return call;
}

Call BlockLayout::Prompts(const std::vector<RowWork>& works) {
  Call call = Begin(works, form_.full, true);
  const std::size_t length = call.feeds.gear.length;
  for (std::size_t row = 0; row < works.size(); ++row) {
    const std::vector<std::int32_t>& blocks = blocks_.at(works[row].seq);
    call.feeds.valid_lengths[row] = static_cast<std::int32_t>(works[row].tokens.size());
    for (std::size_t i = 0; i < works[row].tokens.size(); ++i) {
      call.feeds.tokens[row * length + i] = works[row].tokens[i];
      call.feeds.slot_mapping[row * length + i] = pool_.SlotOf(blocks, i);
    }
  }
  return call;
}

Call BlockLayout::Tokens(const std::vector<RowWork>& works) {
  Call call = Begin(works, form_.incremental, false);
  for (std::size_t row = 0; row < works.size(); ++row) {
    call.feeds.tokens[row] = works[row].tokens[0];
    call.feeds.valid_lengths[row] = static_cast<std::int32_t>(works[row].length + 1);
    call.feeds.slot_mapping[row] = pool_.SlotOf(blocks_.at(works[row].seq), works[row].length);
  }
  return call;
}

}  // namespace skywork_rt::ascend
