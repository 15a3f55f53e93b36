#include "text/vocabulary.h"

#include <cstring>
#include <fstream>
#include <utility>

#include "skywork_rt/error.h"
#include "support/format.h"
#include "support/utf8.h"

namespace skywork_rt {
namespace {

constexpr std::size_t kHeaderSize = 32;
constexpr std::uint32_t kVersion = 1;
constexpr std::uint32_t kKinds = 3;
constexpr std::uintmax_t kMaxFileSize = std::uintmax_t{1} << 30;  // far above any vocabulary's
constexpr std::uint32_t kMaxCount = std::uint32_t{1} << 26;       // keeps ids in TokenId and sums in 64 bits
constexpr std::uint32_t kKnownDecodeFlags = 3;
constexpr std::uint8_t kKnownFlags = 7;

// vocab.bin is little endian, whatever the machine.
template <typename T>
T ReadLittleEndian(std::string_view content, std::size_t offset) {
  T value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    value |= static_cast<T>(static_cast<T>(static_cast<std::uint8_t>(content[offset + i])) << (8 * i));
  }
  return value;
}

template <typename... Args>
[[noreturn]] void ThrowCorrupt(const std::string& name, const Args&... what) {
  throw Error(ErrorCode::kCorruptBundle, StrCat(name, ": ", what..., "; export the model again"));
}

struct Header {
  std::uint32_t kind;
  std::uint32_t flags;
  std::uint32_t count;
  std::uint64_t blob_size;
  std::size_t flags_offset;
  std::size_t blob_offset;
};

Header ReadHeader(std::string_view content, const std::string& name) {
  if (content.size() < kHeaderSize) {
    ThrowCorrupt(name, "has ", content.size(), " bytes, but its header alone takes ", kHeaderSize);
  }
  if (content.substr(0, 4) != "SKVB") ThrowCorrupt(name, "does not begin with SKVB, so it is no vocabulary");
  const auto version = ReadLittleEndian<std::uint32_t>(content, 4);
  Header header = {};
  header.kind = ReadLittleEndian<std::uint32_t>(content, 8);
  if (version != kVersion || header.kind >= kKinds) {
    throw Error(ErrorCode::kUnsupported,
                StrCat(name, ": format version ", version, ", kind ", header.kind, ", but this build reads version ",
                       kVersion, " with kinds 0 to ", kKinds - 1, "; install a newer skywork_rt"));
  }
  header.flags = ReadLittleEndian<std::uint32_t>(content, 12);
  if ((header.flags & ~kKnownDecodeFlags) != 0)
    ThrowCorrupt(name, "header flags ", header.flags, " at byte 12 are not 0 to 3");
  header.count = ReadLittleEndian<std::uint32_t>(content, 16);
  if (header.count == 0 || header.count > kMaxCount) {
    ThrowCorrupt(name, "describes ", header.count, " ids, but 1 to ", kMaxCount, " are possible");
  }
  header.blob_size = ReadLittleEndian<std::uint64_t>(content, 24);
  header.flags_offset = kHeaderSize + 4 * (std::size_t{header.count} + 1);
  header.blob_offset = (header.flags_offset + header.count + 7) / 8 * 8;
  if (header.blob_offset > content.size() || header.blob_size != content.size() - header.blob_offset) {
    ThrowCorrupt(name, "has ", content.size(), " bytes, but ", header.count, " ids with ", header.blob_size,
                 " bytes of text take ", header.blob_offset, " more than the text");
  }
  return header;
}

}  // namespace

Vocabulary Vocabulary::Load(const std::filesystem::path& path, std::size_t expected_size) {
  const std::string name = path.filename().string();
  std::error_code failure;
  const std::uintmax_t size = std::filesystem::file_size(path, failure);
  if (failure) throw Error(ErrorCode::kNotFound, StrCat(path.string(), ": ", failure.message()));
  if (size > kMaxFileSize) ThrowCorrupt(name, "has ", size, " bytes, but a vocabulary never exceeds ", kMaxFileSize);
  std::string content(static_cast<std::size_t>(size), '\0');
  std::ifstream file(path, std::ios::binary);
  if (!file.read(content.data(), static_cast<std::streamsize>(size))) {
    throw Error(ErrorCode::kNotFound, StrCat(path.string(), ": cannot be read"));
  }
  Vocabulary vocabulary = Parse(std::move(content), name);
  if (expected_size != 0 && vocabulary.size() != expected_size) {
    ThrowCorrupt(name, "describes ", vocabulary.size(), " ids, but the model has ", expected_size);
  }
  return vocabulary;
}

