#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace skywork_rt {

/// U+FFFD in UTF-8: stands for bytes that are no character.
constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

/// What the beginning of some bytes is, by the Unicode Standard's table 3-7 of well-formed UTF-8.
struct Utf8Head {
  enum class Kind { kCharacter, kIncomplete, kIllFormed };
  Kind kind;
  /// Bytes of the character; of what there is of it; of the maximal subpart of an ill-formed sequence (at least 1).
  std::size_t length;
};

/// `bytes` is not empty.
Utf8Head ReadUtf8(std::string_view bytes);

/// What becomes of an ill-formed sequence.
enum class Replace {
  kMaximalSubpart,  // one U+FFFD for it (Unicode 3.9, Rust's from_utf8_lossy)
  kEachByte,        // one U+FFFD for its first byte, then read on (SentencePiece)
};

/// Appends to `text` the characters of `bytes`, ill-formed ones replaced, and returns how many bytes were used. An
/// incomplete character at the end is left unused, or, when `final`, replaced.
std::size_t AppendUtf8(std::string_view bytes, Replace replace, bool final, std::string* text);

bool IsValidUtf8(std::string_view bytes);

}  // namespace skywork_rt
