#pragma once

#include <string>
#include <vector>

#include "skywork_rt/export.h"
#include "skywork_rt/model_spec.h"
#include "skywork_rt/span.h"
#include "text/incremental_decoder.h"
#include "text/stop_matcher.h"
#include "text/vocabulary.h"

namespace skywork_rt {

/// Turns the tokens of one sample into text as they come.
///
/// Only text that no later token can change is given out: whole UTF-8 characters, and nothing that may turn out to
/// be the beginning of a stop text. The pieces together are exactly the text of Vocabulary::Decode, ended at the first
/// stop text: the one that is complete first in the stream, the longest if several end at the same byte. A stop text
/// that holds a special token's text is looked for among special tokens too, also where they are left out of the text.
/// Copies go on independently.
class SKYWORK_RT_API TextStream {
 public:
  /// `vocabulary` outlives the stream. `stop`: valid UTF-8, none empty (Validate checks). `shown`: special tokens that
  /// stay in the text though the others are skipped.
  TextStream(const Vocabulary& vocabulary, Span<const std::string> stop, bool include_stop, bool skip_special,
             Span<const TokenId> shown = {});

  /// The output goes on after `prompt`: before the first Push. Without it the output is a text of its own.
  void Continue(Span<const TokenId> prompt);
  /// Appends the text that `token` made certain to `text`. Does nothing once stopped.
  /// Throws kInvalidArgument when the id is out of range.
  void Push(TokenId token, std::string* text);
  /// Appends what was held back: there are no more tokens. An incomplete character becomes U+FFFD. A stop text
  /// can still become complete here.
  void Finish(std::string* text);

  /// Whether a stop text is complete: the text has ended, whatever is pushed.
  bool stopped() const { return matcher_.matched() != nullptr; }
  /// The stop text, or nullptr. Holds while the stream lives.
  const std::string* stop_text() const { return matcher_.matched(); }

 private:
  const Vocabulary* vocabulary_;
  IncrementalDecoder decoder_;
  StopMatcher matcher_;
  bool matches_special_ = false;  // special tokens are left out of the text, and a stop text spells one
  std::string decoded_;           // scratch
};

}  // namespace skywork_rt
