#include "grammar/token_table.h"

#include <algorithm>
#include <string_view>

namespace skywork_rt::grammar {
namespace {

constexpr char kSpecialMarker = '\xFF';  // llguidance's, a byte that no UTF-8 has
constexpr std::string_view kEndName = "<|end of the grammar|>";

/// Whether a piece loses its leading space where it begins a text, as IncrementalDecoder does it.
bool LosesSpace(const Vocabulary& vocabulary, TokenId id) {
  if (!vocabulary.strips_start() || vocabulary.special(id)) return false;
  if (vocabulary.kind() == Vocabulary::Kind::kSentencePiece && vocabulary.byte_token(id)) return false;
  const std::string_view text = vocabulary.bytes(id);
  return !text.empty() && text.front() == ' ';
}

}  // namespace

TokenTable::TokenTable(const Vocabulary& vocabulary, std::size_t rows) : rows_(std::max(rows, vocabulary.size())) {
  const auto known = static_cast<TokenId>(vocabulary.size());
  for (TokenId id = 0; id < static_cast<TokenId>(rows_); ++id) {
    if (id >= known || vocabulary.unused(id)) {
      Add({}, false);
    } else {
      Add(vocabulary.bytes(id), vocabulary.special(id));
    }
  }
  for (TokenId id = 0; id < known; ++id) {
    if (vocabulary.unused(id) || !LosesSpace(vocabulary, id)) continue;
    const std::string_view text = vocabulary.bytes(id).substr(1);
    twins_.push_back({id, text.empty() ? TokenId{-1} : static_cast<TokenId>(size())});
    if (!text.empty()) Add(text, false);
  }
  Add(kEndName, true);
}

void TokenTable::Add(std::string_view text, bool special) {
  const bool none = text.empty() || (!special && text.front() == kSpecialMarker);
  lengths_.push_back(none ? 0 : static_cast<std::uint32_t>(text.size() + (special ? 1 : 0)));
  if (none) return;
  if (special) bytes_.push_back(static_cast<std::uint8_t>(kSpecialMarker));
  bytes_.insert(bytes_.end(), text.begin(), text.end());
}

TokenId TokenTable::AtStart(TokenId id) const {
  const auto found = std::lower_bound(twins_.begin(), twins_.end(), id,
                                      [](const Twin& twin, TokenId sought) { return twin.id < sought; });
  return found != twins_.end() && found->id == id ? found->stripped : id;
}

}  // namespace skywork_rt::grammar
