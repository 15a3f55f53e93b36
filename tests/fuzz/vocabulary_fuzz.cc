// Any bytes as vocab.bin: refused with a typed error, or a vocabulary whose streamed text is its full decode.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "skywork_rt/error.h"
#include "support/utf8.h"
#include "text/text_stream.h"
#include "text/vocabulary.h"

namespace {

void Check(bool holds) {
  if (!holds) std::abort();
}

void CheckText(const skywork_rt::Vocabulary& vocabulary, const std::vector<skywork_rt::TokenId>& ids, bool skip) {
  const std::string full = vocabulary.Decode(ids, skip);
  Check(skywork_rt::IsValidUtf8(full));
  skywork_rt::TextStream stream(vocabulary, {}, false, skip);
  std::string text;
  for (const skywork_rt::TokenId id : ids) {
    std::string piece;
    stream.Push(id, &piece);
    Check(skywork_rt::IsValidUtf8(piece));
    text += piece;
  }
  stream.Finish(&text);
  Check(text == full);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const std::string content(reinterpret_cast<const char*>(data), size);
    const skywork_rt::Vocabulary vocabulary = skywork_rt::Vocabulary::Parse(content, "vocab.bin");
    std::vector<skywork_rt::TokenId> ids;  // in order, then as the input's own bytes say
    for (std::size_t i = 0; i < vocabulary.size(); ++i) ids.push_back(static_cast<skywork_rt::TokenId>(i));
    for (std::size_t i = 0; i < size; ++i) ids.push_back(static_cast<skywork_rt::TokenId>(data[i] % vocabulary.size()));
    CheckText(vocabulary, ids, true);
    CheckText(vocabulary, ids, false);
  } catch (const skywork_rt::Error& error) {
    const skywork_rt::ErrorCode code = error.code();
    Check(code == skywork_rt::ErrorCode::kCorruptBundle || code == skywork_rt::ErrorCode::kUnsupported);
  }
  return 0;
}
