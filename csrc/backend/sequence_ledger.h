#pragma once

#include <cstddef>
#include <unordered_map>

#include "backend/backend.h"
#include "skywork_rt/export.h"
#include "skywork_rt/span.h"

namespace skywork_rt {

/// Which sequences a backend without blocks has open, what they have reserved and how much of it is cached; and the
/// checks that every such backend owes its callers. It holds no keys and values, and each member either does all of
/// what it says or throws Error and changes nothing.
class SKYWORK_RT_API SequenceLedger {
 public:
  /// Of `traits` it looks at max_batch, max_cached_tokens, max_chunk, can_fork and can_truncate. `max_length`: most
  /// tokens of one sequence.
  SequenceLedger(int vocab_size, std::size_t max_length, const Traits& traits)
      : vocab_size_(vocab_size), max_length_(max_length), traits_(traits) {}

  /// As Backend::Open.
  SeqId Open(std::size_t max_tokens);
  std::size_t Length(SeqId seq) const { return Find(seq).length; }
  std::size_t reserved(SeqId seq) const { return Find(seq).reserved; }
  /// Throws what Backend::Forward throws for chunks or logits that it refuses.
  void CheckForward(Span<const Chunk> chunks, Span<const float> logits) const;
  /// The chunks' tokens are cached from now on.
  void Advance(Span<const Chunk> chunks);
  /// Throws what Backend::Reorder, Copy, Truncate and Close throw.
  void CheckReorder(Span<const SeqId> from, Span<const SeqId> to) const;
  void CheckCopy(SeqId from, SeqId to, std::size_t length) const;
  void CheckTruncate(SeqId seq, std::size_t length) const;
  void CheckClose(SeqId seq) const { Find(seq); }
  /// What has been checked has been done.
  void Reorder(Span<const SeqId> from, Span<const SeqId> to);
  void SetLength(SeqId seq, std::size_t length) { sequences_.at(seq).length = length; }
  void Close(SeqId seq);

 private:
  struct Sequence {
    std::size_t reserved = 0;  // tokens
    std::size_t length = 0;
  };

  const Sequence& Find(SeqId seq) const;

  const int vocab_size_;
  const std::size_t max_length_;
  const Traits traits_;
  std::unordered_map<SeqId, Sequence> sequences_;
  std::size_t reserved_ = 0;  // tokens, over all sequences
  SeqId next_ = 1;
};

}  // namespace skywork_rt
