#include "text/text_stream.h"

#include <algorithm>
#include <string_view>

namespace skywork_rt {

namespace {

bool SpellsSpecial(const Vocabulary& vocabulary, const std::string& text) {
  const std::vector<TokenId>& special = vocabulary.special_ids();
  return std::any_of(special.begin(), special.end(), [&](TokenId id) {
    const std::string_view bytes = vocabulary.bytes(id);
    return !bytes.empty() && text.find(bytes) != std::string::npos;
  });
}

}  // namespace

TextStream::TextStream(const Vocabulary& vocabulary, Span<const std::string> stop, bool include_stop, bool skip_special,
                       Span<const TokenId> shown)
    : vocabulary_(&vocabulary), decoder_(vocabulary, skip_special, shown), matcher_(include_stop) {
  for (const std::string& text : stop) {
    const bool spells_special = skip_special && SpellsSpecial(vocabulary, text);
    matches_special_ = matches_special_ || spells_special;
    matcher_.Add(text, spells_special);
  }
}

void TextStream::Continue(Span<const TokenId> prompt) {
  decoder_.Continue(prompt);
}

void TextStream::Push(TokenId token, std::string* text) {
  if (stopped()) return;
  decoded_.clear();
  decoder_.Push(token, &decoded_);
  if (matches_special_ && decoder_.IsSkipped(token)) matcher_.PushHidden(vocabulary_->bytes(token), text);
  matcher_.Push(decoded_, text);
}

void TextStream::Finish(std::string* text) {
  if (stopped()) return;
  decoded_.clear();
  decoder_.Finish(&decoded_);
  matcher_.Push(decoded_, text);
  if (!stopped()) matcher_.Finish(text);
}

}  // namespace skywork_rt
