#include "text/text_stream.h"

namespace skywork_rt {

TextStream::TextStream(const Vocabulary& vocabulary, Span<const std::string> stop, bool include_stop, bool skip_special)
    : decoder_(vocabulary, skip_special), matcher_(stop, include_stop) {}

void TextStream::Push(TokenId token, std::string* text) {
  if (stopped()) return;
  decoded_.clear();
  decoder_.Push(token, &decoded_);
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
