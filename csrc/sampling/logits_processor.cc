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
      keeps_history_(!params_->bad_words_ids.empty() || params_->no_repeat_ngram_size > 0),
      bans_ngrams_(params_->no_repeat_ngram_size > 0),
      ngrams_(static_cast<std::size_t>(std::max(1, params_->no_repeat_ngram_size))) {
  if (counts_tokens_) {
    for (const TokenId token : prompt) counts_.AddPrompt(token);
  }
  if (!keeps_history_) return;
  history_.reserve(prompt.size());
  for (const TokenId token : prompt) AddToHistory(token);
}

void LogitsProcessor::Apply(Span<float> logits, LogitChanges* changes, bool may_end_early) const {
  changes->Forget();
  for (const auto& [token, bias] : params_->logit_bias) {
    changes->Set(logits, token, logits[static_cast<std::size_t>(token)] + bias);
  }
  ApplyBadWords(logits, changes);
  if (!may_end_early) ApplyMinTokens(logits, changes);
  if (counts_tokens_) ApplyPenalties(logits, changes);
  if (bans_ngrams_) ApplyNoRepeatNgram(logits, changes);
}

void LogitsProcessor::Accept(TokenId token) {
  ++output_length_;
  if (counts_tokens_) counts_.AddOutput(token);
  if (keeps_history_) AddToHistory(token);
}

void LogitsProcessor::AddToHistory(TokenId token) {
  history_.push_back(token);
  if (bans_ngrams_) ngrams_.Add(Span<const TokenId>(history_));
}

void LogitsProcessor::ApplyBadWords(Span<float> logits, LogitChanges* changes) const {
  for (const std::vector<TokenId>& word : params_->bad_words_ids) {
    const std::size_t begun = word.size() - 1;
    if (begun <= history_.size() &&
        std::equal(word.begin(), word.end() - 1, history_.end() - static_cast<std::ptrdiff_t>(begun))) {
      changes->Set(logits, word.back(), kBanned);
    }
  }
}

void LogitsProcessor::ApplyMinTokens(Span<float> logits, LogitChanges* changes) const {
  if (output_length_ >= static_cast<std::size_t>(params_->min_tokens)) return;
  for (const TokenId token : stop_ids_.ids()) changes->Set(logits, token, kBanned);
}

void LogitsProcessor::ApplyPenalties(Span<float> logits, LogitChanges* changes) const {
  for (const TokenCounts::Entry& entry : counts_.entries()) {
    float logit = logits[static_cast<std::size_t>(entry.token)];
    logit = logit < 0.0f ? logit * params_->repetition_penalty : logit / params_->repetition_penalty;
    if (entry.in_output > 0)
      logit -= params_->presence_penalty + params_->frequency_penalty * static_cast<float>(entry.in_output);
    changes->Set(logits, entry.token, logit);
  }
}

void LogitsProcessor::ApplyNoRepeatNgram(Span<float> logits, LogitChanges* changes) const {
  ngrams_.ForEachNext(Span<const TokenId>(history_), [&](TokenId token) { changes->Set(logits, token, kBanned); });
}

}  // namespace skywork_rt
