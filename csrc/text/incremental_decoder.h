#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "skywork_rt/model_spec.h"
#include "skywork_rt/span.h"
#include "support/utf8.h"
#include "text/vocabulary.h"

namespace skywork_rt {

/// Decodes ids one by one into the text of Vocabulary::Decode, each part as soon as no later id can change it.
class IncrementalDecoder {
 public:
  /// `vocabulary` outlives the decoder. `shown`: special tokens that are not skipped; a few, for they are looked
  /// through at each token.
  IncrementalDecoder(const Vocabulary& vocabulary, bool skip_special, Span<const TokenId> shown = {})
      : vocabulary_(&vocabulary), skip_special_(skip_special), shown_(shown.begin(), shown.end()) {}

  /// Whether Push leaves the token out of the text.
  bool IsSkipped(TokenId token) const;

  /// The text goes on after that of `prompt`: whether it may still lose a leading space is as it is there.
  void Continue(Span<const TokenId> prompt);
  /// Throws kInvalidArgument when an id is out of range.
  void Push(TokenId token, std::string* text);
  /// Whether there is no text yet.
  bool at_start() const { return at_start_; }
  /// Whether the next piece, if it is ordinary and begins with a space, loses that.
  bool strips_next() const { return at_start_ && pending_.empty() && vocabulary_->strips_start(); }
  /// No more ids come: pending bytes become U+FFFD as in a full decode.
  void Finish(std::string* text);

 private:
  void PassStart(TokenId token);
  void PushByteLevel(TokenId token, std::string* text);
  void PushSentencePiece(TokenId token, std::string* text);
  void PushByteFallback(TokenId token, std::string* text);
  void Flush(Replace replace, bool final, std::string* text);
  void EndFallbackRun(std::string* text);
  void AppendStripped(std::string_view part, std::string* text);
  std::string_view WithoutStartSpace(TokenId token);

  const Vocabulary* vocabulary_;
  bool skip_special_;
  std::vector<TokenId> shown_;
  bool at_start_ = true;  // the leading space is still to be dropped
  std::string pending_;   // bytes that are no whole character yet, or a byte run whose validity is open
};

}  // namespace skywork_rt
