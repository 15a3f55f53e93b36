#include "engine/cache/block_cache.h"

#include <algorithm>
#include <new>
#include <utility>

#include "engine/promise.h"

namespace skywork_rt {

BlockCache::BlockCache(const SchedulerLimits& limits)
    : limits_(limits),
      block_tokens_(limits.block_tokens),
      capacity_(BlocksFor(limits.max_cached_tokens)),
      tree_(limits.block_tokens),
      reading_(limits.block_tokens) {
  // Addresses only: memory is taken as blocks come into use. An admission may count a block a row that the backend has
  // yet to take, before kept ones go for it.
  const std::size_t most = capacity_ + static_cast<std::size_t>(limits.max_open);
  blocks_.reserve(most);
  free_.reserve(most);
}

std::size_t BlockCache::BlocksOf(std::size_t block_tokens, std::size_t prompt, std::size_t reserve, std::size_t rows) {
  const std::size_t all = (reserve + block_tokens - 1) / block_tokens;
  return all + (rows - 1) * (all - prompt / block_tokens);
}

std::size_t BlockCache::TokensIn(const Sequence& sequence, std::size_t block) const {
  return std::min(block_tokens_, sequence.cached - block * block_tokens_);
}

// ---------------------------------------------------------------------------------------------------- admission

std::optional<Admission> BlockCache::Plan(const Ticket& ticket, const Groups&, int running_rows) const {
  Admission admission;
  admission.id = ticket.id;
  admission.rows = ticket.rows;
  admission.reserve = ticket.reserve;
  PrefixTree::Match match;
  if (limits_.prefix_cache) {
    const Span<const TokenId> reusable(ticket.prompt.data(), ticket.logits_from);
    match = tree_.Find(ticket.salt, reusable);
    if (match.length < limits_.min_prefix) match = {};
    if (reading_.Find(ticket.salt, reusable).length >= match.length + limits_.min_prefix) return std::nullopt;
  }
  if (in_use_ + promised_ + Need(ticket, match) > capacity_) return std::nullopt;
  if (match.sequence != nullptr) {
    admission.how = Admission::Reuse::kCopy;
    admission.shared = match.sequence;
    admission.source = match.sequence->seq;
    admission.source_length = match.sequence->cached;
    admission.reuse = match.length;
  }
  if (!MakeOpenRows(ticket, running_rows, &admission)) return std::nullopt;
  return admission;
}

/// Blocks that a row of the request is promised.
std::size_t BlockCache::Due(const Ticket& ticket) const {
  return BlocksFor(Optimistic(ticket) ? std::min(ticket.reserve, ticket.prompt.size() + 1) : ticket.reserve);
}

// Blocks that admitting the request would add to those in use or promised. An optimistic one leaves a block a running
// row: else the rows that grow next would send it away again.
std::size_t BlockCache::Need(const Ticket& ticket, const PrefixTree::Match& match) const {
  const std::size_t shared = match.length / block_tokens_;
  std::size_t idle = 0;
  for (std::size_t i = 0; i < shared; ++i) idle += blocks_[match.sequence->blocks[i]].running == 0 ? 1 : 0;
  const std::size_t headroom = Optimistic(ticket) ? running_rows_ : 0;
  const auto rows = static_cast<std::size_t>(ticket.rows);
  if (rows == 1) return idle + Due(ticket) - shared + headroom;
  return idle - shared + BlocksOf(block_tokens_, ticket.prompt.size(), ticket.reserve, rows);
}

// Kept sequences that must go because too many are open; never the one whose tokens are used.
bool BlockCache::MakeOpenRows(const Ticket& ticket, int running_rows, Admission* admission) const {
  int open = running_rows + static_cast<int>(kept_.size()) + ticket.rows;
  for (const auto& sequence : kept_) {
    if (open <= limits_.max_open) break;
    if (sequence->seq == admission->source) continue;
    admission->evict.push_back(sequence->seq);
    --open;
  }
  return open <= limits_.max_open;
}

void BlockCache::Admit(const Admission& admission, const Ticket& ticket, Group* group) {
  kept_.reserve(kept_.size() + running_rows_ + group->rows.size());  // so that each can be kept without memory
  for (const auto& row : group->rows) row->blocks.reserve(BlocksFor(row->reserved));
  // Nothing below can fail.
  running_rows_ += group->rows.size();
  Sequence* const lead = group->rows[0].get();
  if (admission.how == Admission::Reuse::kCopy) ShareFull(*admission.shared, admission.reuse / block_tokens_, lead);
  const std::size_t rest = lead->cached % block_tokens_;
  if (rest != 0) lead->blocks.push_back(Take(rest));
  for (const auto& row : group->rows) {
    row->due = row.get() == lead ? Due(ticket) : BlocksFor(ticket.reserve) - ticket.prompt.size() / block_tokens_;
    row->reserves = !Optimistic(ticket);
    if (ticket.beams) row->lasting = ticket.prompt.size();
    promised_ += PromiseOf(*row);
  }
  if (!limits_.prefix_cache) return;
  try {
    tree_.Begin(&lead->mark, lead, ticket.salt);
  } catch (const std::bad_alloc&) {
    return;  // nobody will find it
  }
  Index(lead, false);
  StartReading(ticket, group);
}

// Whoever comes with a prompt like this one waits for it, if there is memory to find it.
void BlockCache::StartReading(const Ticket& ticket, Group* group) {
  try {
    reading_.Begin(&group->reading, group->rows[0].get(), ticket.salt);
    reading_.GrowWhole(&group->reading, Span<const TokenId>(ticket.prompt));
  } catch (const std::bad_alloc&) {
  }
}

void BlockCache::StopReading(Group* group) {
  reading_.Remove(&group->reading);
}

// ------------------------------------------------------------------------------------------------------- a step

std::size_t BlockCache::NewBlocks(const PlannedChunk& chunk) const {
  const Sequence& sequence = *chunk.sequence;
  return BlocksFor(sequence.cached + chunk.count) - sequence.blocks.size();
}

bool BlockCache::StepFits(const StepPlan& plan) const {
  if (!limits_.optimistic) return true;  // what is promised fits
  std::size_t unpromised = 0;
  for (const auto* chunks : {&plan.decode, &plan.prefill}) {
    for (const PlannedChunk& chunk : *chunks) {
      const std::size_t blocks = NewBlocks(chunk);
      unpromised += blocks - std::min(blocks, PromiseOf(*chunk.sequence));
    }
  }
  return in_use_ + promised_ + unpromised <= capacity_;
}

std::optional<Cut> BlockCache::NextCut(const StepPlan& plan) const {
  std::size_t wanted = blocks_.size() - free_.size();
  for (const auto* chunks : {&plan.decode, &plan.prefill}) {
    for (const PlannedChunk& chunk : *chunks) wanted += NewBlocks(chunk);
  }
  if (wanted <= capacity_) return std::nullopt;
  Promise(!kept_.empty(), wanted, " blocks are wanted of ", capacity_, " and nothing is kept");
  const Sequence& oldest = *kept_.front();
  std::size_t left = oldest.blocks.size();
  for (std::size_t freed = 0; left > 0 && freed < wanted - capacity_; --left) {
    if (blocks_[oldest.blocks[left - 1]].users == 1) ++freed;
  }
  // What is left is of no use when it is short, or when another sequence has it, too.
  const bool useless =
      left * block_tokens_ < limits_.min_prefix || left == 0 || blocks_[oldest.blocks[left - 1]].users > 1;
  return Cut{oldest.seq, useless ? 0 : left * block_tokens_};
}

void BlockCache::CutKept(const Cut& cut) {
  if (cut.length == 0) {
    Forget(cut.seq);
    return;
  }
  Sequence* const oldest = kept_.front().get();
  Promise(oldest->seq == cut.seq, "sequence ", cut.seq, " is not the one to cut");
  oldest->cached = cut.length;
  DropAll(oldest, cut.length / block_tokens_);
  tree_.Cut(&oldest->mark, cut.length / block_tokens_);
}

void BlockCache::Grew(Sequence* sequence, std::size_t) {
  const std::size_t before = PromiseOf(*sequence);
  std::vector<std::uint32_t>& blocks = sequence->blocks;
  if (!blocks.empty()) Fill(blocks.back(), TokensIn(*sequence, blocks.size() - 1));
  while (blocks.size() < BlocksFor(sequence->cached)) blocks.push_back(Take(TokensIn(*sequence, blocks.size())));
  Promised(sequence, before);
  Index(sequence, false);
}

// Only guesses are given back, and their blocks nobody shares.
void BlockCache::Shrank(Sequence* sequence, std::size_t) {
  const std::size_t before = PromiseOf(*sequence);
  DropAll(sequence, BlocksFor(sequence->cached));
  if (!sequence->blocks.empty()) Fill(sequence->blocks.back(), TokensIn(*sequence, sequence->blocks.size() - 1));
  Promised(sequence, before);
}

void BlockCache::Forked(Group* group) {
  StopReading(group);
  Sequence* const lead = group->rows[0].get();
  Index(lead, true);
  for (std::size_t i = 1; i < group->rows.size(); ++i) {
    Sequence* const row = group->rows[i].get();
    const std::size_t before = PromiseOf(*row);
    ShareFull(*lead, row->cached / block_tokens_, row);
    if (row->cached % block_tokens_ != 0) row->blocks.push_back(Take(row->cached % block_tokens_));
    row->due = lead->due;
    Promised(row, before);
    tree_.Join(&row->mark, row, lead->mark);
  }
}

// Full blocks are the parent's; a last one that is not full stays each row's own.
void BlockCache::Reordered(Group* group, Span<const int> parents) {
  const std::size_t full = group->rows[0]->cached / block_tokens_;
  std::vector<std::vector<std::uint32_t>> taken;
  taken.reserve(parents.size());
  for (const int parent : parents) {
    const std::vector<std::uint32_t>& blocks = group->rows[static_cast<std::size_t>(parent)]->blocks;
    taken.emplace_back(blocks.begin(), blocks.begin() + static_cast<std::ptrdiff_t>(full));
  }
  // Nothing below can fail.
  for (const auto& blocks : taken) {
    for (const std::uint32_t block : blocks) {
      ++blocks_[block].users;
      ++blocks_[block].running;
    }
  }
  for (std::size_t i = 0; i < parents.size(); ++i) {
    std::vector<std::uint32_t>& blocks = group->rows[i]->blocks;
    for (std::size_t b = 0; b < full; ++b) Drop(blocks[b], true);
    std::copy(taken[i].begin(), taken[i].end(), blocks.begin());
  }
}

void BlockCache::Progressed(Sequence* sequence) {
  if (sequence->reserves) return;
  const std::size_t before = PromiseOf(*sequence);
  sequence->due = 0;
  Promised(sequence, before);
}

// ------------------------------------------------------------------------------------------------------ the end

void BlockCache::Keep(std::unique_ptr<Sequence> sequence, std::vector<SeqId>* close) {
  sequence->tokens.resize(std::min(sequence->tokens.size(), sequence->cached));
  sequence->lasting = Sequence::kAll;
  Index(sequence.get(), true);
  if (PrefixTree::Length(sequence->mark) < limits_.min_prefix) {
    Release(sequence.get());
    close->push_back(sequence->seq);
    return;
  }
  promised_ -= PromiseOf(*sequence);
  sequence->due = 0;
  --running_rows_;
  for (const std::uint32_t block : sequence->blocks) in_use_ -= --blocks_[block].running == 0 ? 1 : 0;
  sequence->owner = 0;
  sequence->tokens = {};  // the tree has them
  // Kept sequences that it begins with can serve nothing that it cannot.
  PrefixTree::VisitBeginnings(sequence->mark, [&](const Sequence* other) {
    if (other->owner != 0) return;
    close->push_back(other->seq);
    Forget(other->seq);
  });
  kept_.push_back(std::move(sequence));  // Admit saw to the room
}

void BlockCache::Release(Sequence* sequence) {
  if (sequence->owner != 0) --running_rows_;
  promised_ -= PromiseOf(*sequence);
  sequence->due = 0;
  DropAll(sequence, 0);
  tree_.Remove(&sequence->mark);
}

// ------------------------------------------------------------------------------------------------------- blocks

std::size_t BlockCache::PromiseOf(const Sequence& sequence) {
  return sequence.due - std::min(sequence.due, sequence.blocks.size());
}

/// What the sequence is promised has changed from `before`.
void BlockCache::Promised(Sequence* sequence, std::size_t before) {
  promised_ = promised_ - before + PromiseOf(*sequence);
}

/// A block for a running sequence, with `tokens` in it.
std::uint32_t BlockCache::Take(std::size_t tokens) {
  std::uint32_t block = 0;
  if (!free_.empty()) {
    block = free_.back();
    free_.pop_back();
  } else {
    block = static_cast<std::uint32_t>(blocks_.size());
    blocks_.emplace_back();
  }
  blocks_[block] = Block{1, 1, static_cast<std::uint32_t>(tokens)};
  ++in_use_;
  cached_tokens_ += tokens;
  return block;
}

void BlockCache::ShareFull(const Sequence& from, std::size_t blocks, Sequence* to) {
  for (std::size_t i = 0; i < blocks; ++i) {
    Block& block = blocks_[from.blocks[i]];
    ++block.users;
    if (block.running++ == 0) ++in_use_;
    to->blocks.push_back(from.blocks[i]);
  }
}

void BlockCache::Drop(std::uint32_t index, bool running) {
  Block& block = blocks_[index];
  if (running && --block.running == 0) --in_use_;
  if (--block.users != 0) return;
  cached_tokens_ -= block.tokens;
  free_.push_back(index);
}

/// All but the first `keep` blocks of the sequence.
void BlockCache::DropAll(Sequence* sequence, std::size_t keep) {
  while (sequence->blocks.size() > keep) {
    Drop(sequence->blocks.back(), sequence->owner != 0);
    sequence->blocks.pop_back();
  }
}

void BlockCache::Fill(std::uint32_t block, std::size_t tokens) {
  cached_tokens_ = cached_tokens_ - blocks_[block].tokens + tokens;
  blocks_[block].tokens = static_cast<std::uint32_t>(tokens);
}

// Without memory it is found by less than it has.
void BlockCache::Index(Sequence* sequence, bool whole) {
  if (!limits_.prefix_cache) return;
  const std::size_t certain = std::min({sequence->cached, sequence->certain(), sequence->lasting});
  const Span<const TokenId> tokens(sequence->tokens.data(), certain);
  try {
    whole ? tree_.GrowWhole(&sequence->mark, tokens) : tree_.Grow(&sequence->mark, tokens);
  } catch (const std::bad_alloc&) {
  }
}

void BlockCache::CheckInvariants(const Groups& running) const {
  std::vector<Block> counted(blocks_.size());
  std::size_t promised = 0, rows = 0;
  const auto count = [&](const Sequence& sequence, bool runs) {
    Promise(sequence.blocks.size() == BlocksFor(sequence.cached), "sequence ", sequence.seq, " of ", sequence.cached,
            " tokens holds ", sequence.blocks.size(), " blocks");
    promised += PromiseOf(sequence);
    for (std::size_t i = 0; i < sequence.blocks.size(); ++i) {
      Block& block = counted[sequence.blocks[i]];
      ++block.users;
      if (runs) ++block.running;
      block.tokens = static_cast<std::uint32_t>(TokensIn(sequence, i));
    }
  };
  for (const auto& group : running) {
    for (const auto& row : group->rows) {
      if (row == nullptr) continue;
      count(*row, true);
      ++rows;
    }
  }
  for (const auto& sequence : kept_) count(*sequence, false);
  std::size_t in_use = 0, cached = 0, free = 0;
  for (std::size_t i = 0; i < counted.size(); ++i) {
    Promise(counted[i].users == blocks_[i].users, "block ", i, " has ", counted[i].users, " users, ", blocks_[i].users,
            " are counted");
    Promise(counted[i].running == blocks_[i].running || counted[i].users == 0, "block ", i, " has ", counted[i].running,
            " running users, ", blocks_[i].running, " are counted");
    if (counted[i].running != 0) ++in_use;
    if (counted[i].users == 0) ++free;
    cached += counted[i].tokens;
  }
  Promise(rows == running_rows_, rows, " rows run, the cache counts ", running_rows_);
  Promise(free == free_.size(), free, " blocks are free, ", free_.size(), " are counted");
  Promise(in_use == in_use_, in_use, " blocks are in use, ", in_use_, " are counted");
  Promise(promised == promised_, promised, " blocks are promised, ", promised_, " are counted");
  Promise(cached == cached_tokens_, cached, " tokens are cached, ", cached_tokens_, " are counted");
  Promise(in_use + promised <= capacity_, in_use, " blocks are in use and ", promised, " promised of ", capacity_);
}

}  // namespace skywork_rt
