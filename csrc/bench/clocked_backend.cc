#include "bench/clocked_backend.h"

#include <algorithm>

#include "sampling/row_kernels.h"

namespace skywork_rt {
namespace {

double SecondsSince(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

ClockedBackend::ClockedBackend(std::size_t rows, std::size_t vocab_size, std::size_t max_length, Clock* clock)
    : rows_(rows), clock_(clock), row_(vocab_size) {
  model_.name = "clocked";
  model_.architecture = "llama";
  model_.layers = model_.heads = model_.kv_heads = model_.head_dim = 1;
  model_.hidden_size = model_.intermediate_size = 1;
  model_.vocab_size = static_cast<int>(vocab_size);
  model_.max_length = static_cast<int>(max_length);
  std::uint64_t state = 1;
  for (float& logit : row_) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    logit = static_cast<float>(state >> 40) * 0x1p-23f;  // [0, 2)
  }
}

Traits ClockedBackend::traits() const {
  Traits traits;
  traits.max_batch = static_cast<int>(rows_);
  traits.max_chunk = static_cast<std::size_t>(model_.max_length);
  traits.max_cached_tokens = (traits.max_chunk + 16) * rows_;
  traits.block_tokens = 16;  // as native's
  traits.can_fork = true;
  traits.can_truncate = true;
  traits.mixed_steps = true;
  traits.bitwise = true;
  return traits;
}

SeqId ClockedBackend::Open(std::size_t /*max_tokens*/) {
  lengths_[++last_] = 0;
  return last_;
}

void ClockedBackend::Reorder(Span<const SeqId> from, Span<const SeqId> to) {
  std::vector<std::size_t> lengths;
  for (const SeqId seq : from) lengths.push_back(Length(seq));
  for (std::size_t i = 0; i < to.size(); ++i) lengths_.at(to[i]) = lengths[i];
}

bool ClockedBackend::Forward(Span<const Chunk> chunks, Span<float> logits, ForwardWatch* /*watch*/) {
  const double host = SecondsSince(left_);
  if (timing_) clock_->times.host.push_back(host / static_cast<double>(rows_));
  clock_->WaitUntilOpen();
  bool decodes = chunks.size() == rows_;
  for (const Chunk& chunk : chunks) {
    lengths_.at(chunk.seq) += chunk.tokens.size();
    decodes = decodes && chunk.tokens.size() == 1;
  }
  Fill(logits);
  ++step_;
  timing_ = decodes && step_ % 2 == 0;
  if (decodes && !timing_) clock_->times.argmax.push_back(ArgmaxSeconds(logits) / static_cast<double>(rows_));
  left_ = Time::now();
  return true;
}

void ClockedBackend::Fill(Span<float> logits) {
  for (std::size_t i = 0; i < logits.size(); i += row_.size()) {
    std::copy(row_.begin(), row_.end(), logits.begin() + i);
    logits[i + (i / row_.size() + step_ * 7919) % row_.size()] = 4.0f;
  }
}

double ClockedBackend::ArgmaxSeconds(Span<const float> logits) {
  const auto begin = Time::now();
  for (std::size_t i = 0; i < logits.size(); i += row_.size()) {
    const float* row = logits.data() + i;
    found_ += Rows().find(row, row_.size(), Rows().scan(row, row_.size(), nullptr).max);
  }
  return SecondsSince(begin);
}

}  // namespace skywork_rt
