#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "text/vocabulary.h"

namespace skywork_rt::testing {

/// What a vocab.bin says, for tests to write it.
struct VocabularyFile {
  struct Entry {
    std::string text;
    std::uint8_t flags = 0;
  };
  static constexpr std::uint8_t kSpecial = 1;
  static constexpr std::uint8_t kByte = 2;
  static constexpr std::uint8_t kUnused = 4;

  std::uint32_t kind = 0;
  std::uint32_t flags = 0;
  std::vector<Entry> entries;

  std::string Content() const;
  Vocabulary Parse() const { return Vocabulary::Parse(Content(), "vocab.bin"); }
};

/// Special tokens, single bytes and broken pieces of characters: everything a byte-level vocabulary can hold.
VocabularyFile ByteLevelFile();
/// Special tokens, all byte tokens, pieces with and without leading spaces, an empty piece.
VocabularyFile SentencePieceFile(Vocabulary::Kind kind, std::uint32_t flags);

}  // namespace skywork_rt::testing
