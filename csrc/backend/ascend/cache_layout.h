#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "backend/ascend/device_form.h"
#include "backend/ascend/device_graph.h"
#include "backend/backend.h"
#include "skywork_rt/span.h"

namespace skywork_rt::ascend {

/// Tokens of one sequence in one call: the beginning of its prompt, or one token.
struct RowWork {
  SeqId seq = 0;
  Span<const TokenId> tokens;
  std::size_t length = 0;  // tokens that the sequence has before
};

/// A call, and the row of its batch that each work got.
struct Call {
  Feeds feeds;
  std::vector<std::size_t> rows;
};

/// Where the sequences lie in the cache that the graphs hold, and what a call is fed so that it reads and writes there
/// and nowhere else. Forms differ in this alone.
class CacheLayout {
 public:
  static std::unique_ptr<CacheLayout> For(const DeviceForm& form);

  CacheLayout() = default;
  virtual ~CacheLayout() = default;
  CacheLayout(const CacheLayout&) = delete;
  CacheLayout& operator=(const CacheLayout&) = delete;

  /// Gives an empty sequence its place. Throws kBusy when others have it, kCapacity when there never is such a place.
  virtual void Open(SeqId seq, std::size_t max_tokens) = 0;
  virtual void Close(SeqId seq) = 0;
  /// Each of `to` gets the place of its `from`, which are the same sequences in another order, and room for
  /// `reserved` tokens.
  virtual void Exchange(Span<const SeqId> from, Span<const SeqId> to, Span<const std::size_t> reserved) = 0;
  /// Tokens that the sequence has in its place from now on, those of calls that may yet be undone too.
  virtual void SetLength(SeqId seq, std::size_t length) = 0;

  /// The call of the full graph that reads the beginnings of prompts; their sequences are empty, and a gear holds them.
  virtual Call Prompts(const std::vector<RowWork>& works) = 0;
  /// The call of the incremental graph that computes one token for each.
  virtual Call Tokens(const std::vector<RowWork>& works) = 0;
};

}  // namespace skywork_rt::ascend
