#include "text/text_stream.h"

#include <gtest/gtest.h>

#include <algorithm>
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

std::vector<Vocabulary> Vocabularies() {
  std::vector<Vocabulary> all = {ByteLevelFile().Parse()};
  for (const std::uint32_t flags : {0u, 1u, 3u}) {
    all.push_back(SentencePieceFile(Vocabulary::Kind::kSentencePiece, flags).Parse());
  }
  for (const std::uint32_t flags : {0u, 1u}) {
    all.push_back(SentencePieceFile(Vocabulary::Kind::kByteFallback, flags).Parse());
  }
  return all;
}

// Ids as a bad model gives them: pieces, broken characters, special tokens, whole characters in bytes.
std::vector<TokenId> RandomIds(const Vocabulary& vocabulary, std::mt19937* generator) {
  const std::string characters[] = {"\xE4\xBD\xA0", "\xF0\x9F\x98\x80", "\xC3\xA9", "A", " "};
  const std::size_t specials = vocabulary.kind() == Vocabulary::Kind::kByteLevel ? 2 : 3;
  std::vector<TokenId> ids;
  while (ids.size() < 2 + (*generator)() % 24) {
    const auto choice = (*generator)() % 8;
    if (choice < 3) {
      for (const char byte : characters[(*generator)() % 5]) {
        ids.push_back(static_cast<TokenId>(specials + static_cast<unsigned char>(byte)));
      }
    } else if (choice < 6) {
      const std::size_t pieces = specials + 256;
      ids.push_back(static_cast<TokenId>(pieces + (*generator)() % (vocabulary.size() - pieces)));
    } else if (choice < 7) {
      ids.push_back(static_cast<TokenId>((*generator)() % specials));
    } else {
      ids.push_back(static_cast<TokenId>((*generator)() % vocabulary.size()));
    }
  }
  return ids;
}

TEST(TextStream, PiecesAreTheFullDecodeAndWholeCharacters) {
  std::mt19937 generator(2024);
  for (const Vocabulary& vocabulary : Vocabularies()) {
    for (int round = 0; round < 10000; ++round) {
      const std::vector<TokenId> ids = RandomIds(vocabulary, &generator);
      const bool skip = generator() % 2 == 0;
      TextStream stream(vocabulary, {}, false, skip);
      std::string text;
      for (const TokenId id : ids) {
        std::string piece;
        stream.Push(id, &piece);
        ASSERT_TRUE(IsValidUtf8(piece));
        text += piece;
      }
      stream.Finish(&text);
      ASSERT_EQ(text, vocabulary.Decode(ids, skip));
    }
  }
}

// What is given out early must be part of the text however the ids go on.
TEST(TextStream, GivesOutOnlyWhatEveryContinuationKeeps) {
  std::mt19937 generator(5);
  for (const Vocabulary& vocabulary : Vocabularies()) {
    for (int round = 0; round < 3000; ++round) {
      std::vector<TokenId> ids = RandomIds(vocabulary, &generator);
      TextStream stream(vocabulary, {}, false, true);
      std::string given;
      for (const TokenId id : ids) stream.Push(id, &given);
      for (const TokenId id : RandomIds(vocabulary, &generator)) ids.push_back(id);
      const std::string full = vocabulary.Decode(ids);
      ASSERT_EQ(full.substr(0, given.size()), given);
    }
  }
}

// Prompts end in whole characters: one that does not has no text of its own that anything could continue.
TEST(TextStream, TheTextOfAPromptAndOfWhatContinuesItAreTheTextOfBoth) {
  std::mt19937 generator(41);
  for (const Vocabulary& vocabulary : Vocabularies()) {
    const bool bytes = vocabulary.kind() == Vocabulary::Kind::kByteLevel;
    const TokenId whole = bytes ? 2 + 'A' : 3 + 256;
    for (int round = 0; round < 3000; ++round) {
      std::vector<TokenId> prompt = RandomIds(vocabulary, &generator);
      prompt.resize(generator() % 4);
      const std::vector<TokenId> ids = RandomIds(vocabulary, &generator);
      const bool skip = generator() % 2 == 0;
      const auto is_byte = [&](TokenId id) { return bytes || vocabulary.byte_token(id); };
      if (std::any_of(prompt.begin(), prompt.end(), is_byte)) prompt.push_back(whole);
      TextStream stream(vocabulary, {}, false, skip);
      stream.Continue(prompt);
      std::string text;
      for (const TokenId id : ids) stream.Push(id, &text);
      stream.Finish(&text);
      std::vector<TokenId> both = prompt;
      both.insert(both.end(), ids.begin(), ids.end());
      ASSERT_EQ(vocabulary.Decode(prompt, skip) + text, vocabulary.Decode(both, skip));
    }
  }
}

TEST(TextStream, AStopTextOfASpecialTokenStopsThoughTheTokenIsLeftOut) {
  const Vocabulary vocabulary = SentencePieceFile(Vocabulary::Kind::kSentencePiece, 1).Parse();
  const std::string end(vocabulary.bytes(2));
  for (const bool skip : {true, false}) {
    for (const bool include : {true, false}) {
      for (const std::string& before : {std::string(), std::string("A")}) {
        TextStream stream(vocabulary, std::vector<std::string>{before + end}, include, skip);
        std::string text;
        stream.Push(3 + 'B', &text);
        stream.Push(3 + 'A', &text);
        stream.Push(2, &text);
        EXPECT_TRUE(stream.stopped());
        EXPECT_EQ(text, (before.empty() || include ? "BA" : "B") + (include ? end : ""));
      }
    }
  }
}