Vocabulary Vocabulary::Parse(std::string content, const std::string& name) {
  const Header header = ReadHeader(content, name);
  Vocabulary vocabulary;
  vocabulary.kind_ = static_cast<Kind>(header.kind);
  vocabulary.decode_flags_ = header.flags;
  vocabulary.offsets_.reserve(std::size_t{header.count} + 1);
  for (std::size_t i = 0; i <= header.count; ++i) {
    vocabulary.offsets_.push_back(ReadLittleEndian<std::uint32_t>(content, kHeaderSize + 4 * i));
  }
  const auto* flags = content.data() + header.flags_offset;
  vocabulary.flags_.assign(flags, flags + header.count);
  vocabulary.blob_ = content.substr(header.blob_offset);
  vocabulary.CheckEntries(name);
  for (std::size_t i = 0; i < vocabulary.size(); ++i) {
    const auto id = static_cast<TokenId>(i);
    if (vocabulary.special(id)) vocabulary.special_ids_.push_back(id);
  }
  return vocabulary;
}

void Vocabulary::CheckEntries(const std::string& name) const {
  if (offsets_.front() != 0 || offsets_.back() != blob_.size()) {
    ThrowCorrupt(name, "text offsets run from ", offsets_.front(), " to ", offsets_.back(), ", but must from 0 to ",
                 blob_.size());
  }
  for (std::size_t i = 0; i < size(); ++i) {
    if (offsets_[i] > offsets_[i + 1] || offsets_[i + 1] > blob_.size()) {
      ThrowCorrupt(name, "text of id ", i, " runs from ", offsets_[i], " to ", offsets_[i + 1], " of ", blob_.size());
    }
    const auto id = static_cast<TokenId>(i);
    const std::size_t length = bytes(id).size();
    if (flags_[i] > kKnownFlags)
      ThrowCorrupt(name, "flags of id ", i, " are ", int{flags_[i]}, ", above ", int{kKnownFlags});
    if (byte_token(id) && length != 1) ThrowCorrupt(name, "byte token ", i, " has ", length, " bytes, but must have 1");
    if (kind_ != Kind::kByteLevel && !byte_token(id) && !IsValidUtf8(bytes(id))) {
      ThrowCorrupt(name, "text of id ", i, " is not UTF-8");
    }
  }
}

std::string_view Vocabulary::bytes(TokenId id) const {
  const auto i = static_cast<std::size_t>(id);
  return std::string_view(blob_).substr(offsets_[i], offsets_[i + 1] - offsets_[i]);
}

void Vocabulary::CheckId(TokenId id) const {
  if (id < 0 || static_cast<std::size_t>(id) >= size()) {
    throw Error(ErrorCode::kInvalidArgument,
                StrCat("token id ", id, " is not in the vocabulary, whose ids are 0 to ", size() - 1));
  }
}

std::string Vocabulary::Decode(Span<const TokenId> ids, bool skip_special) const {
  for (const TokenId id : ids) CheckId(id);
  switch (kind_) {
    case Kind::kByteLevel: return DecodeByteLevel(ids, skip_special);
    case Kind::kSentencePiece: return DecodeSentencePiece(ids, skip_special);
    case Kind::kByteFallback: break;
  }
  return DecodeByteFallback(ids, skip_special);
}

std::string Vocabulary::DecodeByteLevel(Span<const TokenId> ids, bool skip_special) const {
  std::string all;
  for (const TokenId id : ids) {
    if (!skip_special || !special(id)) all.append(bytes(id));
  }
  std::string text;
  AppendUtf8(all, Replace::kMaximalSubpart, true, &text);
  return text;
}

std::string Vocabulary::DecodeSentencePiece(Span<const TokenId> ids, bool skip_special) const {
  std::string text;
  std::string run;
  bool stripped = false;
  const auto end_run = [&] {
    AppendUtf8(run, Replace::kEachByte, true, &text);
    run.clear();
  };
  for (const TokenId id : ids) {
    if (skip_special && special(id)) continue;
    std::string_view piece = bytes(id);
    if (byte_token(id)) {
      run.append(piece);
      continue;
    }
    end_run();
    const bool may_strip = strips_start() && text.empty() && !special(id) && (!stripped || strips_all_leading_spaces());
    if (may_strip && !piece.empty() && piece.front() == ' ') {
      piece.remove_prefix(1);
      stripped = true;
    }
    text.append(piece);
  }
  end_run();
  return text;
}

std::string Vocabulary::DecodeByteFallback(Span<const TokenId> ids, bool skip_special) const {
  std::string text;
  std::string run;
  const auto end_run = [&] {
    if (IsValidUtf8(run)) {
      text.append(run);
    } else {
      for (std::size_t i = 0; i < run.size(); ++i) text.append(kReplacement);
    }
    run.clear();
  };
  for (const TokenId id : ids) {
    if (skip_special && special(id)) continue;
    if (byte_token(id)) {
      run.append(bytes(id));
      continue;
    }
    end_run();
    text.append(bytes(id));
  }
  end_run();
  if (strips_leading_space() && !text.empty() && text.front() == ' ') text.erase(0, 1);
  return text;
}

}  // namespace skywork_rt
