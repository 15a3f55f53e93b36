#pragma once

#include <gtest/gtest.h>

#include <map>
#include <utility>
#include <vector>

#include "ascend/reference_device.h"
#include "skywork_rt/error.h"

namespace skywork_rt::ascend {

/// A backend on the reference device, driven as the engine does, which knows what every sequence holds and what its
/// logits must be.
class DeviceHarness {
 public:
  explicit DeviceHarness(Form form, DeviceLimits limits = {})
      : backend_(model_, ReferenceForm(form), limits, OpenReferenceDevice(model_, ReferenceForm(form), &recording)) {}

  SeqId Open(std::size_t max_tokens = 64) {
    const SeqId seq = backend_.Open(max_tokens);
    held_[seq];
    return seq;
  }

  void Close(SeqId seq) {
    backend_.Close(seq);
    held_.erase(seq);
  }

  /// One Forward that computes these tokens of these sequences, with the logits of the last of each, which must be
  /// those behind all that the sequence holds.
  void Step(const std::vector<std::pair<SeqId, std::vector<TokenId>>>& work) {
    const auto vocab = static_cast<std::size_t>(model_.vocab_size);
    std::vector<int> rows;
    std::vector<Chunk> chunks;
    for (const auto& [seq, tokens] : work) rows.push_back(static_cast<int>(tokens.size()) - 1);
    for (std::size_t i = 0; i < work.size(); ++i) {
      chunks.push_back({work[i].first, work[i].second, Span<const int>(&rows[i], 1)});
    }
    std::vector<float> logits(work.size() * vocab);
    backend_.Forward(chunks, logits);
    for (std::size_t i = 0; i < work.size(); ++i) {
      std::vector<TokenId>& held = held_.at(work[i].first);
      held.insert(held.end(), work[i].second.begin(), work[i].second.end());
      const std::vector<float> row(logits.begin() + static_cast<std::ptrdiff_t>(i * vocab),
                                   logits.begin() + static_cast<std::ptrdiff_t>((i + 1) * vocab));
      EXPECT_EQ(row, LogitsBehind(model_, held)) << "sequence " << work[i].first << " of " << held.size() << " tokens";
    }
  }

  DeviceCacheBackend& backend() { return backend_; }
  const RecordedCall& call(std::size_t index) const { return recording.calls.at(index); }
  const RecordedCall& last() const { return recording.calls.back(); }

  Recording recording;

 private:
  const ModelSpec model_ = ReferenceModel();
  DeviceCacheBackend backend_;
  std::map<SeqId, std::vector<TokenId>> held_;
};

/// `head`, and `fill` behind it, `count` values in all.
template <typename T>
std::vector<T> Padded(std::vector<T> head, std::size_t count, T fill) {
  head.resize(count, fill);
  return head;
}

}  // namespace skywork_rt::ascend
