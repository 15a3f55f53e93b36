#include "backend/sequence_ledger.h"

#include <set>
#include <vector>

#include "backend/chunk_check.h"
#include "skywork_rt/error.h"
#include "support/format.h"

namespace skywork_rt {

SeqId SequenceLedger::Open(std::size_t max_tokens) {
  if (max_tokens == 0) throw Error(ErrorCode::kInvalidArgument, "a sequence must reserve at least one token");
  if (max_tokens > max_length_) {
    throw Error(ErrorCode::kInvalidArgument,
                StrCat("a sequence of ", max_tokens, " tokens: the longest is ", max_length_, " (max_length)"));
  }
  if (max_tokens > traits_.max_cached_tokens - reserved_) {
    const auto code = max_tokens > traits_.max_cached_tokens ? ErrorCode::kCapacity : ErrorCode::kBusy;
    throw Error(code, StrCat("no room for ", max_tokens, " more tokens in the KV cache: ", reserved_, " of ",
                             traits_.max_cached_tokens, " are reserved (max_cached_tokens)"));
  }
  if (sequences_.size() >= static_cast<std::size_t>(traits_.max_batch)) {
    throw Error(ErrorCode::kBusy, StrCat("all ", traits_.max_batch, " sequences are open (max_batch)"));
  }
  sequences_.emplace(next_, Sequence{max_tokens, 0});
  reserved_ += max_tokens;
  return next_++;
}

const SequenceLedger::Sequence& SequenceLedger::Find(SeqId seq) const {
  const auto found = sequences_.find(seq);
  if (found == sequences_.end()) {
    throw Error(ErrorCode::kInvalidArgument, StrCat("there is no open sequence ", seq));
  }
  return found->second;
}

void SequenceLedger::CheckForward(Span<const Chunk> chunks, Span<const float> logits) const {
  std::set<SeqId> seen;
  std::size_t rows = 0;
  for (const Chunk& chunk : chunks) {
    const Sequence& sequence = Find(chunk.seq);
    CheckChunk(chunk, {sequence.length, sequence.reserved, traits_.max_chunk, vocab_size_});
    if (!seen.insert(chunk.seq).second) {
      throw Error(ErrorCode::kInvalidArgument, StrCat("sequence ", chunk.seq, " has two chunks in one step"));
    }
    rows += chunk.logit_rows.size();
  }
  const std::size_t floats = rows * static_cast<std::size_t>(vocab_size_);
  if (logits.size() == floats) return;
  throw Error(ErrorCode::kInvalidArgument,
              StrCat("logits has ", logits.size(), " elements; ", rows, " rows of ", vocab_size_, " take ", floats));
}

void SequenceLedger::Advance(Span<const Chunk> chunks) {
  for (const Chunk& chunk : chunks) sequences_.at(chunk.seq).length += chunk.tokens.size();
}

void SequenceLedger::CheckReorder(Span<const SeqId> from, Span<const SeqId> to) const {
  if (from.size() != to.size()) {
    throw Error(ErrorCode::kInvalidArgument,
                StrCat("Reorder takes as many sources as targets, not ", from.size(), " and ", to.size()));
  }
  std::set<SeqId> sources, targets;
  for (std::size_t i = 0; i < to.size(); ++i) {
    const std::size_t length = Find(from[i]).length, reserved = Find(to[i]).reserved;
    if (!targets.insert(to[i]).second) {
      throw Error(ErrorCode::kInvalidArgument, StrCat("Reorder names sequence ", to[i], " twice as a target"));
    }
    if (!sources.insert(from[i]).second && !traits_.can_fork) {
      throw Error(ErrorCode::kUnsupported, StrCat("Reorder names sequence ", from[i],
                                                  " twice as a source, but this backend cannot fork sequences"));
    }
    if (length > reserved) {
      throw Error(ErrorCode::kCapacity, StrCat("sequence ", from[i], " holds ", length, " tokens; sequence ", to[i],
                                               " has reserved ", reserved));
    }
  }
}

void SequenceLedger::Reorder(Span<const SeqId> from, Span<const SeqId> to) {
  std::vector<std::size_t> lengths;
  lengths.reserve(from.size());
  for (const SeqId source : from) lengths.push_back(Length(source));
  for (std::size_t i = 0; i < to.size(); ++i) SetLength(to[i], lengths[i]);
}

void SequenceLedger::CheckCopy(SeqId from, SeqId to, std::size_t length) const {
  const Sequence& source = Find(from);
  const Sequence& target = Find(to);
  if (!traits_.can_fork) throw Error(ErrorCode::kUnsupported, "this backend cannot copy sequences");
  if (from == to) {
    throw Error(ErrorCode::kInvalidArgument, StrCat("sequence ", from, " cannot be copied to itself"));
  }
  if (length > source.length || length > target.reserved) {
    throw Error(ErrorCode::kInvalidArgument,
                StrCat(length, " tokens cannot be copied: sequence ", from, " holds ", source.length, ", and sequence ",
                       to, " has reserved ", target.reserved));
  }
}

void SequenceLedger::CheckTruncate(SeqId seq, std::size_t length) const {
  const Sequence& sequence = Find(seq);
  if (length > sequence.length) {
    throw Error(ErrorCode::kInvalidArgument,
                StrCat("sequence ", seq, " holds ", sequence.length, " tokens; it cannot be cut to ", length));
  }
  if (!traits_.can_truncate && length != sequence.length) {
    throw Error(ErrorCode::kUnsupported, "this backend cannot cut sequences");
  }
}

void SequenceLedger::Close(SeqId seq) {
  reserved_ -= Find(seq).reserved;
  sequences_.erase(seq);
}

}  // namespace skywork_rt
