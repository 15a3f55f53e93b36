#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "engine/cache/prefix_tree.h"

namespace skywork_rt {

using RequestId = std::uint64_t;

/// What the scheduler must know of a request to place it.
struct Ticket {
  RequestId id = 0;             // unique, never 0
  int priority = 0;             // higher first, equals by arrival
  std::vector<TokenId> prompt;  // not empty; of a request that was preempted: with the output so far
  int rows = 1;                 // sequences that it needs at once: samples or beams
  bool beams = false;           // the rows are beams, whose tokens change (Reorder)
  std::size_t reserve = 0;      // tokens that each of them may hold: prompt + max_tokens
  std::size_t logits_from = 0;  // first prompt position whose logits are wanted; the last one always is
  std::string salt;             // only requests with the same one share cached tokens
};

/// One open backend sequence. A step computes what is in `tokens` and not yet cached: many tokens while the prompt is
/// being read, one when decoding, and what is guessed behind it.
struct Sequence {
  SeqId seq = 0;
  RequestId owner = 0;          // 0: kept for prefix reuse only
  int row = 0;                  // which of its request's sequences, row 0 reads the prompt
  std::vector<TokenId> tokens;  // prompt and output, then guesses
  std::size_t guesses = 0;      // how many of them, the last ones, may turn out wrong (Proposer, LogitsMask::Likely)
  std::size_t cached = 0;       // how many of them the backend holds, <= tokens.size() <= reserved
  std::size_t reserved = 0;     // given to Backend::Open
  bool progressed = false;      // a token has come since its request was admitted
  std::string salt;             // Ticket::salt

  // What BlockCache knows of it.
  std::vector<std::uint32_t> blocks;  // that hold the cached tokens, in order
  std::size_t due = 0;                // blocks that it is promised, those that it holds counted
  bool reserves = true;               // promised all that it may come to; false: a token's, until that has come
  std::size_t lasting = kAll;         // tokens that Reorder leaves as they are
  PrefixTree::Mark mark;              // how far its tokens can be found

  static constexpr std::size_t kAll = static_cast<std::size_t>(-1);

  std::size_t pending() const { return tokens.size() - cached; }
  /// Tokens that are certain.
  std::size_t certain() const { return tokens.size() - guesses; }
};

/// A request whose sequences are open.
struct Group {
  Ticket ticket;
  std::uint64_t arrival = 0;
  std::vector<std::unique_ptr<Sequence>> rows;  // a row that has left is null
  bool reading_prompt = true;                   // only row 0 runs; ends with Fork
  PrefixTree::Mark reading;                     // BlockCache: its prompt, found by those who wait for it
};

using Groups = std::vector<std::unique_ptr<Group>>;

/// How to bring the first request of the queue into the batch. The engine carries it out on the backend, then tells
/// the scheduler by Admit; until then nothing has changed.
struct Admission {
  enum class Reuse {
    kNone,
    kTakeOver,  // row 0 becomes the kept sequence `source`, truncated to `reuse`
    kCopy,      // row 0 is opened and gets the first `reuse` tokens of `source`
  };
  RequestId id = 0;
  int rows = 1;
  std::size_t reserve = 0;
  std::vector<SeqId> evict;  // kept sequences to close first
  Reuse how = Reuse::kNone;
  SeqId source = 0;
  std::size_t source_length = 0;
  std::size_t reuse = 0;             // prompt tokens that need not be computed
  const Sequence* shared = nullptr;  // `source`, until Admit
};

/// The next `count` pending tokens of a sequence.
struct PlannedChunk {
  Sequence* sequence = nullptr;
  std::size_t count = 0;
  std::size_t logit_rows = 0;  // the last so many of them
};

/// What one step computes.
struct StepPlan {
  std::vector<PlannedChunk> decode;
  std::vector<PlannedChunk> prefill;

  bool empty() const { return decode.empty() && prefill.empty(); }
};

}  // namespace skywork_rt
