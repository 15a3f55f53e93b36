#pragma once

#include <cstddef>

#include "backend/backend.h"
#include "skywork_rt/error.h"
#include "support/format.h"

namespace skywork_rt {

/// What a chunk is measured against.
struct ChunkLimits {
  std::size_t length = 0;    // tokens that its sequence has cached
  std::size_t reserved = 0;  // and may have
  std::size_t max_chunk = 0;
  int vocab_size = 0;
};

/// Throws what Backend::Forward throws for one chunk that it refuses. Every backend owes its callers the same checks.
inline void CheckChunk(const Chunk& chunk, const ChunkLimits& limits) {
  const std::size_t count = chunk.tokens.size();
  if (count == 0 || count > limits.max_chunk) {
    throw Error(ErrorCode::kInvalidArgument, StrCat("a chunk of ", count, " tokens for sequence ", chunk.seq,
                                                    "; it must have 1 to ", limits.max_chunk));
  }
  if (count > limits.reserved - limits.length) {
    throw Error(ErrorCode::kCapacity, StrCat("sequence ", chunk.seq, " holds ", limits.length, " of its ",
                                             limits.reserved, " reserved tokens; ", count, " more do not fit"));
  }
  for (const TokenId token : chunk.tokens) {
    if (token < 0 || token >= limits.vocab_size) {
      throw Error(ErrorCode::kInvalidArgument,
                  StrCat("token id ", token, " is outside of the vocabulary: 0 <= id < ", limits.vocab_size));
    }
  }
  int previous = -1;
  for (const int row : chunk.logit_rows) {
    if (row <= previous || row >= static_cast<int>(count)) {
      throw Error(ErrorCode::kInvalidArgument,
                  StrCat("logit row ", row, " of a chunk of ", count, " tokens: rows must ascend and lie inside"));
    }
    previous = row;
  }
}

}  // namespace skywork_rt
