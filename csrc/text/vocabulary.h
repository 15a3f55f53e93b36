#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "skywork_rt/export.h"
#include "skywork_rt/model_spec.h"
#include "skywork_rt/span.h"

namespace skywork_rt {

/// How ids become text: what each stands for, and the rules of the tokenizer's own decoder (docs/bundle-format.md,
/// vocab.bin).
class SKYWORK_RT_API Vocabulary {
 public:
  enum class Kind : std::uint32_t {
    /// Byte-level BPE: the bytes of all ids, ill-formed UTF-8 replaced by U+FFFD once a maximal subpart.
    kByteLevel = 0,
    /// SentencePiece: pieces are text; a run of byte tokens is UTF-8 with U+FFFD for each byte that fits nowhere.
    kSentencePiece = 1,
    /// SentencePiece's pieces decoded by the `tokenizers` library: a run of byte tokens is text if all of it is valid,
    /// else U+FFFD for each byte.
    kByteFallback = 2,
  };

  /// Reads and checks a file, which must describe `expected_size` ids (0: any number). Throws kNotFound, kCorruptBundle
  /// (with offset and numbers), kUnsupported (newer version or kind).
  static Vocabulary Load(const std::filesystem::path& path, std::size_t expected_size = 0);
  /// The same from memory. `name` is what errors call it.
  static Vocabulary Parse(std::string content, const std::string& name);

  std::size_t size() const { return flags_.size(); }
  Kind kind() const { return kind_; }
  /// Bytes that `id` stands for; not always whole characters. `id` must be in range.
  std::string_view bytes(TokenId id) const;
  bool special(TokenId id) const { return (flags_[static_cast<std::size_t>(id)] & kSpecial) != 0; }
  /// Ids of all special tokens, ascending.
  const std::vector<TokenId>& special_ids() const { return special_ids_; }
  bool byte_token(TokenId id) const { return (flags_[static_cast<std::size_t>(id)] & kByteToken) != 0; }
  bool unused(TokenId id) const { return (flags_[static_cast<std::size_t>(id)] & kUnused) != 0; }
  /// One of the two below.
  bool strips_start() const { return decode_flags_ != 0; }
  /// The first text of a decode loses one leading space.
  bool strips_leading_space() const { return (decode_flags_ & kStripsLeadingSpace) != 0; }
  /// While there is no text yet, every piece loses its leading space (SentencePiece with remove_extra_whitespaces).
  bool strips_all_leading_spaces() const { return (decode_flags_ & kStripsAllLeadingSpaces) != 0; }

  /// Throws kInvalidArgument with the number when the id is negative or not below size().
  void CheckId(TokenId id) const;
  /// Text of `ids`, always valid UTF-8, equal to the tokenizer's own full decode. Skipped special tokens are as if they
  /// were not there.
  /// Throws kInvalidArgument when an id is out of range.
  std::string Decode(Span<const TokenId> ids, bool skip_special = true) const;

 private:
  static constexpr std::uint8_t kSpecial = 1;
  static constexpr std::uint8_t kByteToken = 2;
  static constexpr std::uint8_t kUnused = 4;
  static constexpr std::uint32_t kStripsLeadingSpace = 1;
  static constexpr std::uint32_t kStripsAllLeadingSpaces = 2;

  Vocabulary() = default;

  void CheckEntries(const std::string& name) const;
  std::string DecodeByteLevel(Span<const TokenId> ids, bool skip_special) const;
  std::string DecodeSentencePiece(Span<const TokenId> ids, bool skip_special) const;
  std::string DecodeByteFallback(Span<const TokenId> ids, bool skip_special) const;

  Kind kind_ = Kind::kByteLevel;
  std::uint32_t decode_flags_ = 0;
  std::vector<std::uint32_t> offsets_;  // size() + 1 positions in blob_
  std::vector<std::uint8_t> flags_;
  std::vector<TokenId> special_ids_;
  std::string blob_;
};

}  // namespace skywork_rt
