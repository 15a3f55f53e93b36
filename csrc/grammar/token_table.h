#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "skywork_rt/model_spec.h"
#include "text/vocabulary.h"

namespace skywork_rt::grammar {

/// What each id stands for, as llguidance wants it: bytes in a row, and a marker before the names of special tokens.
///
/// It numbers the model's ids as the model does, and adds some of its own behind them:
///  - for a vocabulary whose texts lose a leading space (SentencePiece), the pieces that begin with one, without it, so
///    that a grammar sees the first word of an output as the text will have it;
///  - at last one that says that the output may end. Which of the model's ids end it depends on the request.
/// Rows of the model beyond its vocabulary, unused ids and single bytes that no text has stand for nothing, and are
/// never allowed.
class TokenTable {
 public:
  /// `rows`: ModelSpec::vocab_size, at least the vocabulary's size.
  TokenTable(const Vocabulary& vocabulary, std::size_t rows);

  const std::vector<std::uint32_t>& lengths() const { return lengths_; }
  const std::vector<std::uint8_t>& bytes() const { return bytes_; }
  /// Of the model.
  std::size_t rows() const { return rows_; }
  /// All ids, those added included.
  std::size_t size() const { return lengths_.size(); }
  /// Says that the output may end here.
  TokenId end() const { return static_cast<TokenId>(size() - 1); }

  /// A piece that begins with a space, and its twin without.
  struct Twin {
    TokenId id;
    TokenId stripped;  // -1: nothing is left of it, so that it never begins a text
  };
  /// Ascending by id.
  const std::vector<Twin>& twins() const { return twins_; }
  /// The id to give to the grammar where `id` begins a text.
  TokenId AtStart(TokenId id) const;

 private:
  void Add(std::string_view text, bool special);

  std::size_t rows_;
  std::vector<std::uint32_t> lengths_;
  std::vector<std::uint8_t> bytes_;
  std::vector<Twin> twins_;
};

}  // namespace skywork_rt::grammar
