#include "text/incremental_decoder.h"

#include <algorithm>
#include <string_view>

#include "support/utf8.h"

namespace skywork_rt {

bool IncrementalDecoder::IsSkipped(TokenId token) const {
  return skip_special_ && vocabulary_->special(token) && std::find(shown_.begin(), shown_.end(), token) == shown_.end();
}

void IncrementalDecoder::Continue(Span<const TokenId> prompt) {
  for (std::size_t i = 0; i < prompt.size() && at_start_; ++i) {
    vocabulary_->CheckId(prompt[i]);
    if (!IsSkipped(prompt[i])) PassStart(prompt[i]);
  }
}

// What Push does to at_start_, without its text.
void IncrementalDecoder::PassStart(TokenId token) {
  if (vocabulary_->kind() == Vocabulary::Kind::kSentencePiece && !vocabulary_->byte_token(token)) {
    WithoutStartSpace(token);
  } else if (!vocabulary_->bytes(token).empty()) {
    at_start_ = false;
  }
}

void IncrementalDecoder::Push(TokenId token, std::string* text) {
  vocabulary_->CheckId(token);
  switch (vocabulary_->kind()) {
    case Vocabulary::Kind::kByteLevel: PushByteLevel(token, text); break;
    case Vocabulary::Kind::kSentencePiece: PushSentencePiece(token, text); break;
    case Vocabulary::Kind::kByteFallback: PushByteFallback(token, text); break;
  }
}

void IncrementalDecoder::Finish(std::string* text) {
  switch (vocabulary_->kind()) {
    case Vocabulary::Kind::kByteLevel: Flush(Replace::kMaximalSubpart, true, text); break;
    case Vocabulary::Kind::kSentencePiece: Flush(Replace::kEachByte, true, text); break;
    case Vocabulary::Kind::kByteFallback: EndFallbackRun(text); break;
  }
}

void IncrementalDecoder::Flush(Replace replace, bool final, std::string* text) {
  pending_.erase(0, AppendUtf8(pending_, replace, final, text));
}

void IncrementalDecoder::PushByteLevel(TokenId token, std::string* text) {
  if (IsSkipped(token)) return;
  pending_.append(vocabulary_->bytes(token));
  Flush(Replace::kMaximalSubpart, false, text);
}

void IncrementalDecoder::PushSentencePiece(TokenId token, std::string* text) {
  if (IsSkipped(token)) return;
  if (vocabulary_->byte_token(token)) {
    at_start_ = false;
    pending_.append(vocabulary_->bytes(token));
    Flush(Replace::kEachByte, false, text);
    return;
  }
  Flush(Replace::kEachByte, true, text);
  text->append(WithoutStartSpace(token));
}

// SentencePiece's dummy prefix, where the text begins with an ordinary piece.
std::string_view IncrementalDecoder::WithoutStartSpace(TokenId token) {
  std::string_view piece = vocabulary_->bytes(token);
  if (at_start_ && vocabulary_->strips_start() && !vocabulary_->special(token) && !piece.empty() &&
      piece.front() == ' ') {
    piece.remove_prefix(1);
    if (!vocabulary_->strips_all_leading_spaces()) at_start_ = false;
  }
  if (!piece.empty()) at_start_ = false;
  return piece;
}

void IncrementalDecoder::PushByteFallback(TokenId token, std::string* text) {
  if (IsSkipped(token)) return;
  if (vocabulary_->byte_token(token)) {
    pending_.append(vocabulary_->bytes(token));
    return;
  }
  EndFallbackRun(text);
  AppendStripped(vocabulary_->bytes(token), text);
}

// A run is text only if all of it is, so nothing of it is certain before its end.
void IncrementalDecoder::EndFallbackRun(std::string* text) {
  if (pending_.empty()) return;
  if (IsValidUtf8(pending_)) {
    AppendStripped(pending_, text);
  } else {
    for (std::size_t i = 0; i < pending_.size(); ++i) text->append(kReplacement);
    at_start_ = false;
  }
  pending_.clear();
}

void IncrementalDecoder::AppendStripped(std::string_view part, std::string* text) {
  if (part.empty()) return;
  if (at_start_ && vocabulary_->strips_leading_space() && part.front() == ' ') part.remove_prefix(1);
  at_start_ = false;
  text->append(part);
}

}  // namespace skywork_rt
