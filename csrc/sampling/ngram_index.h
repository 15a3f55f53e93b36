#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "skywork_rt/model_spec.h"
#include "skywork_rt/span.h"

namespace skywork_rt {

/// The distinct n-grams of a sequence by their first n - 1 tokens. Grows with the sequence, a token at a time, so that
/// what would complete an n-gram a second time is found without looking through the sequence again.
///
/// The sequence itself belongs to the caller, who hands it to every call. About 40 bytes a distinct n-gram.
class NgramIndex {
 public:
  /// For n-grams of `size` tokens, at least 1.
  explicit NgramIndex(std::size_t size = 1);

  /// The sequence has got its last token; call it for each in turn.
  void Add(Span<const TokenId> sequence);

  /// Calls f(token) once for each token that the sequence has had behind its last n - 1 tokens.
  template <typename F>
  void ForEachNext(Span<const TokenId> sequence, F f) const {
    for (std::int32_t i = NewestBehind(sequence); i >= 0;) {
      const Entry& entry = entries_[static_cast<std::size_t>(i)];
      f(sequence[entry.last]);
      i = entry.before;
    }
  }

 private:
  /// An n-gram where it came first.
  struct Entry {
    std::uint32_t last;        // position of its last token
    std::int32_t before;       // the entry before this one that begins alike; -1: none
    std::uint32_t begin_hash;  // of all but its last token
    std::uint32_t hash;
  };
  /// Indices into entries_, -1 when free; a power of two, at most half full.
  using Slots = std::vector<std::int32_t>;

  template <typename Same>
  static std::size_t Probe(const Slots& slots, std::uint32_t hash, Same same);
  bool BeginsLike(const Entry& entry, Span<const TokenId> sequence, std::size_t begin) const;
  std::int32_t NewestBehind(Span<const TokenId> sequence) const;
  void Insert(Span<const TokenId> sequence);
  void Grow();

  std::size_t known_;         // n - 1: what an n-gram begins with
  std::uint64_t leaves_;      // what the token that leaves the window is multiplied by
  std::uint64_t window_ = 0;  // polynomial of the last known_ tokens
  std::vector<Entry> entries_;
  Slots newest_;  // by begin_hash: the newest entry of each beginning
  Slots ngrams_;  // by hash: every entry
};

}  // namespace skywork_rt
