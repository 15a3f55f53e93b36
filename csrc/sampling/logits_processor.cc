#include "sampling/logits_processor.h"

#include <algorithm>
#include <limits>

namespace skywork_rt {
namespace {

constexpr float kBanned = -std::numeric_limits<float>::infinity();

}  // namespace

LogitsProcessor::LogitsProcessor(const SamplingParams& params, const ModelSpec& model, Span<const TokenId> prompt)
    : logit_bias_(params.logit_bias),
      bad_words_(params.bad_words_ids),
      min_tokens_(static_cast<std::size_t>(params.min_tokens)),
      repetition_penalty_(params.repetition_penalty),
      presence_penalty_(params.presence_penalty),
      frequency_penalty_(params.frequency_penalty),
      ngram_size_(static_cast<std::size_t>(params.no_repeat_ngram_size)),
      stop_ids_(params, model),
      counts_tokens_(params.repetition_penalty != 1.0f || params.presence_penalty != 0.0f ||
                     params.frequency_penalty != 0.0f),
      keeps_history_(!params.bad_words_ids.empty() || params.no_repeat_ngram_size > 0) {
  if (counts_tokens_) {
    for (const TokenId token : prompt) counts_.AddPrompt(token);
  }
  if (keeps_history_) history_.assign(prompt.begin(), prompt.end());
}

void LogitsProcessor::Apply(Span<float> logits) {
  undo_.clear();
  for (const auto& [token, bias] : logit_bias_) Set(logits, token, logits[static_cast<std::size_t>(token)] + bias);
  ApplyBadWords(logits);
  ApplyMinTokens(logits);
  if (counts_tokens_) ApplyPenalties(logits);
  if (ngram_size_ > 0) ApplyNoRepeatNgram(logits);
}

void LogitsProcessor::Undo(Span<float> logits) {
  // Backwards, because one logit may have been changed more than once.
  for (auto change = undo_.rbegin(); change != undo_.rend(); ++change) {
    logits[static_cast<std::size_t>(change->first)] = change->second;
  }
  undo_.clear();
}

void LogitsProcessor::Accept(TokenId token) {
  ++output_length_;
  if (counts_tokens_) counts_.AddOutput(token);
  if (keeps_history_) history_.push_back(token);
}

void LogitsProcessor::Set(Span<float> logits, TokenId token, float value) {
  float& logit = logits[static_cast<std::size_t>(token)];
  undo_.emplace_back(token, logit);
  logit = value;
}

void LogitsProcessor::ApplyBadWords(Span<float> logits) {
  for (const std::vector<TokenId>& word : bad_words_) {
    const std::size_t begun = word.size() - 1;
    if (begun <= history_.size() &&
        std::equal(word.begin(), word.end() - 1, history_.end() - static_cast<std::ptrdiff_t>(begun))) {
      Set(logits, word.back(), kBanned);
    }
  }
}

void LogitsProcessor::ApplyMinTokens(Span<float> logits) {
  if (output_length_ >= min_tokens_) return;
  for (const TokenId token : stop_ids_.ids()) Set(logits, token, kBanned);
}

void LogitsProcessor::ApplyPenalties(Span<float> logits) {
  for (const TokenCounts::Entry& entry : counts_.entries()) {
    float logit = logits[static_cast<std::size_t>(entry.token)];
    logit = logit < 0.0f ? logit * repetition_penalty_ : logit / repetition_penalty_;
    if (entry.in_output > 0) logit -= presence_penalty_ + frequency_penalty_ * static_cast<float>(entry.in_output);
    Set(logits, entry.token, logit);
  }
}

void LogitsProcessor::ApplyNoRepeatNgram(Span<float> logits) {
  const std::size_t known = ngram_size_ - 1;  // tokens that the next n-gram has already
  if (history_.size() < ngram_size_) return;
  const TokenId* const suffix = history_.data() + history_.size() - known;
  for (std::size_t start = 0; start + known < history_.size(); ++start) {
    if (std::equal(suffix, suffix + known, history_.data() + start)) Set(logits, history_[start + known], kBanned);
  }
}

}  // namespace skywork_rt
