#include "text/vocabulary_file.h"

namespace skywork_rt::testing {
namespace {

void AppendNumber(std::string* out, std::uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out->push_back(static_cast<char>(value >> (8 * i)));
}

}  // namespace

std::string VocabularyFile::Content() const {
  std::string blob;
  std::string offsets;
  std::string entry_flags;
  AppendNumber(&offsets, 0, 4);
  for (const Entry& entry : entries) {
    blob += entry.text;
    AppendNumber(&offsets, blob.size(), 4);
    entry_flags.push_back(static_cast<char>(entry.flags));
  }
  std::string content = "SKVB";
  for (const std::uint32_t value : {1u, kind, flags, static_cast<std::uint32_t>(entries.size()), 0u}) {
    AppendNumber(&content, value, 4);
  }
  AppendNumber(&content, blob.size(), 8);
  content += offsets + entry_flags;
  content.resize((content.size() + 7) / 8 * 8, '\0');
  return content + blob;
}

VocabularyFile ByteLevelFile() {
  VocabularyFile file;
  file.entries = {{"<s>", VocabularyFile::kSpecial}, {"</s>", VocabularyFile::kSpecial}};
  for (int byte = 0; byte < 256; ++byte) file.entries.push_back({std::string(1, static_cast<char>(byte))});
  for (const char* text :
       {"the", " the", " a", "\xE4\xBD", "\xBD\xA0", "\xA0\xE5", "\xF0\x9F", "\x98\x80", "\xF0\x9F\x98",
        "\xE4\xBD\xA0\xE5\xA5\xBD", "\xED\xA0", "\xE0\x80", "\xF4\x90", "", "END", "E", "ND"}) {
    file.entries.push_back({text});
  }
  return file;
}

VocabularyFile SentencePieceFile(Vocabulary::Kind kind, std::uint32_t flags) {
  VocabularyFile file;
  file.kind = static_cast<std::uint32_t>(kind);
  file.flags = flags;
  file.entries = {
      {"<unk>", VocabularyFile::kSpecial}, {"<s>", VocabularyFile::kSpecial}, {"</s>", VocabularyFile::kSpecial}};
  for (int byte = 0; byte < 256; ++byte) {
    file.entries.push_back({std::string(1, static_cast<char>(byte)), VocabularyFile::kByte});
  }
  for (const char* text :
       {" the", "the", " ", "  ", "  x", "\xE4\xBD\xA0", " \xE5\xA5\xBD", "", ".", "END", "E", "ND"}) {
    file.entries.push_back({text});
  }
  return file;
}

}  // namespace skywork_rt::testing
