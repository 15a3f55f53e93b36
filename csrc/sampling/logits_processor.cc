#include "sampling/logits_processor.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace skywork_rt {
namespace {

constexpr float kBanned = -std::numeric_limits<float>::infinity();

}  // namespace

LogitsProcessor::LogitsProcessor(std::shared_ptr<const SamplingParams> params, const ModelSpec& model,
                                 Span<const TokenId> prompt)
    : params_(std::move(params)),
      stop_ids_(*params_, model),
      counts_tokens_(params_->repetition_penalty != 1.0f || params_->presence_penalty != 0.0f ||
                     params_->frequency_penalty != 0.0f),
      keeps_history_(!params_->bad_words_ids.empty() || params_->no_repeat_ngram_size > 0) {
  if (counts_tokens_) {
    for (const TokenId token : prompt) counts_.AddPrompt(token);
  }
  if (keeps_history_) history_.assign(prompt.begin(), prompt.end());
}

void LogitsProcessor::Apply(Span<float> logits) {
  undo_.clear();
  for (const auto& [token, bias] : params_->logit_bias)
    Set(logits, token, logits[static_cast<std::size_t>(token)] + bias);
  ApplyBadWords(logits);
  ApplyMinTokens(logits);
  if (counts_tokens_) ApplyPenalties(logits);
  if (params_->no_repeat_ngram_size > 0) ApplyNoRepeatNgram(logits);
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
  for (const std::vector<TokenId>& word : params_->bad_words_ids) {
    const std::size_t begun = word.size() - 1;
    if (begun <= history_.size() &&
        std::equal(word.begin(), word.end() - 1, history_.end() - static_cast<std::ptrdiff_t>(begun))) {
      Set(logits, word.back(), kBanned);
    }
  }
}

void LogitsProcessor::ApplyMinTokens(Span<float> logits) {
  if (output_length_ >= static_cast<std::size_t>(params_->min_tokens)) return;
  for (const TokenId token : stop_ids_.ids()) Set(logits, token, kBanned);
}

void LogitsProcessor::ApplyPenalties(Span<float> logits) {
  for (const TokenCounts::Entry& entry : counts_.entries()) {
    float logit = logits[static_cast<std::size_t>(entry.token)];
    logit = logit < 0.0f ? logit * params_->repetition_penalty : logit / params_->repetition_penalty;
    if (entry.in_output > 0)
      logit -= params_->presence_penalty + params_->frequency_penalty * static_cast<float>(entry.in_output);
    Set(logits, entry.token, logit);
  }
}

void LogitsProcessor::ApplyNoRepeatNgram(Span<float> logits) {
  const auto size = static_cast<std::size_t>(params_->no_repeat_ngram_size);
  const std::size_t known = size - 1;  // tokens that the next n-gram has already
  if (history_.size() < size) return;
  const TokenId* const suffix = history_.data() + history_.size() - known;
  for (std::size_t start = 0; start + known < history_.size(); ++start) {
    if (std::equal(suffix, suffix + known, history_.data() + start)) Set(logits, history_[start + known], kBanned);
  }
}

}  // namespace skywork_rt
