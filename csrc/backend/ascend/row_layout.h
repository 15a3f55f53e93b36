#pragma once

#include <optional>
#include <vector>

#include "backend/ascend/cache_layout.h"

namespace skywork_rt::ascend {

/// Forms assign and indexed: a sequence has a row of the cache. A step of one token reads row i of the cache for row i
/// of the batch, whatever batch_index says, so it takes as many rows as the highest sequence in it needs. Those of
/// other sequences and of none are padding, which writes where nothing is kept:
///  - indexed: at the position behind the sequence's tokens, which its next token overwrites;
///  - assign: a token is added to what is there, so no sequence that goes on may be missing from a step; rows of
///    sequences that are closed write into themselves.
/// A prompt's call of the indexed form names its rows, and its padding repeats the first prompt: it writes there what
/// is written anyway.
class RowLayout final : public CacheLayout {
 public:
  explicit RowLayout(DeviceForm form);

  void Open(SeqId seq, std::size_t max_tokens) override;
  void Close(SeqId seq) override;
  void Exchange(Span<const SeqId> from, Span<const SeqId> to, Span<const std::size_t> reserved) override;
  void SetLength(SeqId seq, std::size_t length) override;
  Call Prompts(const std::vector<RowWork>& works) override;
  Call Tokens(const std::vector<RowWork>& works) override;

 private:
  static constexpr SeqId kNobody = 0;
  struct Row {
    SeqId seq = kNobody;
    std::size_t length = 0;
  };

  std::size_t RowOf(SeqId seq) const;
  Feeds Padding(const Gear& gear, std::size_t tokens_per_row) const;
  Call PromptsInPlace(const std::vector<RowWork>& works);
  Call PromptsByIndex(const std::vector<RowWork>& works) const;
  Gear StepGear(const std::vector<RowWork>& works) const;

  const DeviceForm form_;
  std::vector<Row> rows_;
  int batch_ = 0;  // assign: rows of the batch that is under way, which all of its calls have
};

}  // namespace skywork_rt::ascend
