#pragma once

#include <cstddef>
#include <cstdint>

#include "skywork_rt/generator_options.h"
#include "skywork_rt/model_spec.h"
#include "skywork_rt/span.h"

namespace skywork_rt {

/// Names one sequence inside one backend. Never reused while the backend lives.
using SeqId = std::int64_t;

/// What a backend can do. What it cannot, the engine refuses at admission, by name.
struct Traits {
  int max_batch = 1;                  // most sequences open at once
  std::size_t max_cached_tokens = 0;  // most tokens of all open sequences together: see block_tokens
  /// 0: each sequence has room of its own, taken whole by Open and given back by Close. Else sequences take blocks of
  /// so many tokens as they grow, share full ones through Copy and Reorder, and give them back by Truncate and Close;
  /// there are max_cached_tokens / block_tokens of them, rounded up, and Open reserves nothing. A last block that is
  /// not full counts once for each of its sequences, however often it exists.
  std::size_t block_tokens = 0;
  std::size_t max_chunk = 0;    // most tokens of one sequence in one Forward
  std::size_t pass_tokens = 1;  // Forward computes so many tokens at a time: multiples of it are the fastest
  bool can_fork = false;        // Reorder may name one source more than once
  bool can_truncate = false;    // Truncate works
  bool mixed_steps = false;     // one Forward may carry prefill and decode chunks
  /// The first chunk of a sequence should be its whole prompt, and every later one a single token: others are computed
  /// one token at a time, or refused. The engine then neither cuts prompts nor begins them from cached tokens.
  bool whole_prompts = false;
  /// Sequences begin together and go on together: those that have no tokens yet are all in the Forward that computes
  /// the first ones, none begins while others go on, and each Forward has every sequence that goes on. A sequence that
  /// was closed is no longer one. Needs whole_prompts.
  bool static_batch = false;
  bool only_last_logits = false;    // only the last token of a prompt may have logits
  std::size_t bytes_per_token = 0;  // of keys and values, as they are stored; 0: unknown
  bool bitwise = false;             // a sequence's logits do not depend on batch, chunking or threads, to the bit;
                                    // else the engine cuts prompts by the model's shape, never by measured time
};

/// Consecutive new tokens of one sequence. Their positions follow what the sequence has cached.
struct Chunk {
  SeqId seq = 0;
  Span<const TokenId> tokens;  // at least one
  Span<const int> logit_rows;  // ascending indices into `tokens` whose logits are wanted; may be empty
};

/// Says, while a Forward runs, whether it is still wanted.
class SKYWORK_RT_API ForwardWatch {
 public:
  virtual ~ForwardWatch() = default;
  /// Asked on the thread that called Forward, whenever `done` of its `total` parts, which take about the same time, are
  /// computed (0 < done < total): layers, or runs of a graph. True: give it up. Throws nothing, and may not touch the
  /// backend.
  virtual bool GiveUp(std::size_t done, std::size_t total) = 0;
};

/// Owns the weights and the KV cache of one model on one device. Used by one thread at a time.
///
/// Every member either does the whole of what it says or throws Error and leaves all sequences as they were.
class SKYWORK_RT_API Backend {
 public:
  virtual ~Backend() = default;

  virtual const ModelSpec& model() const = 0;
  virtual Traits traits() const = 0;
  /// `options` with what this backend chose where they leave it the choice: "auto" and an empty mmap. Each value, given
  /// as an option, chooses the same again. What a backend does not tell stays as it is.
  virtual GeneratorOptions Chosen(GeneratorOptions options) const { return options; }

  /// Opens an empty sequence that will hold at most `max_tokens` and, without blocks, reserves room for them. Throws
  /// kBusy when other sequences hold the room or too many are open, kCapacity when it could never fit.
  virtual SeqId Open(std::size_t max_tokens) = 0;
  /// Tokens that the sequence has cached.
  virtual std::size_t Length(SeqId seq) const = 0;
  /// Computes and caches the chunks' tokens: prefill, chunked prefill, decode, scoring, mixed. At most one chunk a
  /// sequence. `logits` is [sum of logit_rows, vocab] float32, rows in the order of the chunks. Throws kBusy when there
  /// are not as many free blocks as it takes.
  ///
  /// False: `watch` (not null) gave it up, and all sequences are as they were; `logits` may hold anything. A backend
  /// that cannot stop halfway never asks, and then whoever wants to cancel waits for all of it.
  virtual bool Forward(Span<const Chunk> chunks, Span<float> logits, ForwardWatch* watch) = 0;
  /// The same, to its end.
  void Forward(Span<const Chunk> chunks, Span<float> logits) { Forward(chunks, logits, nullptr); }
  /// Gives each of `to` (open sequences) the cached tokens of its `from`, all at once, as if read before any is
  /// written. Keeps each target's own reservation; throws kCapacity when a source is longer than it.
  virtual void Reorder(Span<const SeqId> from, Span<const SeqId> to) = 0;
  /// Gives `to` the first `length` cached tokens of `from`, another sequence, instead of its own. `length` is at most
  /// Length(from) and what `to` was opened with. Needs can_fork.
  virtual void Copy(SeqId from, SeqId to, std::size_t length) = 0;
  /// Forgets all but the first `length` cached tokens; `length` is at most Length(seq).
  virtual void Truncate(SeqId seq, std::size_t length) = 0;
  /// Frees the sequence. Its id is invalid from then on.
  virtual void Close(SeqId seq) = 0;
};

}  // namespace skywork_rt
