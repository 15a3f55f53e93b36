#include "text/vocabulary.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "skywork_rt/error.h"
#include "support/utf8.h"
#include "text/vocabulary_file.h"

namespace skywork_rt {
namespace {

using testing::ByteLevelFile;
using testing::SentencePieceFile;
using testing::VocabularyFile;

ErrorCode CodeOf(const std::string& content) {
  try {
    Vocabulary::Parse(content, "vocab.bin");
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("vocab.bin"), std::string::npos) << error.what();
    return error.code();
  }
  ADD_FAILURE() << "accepted";
  return ErrorCode::kInternal;
}

std::string Changed(std::string content, std::size_t offset, std::uint32_t value) {
  for (std::size_t i = 0; i < 4; ++i) content[offset + i] = static_cast<char>(value >> (8 * i));
  return content;
}

TEST(Vocabulary, HoldsWhatTheFileSays) {
  const Vocabulary vocabulary = ByteLevelFile().Parse();
  EXPECT_EQ(vocabulary.size(), ByteLevelFile().entries.size());
  EXPECT_EQ(vocabulary.kind(), Vocabulary::Kind::kByteLevel);
  EXPECT_TRUE(vocabulary.special(0));
  EXPECT_FALSE(vocabulary.special(2));
  EXPECT_EQ(vocabulary.bytes(2), std::string_view("\0", 1));
  EXPECT_EQ(vocabulary.bytes(2 + 256), "the");
  const Vocabulary pieces = SentencePieceFile(Vocabulary::Kind::kSentencePiece, 1).Parse();
  EXPECT_TRUE(pieces.byte_token(3 + 0x41));
  EXPECT_EQ(pieces.bytes(3 + 0x41), "A");
  EXPECT_TRUE(pieces.strips_leading_space());
  EXPECT_FALSE(pieces.strips_all_leading_spaces());
}

// The texts are what the tokenizers' own libraries give for these ids (tests/python/text compares them live).
TEST(Vocabulary, DecodesSentencePieceAsItsLibrary) {
  const Vocabulary v = SentencePieceFile(Vocabulary::Kind::kSentencePiece, 1).Parse();
  const auto byte = [](int b) { return static_cast<TokenId>(3 + b); };
  const TokenId space_the = 3 + 256, the = space_the + 1, space = space_the + 2;
  const std::vector<TokenId> twice = {space_the, space_the};
  EXPECT_EQ(v.Decode(twice), "the the");
  EXPECT_EQ(v.Decode(std::vector<TokenId>{space, space_the}), " the");
  EXPECT_EQ(v.Decode(std::vector<TokenId>{1, space_the}), "the");
  EXPECT_EQ(v.Decode(std::vector<TokenId>{1, space_the}, false), "<s> the");
  EXPECT_EQ(v.Decode(std::vector<TokenId>{byte(0x41), space_the}), "A the");
  EXPECT_EQ(v.Decode(std::vector<TokenId>{byte(0x20), space_the}), "  the");
  EXPECT_EQ(v.Decode(std::vector<TokenId>{byte(0xE4), byte(0xBD), byte(0xA0)}), "\xE4\xBD\xA0");
  EXPECT_EQ(v.Decode(std::vector<TokenId>{byte(0xE4), byte(0xBD), the}), "\xEF\xBF\xBD\xEF\xBF\xBDthe");
  EXPECT_EQ(v.Decode(std::vector<TokenId>{}), "");
  const Vocabulary all = SentencePieceFile(Vocabulary::Kind::kSentencePiece, 3).Parse();
  EXPECT_EQ(all.Decode(std::vector<TokenId>{space, space, space_the}), "the");
  const Vocabulary none = SentencePieceFile(Vocabulary::Kind::kSentencePiece, 0).Parse();
  EXPECT_EQ(none.Decode(twice), " the the");
}

TEST(Vocabulary, DecodesByteFallbackAsTokenizers) {
  const Vocabulary v = SentencePieceFile(Vocabulary::Kind::kByteFallback, 1).Parse();
  const auto byte = [](int b) { return static_cast<TokenId>(3 + b); };
  const TokenId space_the = 3 + 256;
  const std::string bad = "\xEF\xBF\xBD";
  EXPECT_EQ(v.Decode(std::vector<TokenId>{byte(0xE4), byte(0xBD), byte(0xA0)}), "\xE4\xBD\xA0");
  EXPECT_EQ(v.Decode(std::vector<TokenId>{byte(0xE4), byte(0xBD), byte(0xA0), byte(0x80)}), bad + bad + bad + bad);
  EXPECT_EQ(v.Decode(std::vector<TokenId>{byte(0xE4), byte(0xBD), 1, byte(0xA0)}), "\xE4\xBD\xA0");
  EXPECT_EQ(v.Decode(std::vector<TokenId>{byte(0xE4), byte(0xBD), 1, byte(0xA0)}, false), bad + bad + "<s>" + bad);
  EXPECT_EQ(v.Decode(std::vector<TokenId>{byte(0x20), space_the}), " the");
  EXPECT_EQ(v.Decode(std::vector<TokenId>{space_the}), "the");
}

TEST(Vocabulary, DecodesByteLevelLossily) {
  const Vocabulary v = ByteLevelFile().Parse();
  const TokenId begin = 2 + 256 + 3, end = begin + 1;  // the two halves of a character
  EXPECT_EQ(v.Decode(std::vector<TokenId>{begin, 2 + 0xA0}), "\xE4\xBD\xA0");
  EXPECT_EQ(v.Decode(std::vector<TokenId>{begin, 0, 2 + 0xA0}), "\xE4\xBD\xA0");
  EXPECT_EQ(v.Decode(std::vector<TokenId>{begin, 0, 2 + 0xA0}, false), "\xEF\xBF\xBD<s>\xEF\xBF\xBD");
  EXPECT_EQ(v.Decode(std::vector<TokenId>{2 + 0xE4, end}), "\xE4\xBD\xA0");
  EXPECT_EQ(v.Decode(std::vector<TokenId>{begin, begin}), "\xEF\xBF\xBD\xEF\xBF\xBD");
}

TEST(Vocabulary, NamesAnIdThatIsNotInIt) {
  const Vocabulary v = ByteLevelFile().Parse();
  for (const TokenId id : {-1, static_cast<TokenId>(v.size()), 1 << 30}) {
    try {
      v.Decode(std::vector<TokenId>{5, id});
      FAIL() << id;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
      EXPECT_NE(std::string(error.what()).find(std::to_string(id)), std::string::npos);
    }
  }
}

TEST(Vocabulary, RefusesEveryTruncationAndExtension) {
  const std::string content = SentencePieceFile(Vocabulary::Kind::kSentencePiece, 1).Content();
  for (std::size_t size = 0; size < content.size(); ++size) {
    ASSERT_EQ(CodeOf(content.substr(0, size)), ErrorCode::kCorruptBundle) << size;
  }
  EXPECT_EQ(CodeOf(content + '\0'), ErrorCode::kCorruptBundle);
}

TEST(Vocabulary, RefusesHeadersThatPromiseTooMuch) {
  const std::string content = ByteLevelFile().Content();
  EXPECT_EQ(CodeOf(Changed(content, 0, 0x12345678)), ErrorCode::kCorruptBundle);
  EXPECT_EQ(CodeOf(Changed(content, 4, 2)), ErrorCode::kUnsupported);
  EXPECT_EQ(CodeOf(Changed(content, 8, 3)), ErrorCode::kUnsupported);
  EXPECT_EQ(CodeOf(Changed(content, 12, 4)), ErrorCode::kCorruptBundle);
  for (const std::uint32_t count : {0u, 1u, 0x7FFFFFFFu, 0xFFFFFFFFu}) {
    EXPECT_EQ(CodeOf(Changed(content, 16, count)), ErrorCode::kCorruptBundle) << count;
  }
  EXPECT_EQ(CodeOf(Changed(content, 24, 0xFFFFFFFF)), ErrorCode::kCorruptBundle);
  EXPECT_EQ(CodeOf(Changed(content, 28, 0xFFFFFFFF)), ErrorCode::kCorruptBundle);
}

TEST(Vocabulary, RefusesTextsThatAreNotWhereTheySay) {
  const std::string content = ByteLevelFile().Content();
  EXPECT_EQ(CodeOf(Changed(content, 32, 1)), ErrorCode::kCorruptBundle);           // does not begin at 0
  EXPECT_EQ(CodeOf(Changed(content, 36, 0x7FFFFFFF)), ErrorCode::kCorruptBundle);  // outside, then backwards
  EXPECT_EQ(CodeOf(Changed(content, 40, 1)), ErrorCode::kCorruptBundle);           // backwards
}

TEST(Vocabulary, RefusesEntriesThatBreakTheirFlags) {
  const auto with = [](VocabularyFile::Entry entry) {
    VocabularyFile file = SentencePieceFile(Vocabulary::Kind::kSentencePiece, 0);
    file.entries.push_back(std::move(entry));
    return file.Content();
  };
  EXPECT_EQ(CodeOf(with({"ab", VocabularyFile::kByte})), ErrorCode::kCorruptBundle);
  EXPECT_EQ(CodeOf(with({"", VocabularyFile::kByte})), ErrorCode::kCorruptBundle);
  EXPECT_EQ(CodeOf(with({"a", 8})), ErrorCode::kCorruptBundle);
  EXPECT_EQ(CodeOf(with({"\xE4\xBD", 0})), ErrorCode::kCorruptBundle);
}

// A damaged file is refused, or read as something that is still a vocabulary.
TEST(Vocabulary, SurvivesAnyFlippedByte) {
  for (const VocabularyFile& file : {ByteLevelFile(), SentencePieceFile(Vocabulary::Kind::kSentencePiece, 1)}) {
    const std::string content = file.Content();
    std::mt19937 generator(1);
    for (std::size_t i = 0; i < content.size(); ++i) {
      std::string damaged = content;
      damaged[i] = static_cast<char>(damaged[i] ^ (1 << (generator() % 8)));
      try {
        const Vocabulary vocabulary = Vocabulary::Parse(damaged, "vocab.bin");
        std::vector<TokenId> ids(vocabulary.size());
        for (std::size_t id = 0; id < ids.size(); ++id) ids[id] = static_cast<TokenId>(id);
        EXPECT_TRUE(IsValidUtf8(vocabulary.Decode(ids, false)));
      } catch (const Error& error) {
        EXPECT_TRUE(error.code() == ErrorCode::kCorruptBundle || error.code() == ErrorCode::kUnsupported);
      }
    }
  }
}

TEST(Vocabulary, LoadsAFileOfTheModelsSize) {
  const std::filesystem::path path = std::filesystem::path(::testing::TempDir()) / "skywork_rt_vocab.bin";
  std::ofstream(path, std::ios::binary) << ByteLevelFile().Content();
  const std::size_t size = ByteLevelFile().entries.size();
  EXPECT_EQ(Vocabulary::Load(path, size).size(), size);
  EXPECT_EQ(Vocabulary::Load(path).size(), size);
  try {
    Vocabulary::Load(path, size + 1);
    ADD_FAILURE() << "accepted another model's vocabulary";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCorruptBundle);
  }
  std::filesystem::remove(path);
  try {
    Vocabulary::Load(path);
    ADD_FAILURE() << "accepted a missing file";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kNotFound);
  }
}

}  // namespace
}  // namespace skywork_rt
