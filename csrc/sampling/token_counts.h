#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "skywork_rt/model_spec.h"

namespace skywork_rt {

/// The distinct tokens of a prompt and its output, with how often the output holds each. A hash table of indices over
/// a dense list, so that penalties walk the list and a vocabulary-sized array per sample is not needed.
class TokenCounts {
 public:
  struct Entry {
    TokenId token;
    std::int32_t in_output;  // 0: in the prompt only
  };

  void AddPrompt(TokenId token) { Find(token); }
  void AddOutput(TokenId token) { ++entries_[Find(token)].in_output; }
  /// In order of first occurrence.
  const std::vector<Entry>& entries() const { return entries_; }

 private:
  std::size_t Find(TokenId token);  // index into entries_, made when missing
  void Grow();
  std::size_t Slot(TokenId token) const;

  std::vector<Entry> entries_;
  std::vector<std::int32_t> slots_;  // index into entries_, -1 when free; a power of two, at most half full
};

}  // namespace skywork_rt