TEST(TextStream, GivesAByteLevelCharacterOutWithItsLastByte) {
  const Vocabulary vocabulary = ByteLevelFile().Parse();
  TextStream stream(vocabulary, {}, false, true);
  std::string text;
  for (const int byte : {0xF0, 0x9F, 0x98}) {
    stream.Push(2 + byte, &text);
    EXPECT_EQ(text, "");
  }
  stream.Push(2 + 0x80, &text);
  EXPECT_EQ(text, "\xF0\x9F\x98\x80");
}

TEST(TextStream, StopTextsEndTheDecodedTextAcrossTokensAndCharacters) {
  std::mt19937 generator(77);
  const std::vector<std::vector<std::string>> stop_lists = {{"END"},
                                                            {"the"},
                                                            {" "},
                                                            {"\xE4\xBD\xA0"},
                                                            {"\xEF\xBF\xBD"},
                                                            {"a", " the",
                                                             "\xF0\x9F\x98\x80"
                                                             "A"},
                                                            {"AA", "A "}};
  int stopped = 0;
  for (const Vocabulary& vocabulary : Vocabularies()) {
    for (int round = 0; round < 3000; ++round) {
      const std::vector<TokenId> ids = RandomIds(vocabulary, &generator);
      const std::vector<std::string>& stops = stop_lists[generator() % stop_lists.size()];
      const bool include = generator() % 2 == 0;
      const std::string full = vocabulary.Decode(ids);
      std::size_t end = std::string::npos;
      std::size_t length = 0;
      for (const std::string& stop : stops) {
        const std::size_t at = full.find(stop);
        if (at == std::string::npos) continue;
        if (at + stop.size() < end || (at + stop.size() == end && stop.size() > length)) {
          end = at + stop.size();
          length = stop.size();
        }
      }
      TextStream stream(vocabulary, stops, include, true);
      std::string text;
      for (const TokenId id : ids) stream.Push(id, &text);
      stream.Finish(&text);
      ASSERT_EQ(stream.stopped(), end != std::string::npos);
      ASSERT_EQ(text, end == std::string::npos ? full : full.substr(0, include ? end : end - length));
      if (stream.stopped()) {
        ASSERT_EQ(stream.stop_text()->size(), length);
        ++stopped;
      }
    }
  }
  EXPECT_GT(stopped, 3000);
}

TEST(TextStream, NeverLeaksHalfAStopText) {
  const Vocabulary vocabulary = ByteLevelFile().Parse();
  const auto id = [&](const std::string& text) {
    for (TokenId i = 2; i < static_cast<TokenId>(vocabulary.size()); ++i) {
      if (vocabulary.bytes(i) == text) return i;
    }
    throw std::logic_error("no such token: " + text);
  };
  TextStream stream(vocabulary, std::vector<std::string>{"END"}, false, true);
  std::string text;
  stream.Push(id("the"), &text);
  stream.Push(id("E"), &text);
  EXPECT_EQ(text, "the");
  stream.Push(id("E"), &text);
  EXPECT_EQ(text, "theE");
  stream.Push(id("ND"), &text);
  EXPECT_EQ(text, "theE");
  EXPECT_TRUE(stream.stopped());
  stream.Push(id("the"), &text);
  EXPECT_EQ(text, "theE");
}

TEST(TextStream, ShowsTheSpecialTokensThatAreNamedAndSkipsTheOthers) {
  for (const Vocabulary& vocabulary : Vocabularies()) {
    const std::vector<TokenId>& special = vocabulary.special_ids();
    ASSERT_GE(special.size(), 2u);
    const TokenId shown = special[0];
    const TokenId hidden = special[1];
    const std::string seen(vocabulary.bytes(shown));
    const std::string unseen(vocabulary.bytes(hidden));
    // A stop text is found in tokens that are shown, and in those that are hidden.
    for (const std::string& stop : {std::string(), seen, unseen}) {
      const std::vector<std::string> stops = stop.empty() ? std::vector<std::string>{} : std::vector<std::string>{stop};
      TextStream stream(vocabulary, stops, false, true, std::vector<TokenId>{shown});
      std::string text;
      for (const TokenId id : {shown, hidden, shown}) stream.Push(id, &text);
      stream.Finish(&text);
      EXPECT_EQ(text, stop.empty() ? seen + seen : stop == seen ? "" : seen);
      EXPECT_EQ(stream.stopped(), !stop.empty());
    }
  }
}

TEST(TextStream, NamesAnIdThatIsNotInTheVocabulary) {
  const Vocabulary vocabulary = ByteLevelFile().Parse();
  TextStream stream(vocabulary, {}, false, true);
  std::string text;
  EXPECT_THROW(stream.Push(static_cast<TokenId>(vocabulary.size()), &text), Error);
  EXPECT_THROW(stream.Push(-1, &text), Error);
}

}  // namespace
}  // namespace skywork_rt
