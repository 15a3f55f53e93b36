#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "skywork_rt/error.h"
#include "skywork_rt/export.h"
#include "skywork_rt/generator_options.h"
#include "skywork_rt/logits_mask.h"
#include "skywork_rt/model_spec.h"
#include "skywork_rt/sampling.h"
#include "skywork_rt/span.h"

namespace skywork_rt {

class Backend;

/// One prompt and what to do with it.
struct Request {
  std::vector<TokenId> prompt;  // 1 <= size, size + max_tokens <= max_length
  SamplingParams sampling;
  int priority = 0;                                   // higher runs first, equals in order of arrival
  std::optional<std::chrono::milliseconds> deadline;  // from submission; passes -> kDeadlineExceeded
  /// With sampling.prompt_logprobs: the first prompt token to report, earlier ones get an empty list. What lies before
  /// may come from the prefix cache, so that scoring many continuations computes their common prompt once.
  std::size_t prompt_logprobs_from = 1;
  /// What may come next; nullptr: every token. Each sample gets a Fork of it. Not with beam search.
  std::shared_ptr<const LogitsMask> mask;
  /// The output is a text of its own, as the answer in a chat is: with SentencePiece it loses the space that begins its
  /// first word. false: it continues the prompt, so that the prompt's text and the output's together are the text of
  /// all ids.
  bool begins_text = false;
  /// sampling.max_tokens is nobody's wish: where the prompt leaves less room, the output ends there, instead of the
  /// request being refused.
  bool clip_max_tokens = false;
  /// Only requests with the same salt share cached tokens: one for each tenant keeps a tenant from finding out, by how
  /// fast the first token comes, what others have asked (vLLM's cache_salt). At most 256 bytes.
  std::string cache_salt;
};

enum class FinishReason {
  kNone,    // still running
  kStop,    // an eos id, a stop id or a stop text
  kLength,  // max_tokens or max_length reached
  kError,   // failed, cancelled or out of time, and Get() throws why; only in the last Update of a callback
};

/// One token and its log-probability (natural logarithm of the softmax of the unprocessed logits).
struct TokenLogprob {
  TokenId token = 0;
  float logprob = 0.0f;
  int rank = 0;  // 1: the likeliest
};

/// What one step added to one sample of a request.
struct Update {
  int sample = 0;                                   // 0 <= sample < n
  std::vector<TokenId> token_ids;                   // new tokens, usually one
  std::string text;                                 // whole UTF-8 characters that became certain; may be empty
  std::vector<std::vector<TokenLogprob>> logprobs;  // a list a new token: the chosen one first, then the best
  FinishReason finish_reason = FinishReason::kNone;
};

/// The eos or stop id, or the stop text, that ended a sample; empty when it ended by length.
using StopReason = std::variant<std::monostate, TokenId, std::string>;

/// One finished sample.
struct Sample {
  std::vector<TokenId> token_ids;  // the ending eos included
  std::string text;                // empty when the bundle has no vocabulary
  FinishReason finish_reason = FinishReason::kNone;
  StopReason stop_reason;
  std::vector<std::vector<TokenLogprob>> logprobs;
  double cumulative_logprob = 0.0;  // of token_ids, when logprobs were asked for; of a beam always: its score before
                                    // the length penalty, penalties and bans included
};

/// Seconds, by a monotonic clock, from submission.
struct Timings {
  double queued = 0.0;       // until the first step
  double first_token = 0.0;  // TTFT
  double total = 0.0;
};

struct Result {
  std::vector<Sample> samples;                             // n of them, best first for beam search
  std::vector<std::vector<TokenLogprob>> prompt_logprobs;  // one list a prompt token, the first one empty
  std::uint64_t seed = 0;                                  // what was used
  std::size_t cached_prompt_tokens = 0;                    // skipped by prefix reuse
  Timings timings;
};

/// Counters since the generator was opened, and what is in it now.
struct Stats {
  std::size_t queued = 0;          // requests waiting
  std::size_t running = 0;         // sequences in the batch
  std::size_t cached_tokens = 0;   // held by running sequences and by the prefix cache; what they share counts once
  std::size_t cache_capacity = 0;  // most that may be held
  std::uint64_t requests = 0;      // submitted and accepted
  std::uint64_t finished = 0;
  std::uint64_t cancelled = 0;
  std::uint64_t failed = 0;
  std::uint64_t refused = 0;  // by Submit: queue full or invalid
  std::uint64_t prompt_tokens = 0;
  std::uint64_t prefix_hit_tokens = 0;  // prompt tokens that prefix reuse skipped
  std::uint64_t generated_tokens = 0;
  std::uint64_t preempted = 0;  // requests sent back to the queue for room (GeneratorOptions::admission)
  std::uint64_t steps = 0;
  double forward_seconds = 0.0;   // inside the backend
  double sampling_seconds = 0.0;  // processors, sampling, text
};

/// Called on the engine's thread after each step that added to the request, and once with FinishReason::kError if it
/// ends badly. It has returned for the last time, and is destroyed, before Get, Next or WaitFor report the end. It must
/// be quick, must not wait for a request, and must not throw. Return false to cancel the request, after which it is
/// called no more but for that last time.
using UpdateCallback = std::function<bool(const Update&)>;

/// Called when Next has something to give without waiting, and at last, with true, when the request has ended.
using NewsCallback = std::function<void(bool ended)>;

namespace internal {
class RequestState;
}

/// A submitted request. Copies refer to the same one; the last one to go does NOT cancel unless `Cancel` was called.
class SKYWORK_RT_API RequestHandle {
 public:
  RequestHandle() = default;
  explicit RequestHandle(std::shared_ptr<internal::RequestState> state) : state_(std::move(state)) {}

  std::uint64_t id() const;
  /// Waits for the next update of any sample. False when the request is over (then `Get` does not block).
  /// Only for requests submitted without a callback.
  bool Next(Update* update);
  /// The same, giving up after `timeout`: empty when nothing came in time.
  std::optional<bool> NextFor(Update* update, std::chrono::milliseconds timeout);
  /// For event loops, which may not wait: they are told when NextFor, with no time at all, has an update for them. The
  /// call with true comes once, after the last update and whatever the end; then Get and NextFor do not wait. Calls
  /// come from the engine's thread, and from this one, here, if there is something already. They must be quick (set a
  /// flag, write to a descriptor), must not use a handle of this request, and must not throw. What is given replaces
  /// what was given before, and is destroyed at the end. Only for requests submitted without a callback.
  void OnNews(NewsCallback on_news);
  /// Waits for the end. Throws the request's Error if it failed, was cancelled or ran out of time.
  Result Get();
  /// True when the request has ended, well or badly, within `timeout`.
  bool WaitFor(std::chrono::milliseconds timeout) const;
  /// Ends the request at the next step and frees its cache. Safe from any thread, any number of times.
  void Cancel();

 private:
  std::shared_ptr<internal::RequestState> state_;
};

/// Owns one model, its KV cache and one engine thread. All members may be called from any thread.
class SKYWORK_RT_API Generator {
 public:
  enum class CloseMode { kFinish, kCancel };

  /// Opens a bundle directory. Throws Error: kNotFound, kCorruptBundle, kUnsupported, kBackendUnavailable,
  /// kInvalidArgument.
  explicit Generator(const std::string& bundle, const GeneratorOptions& options = {});
  /// Runs on a backend of the caller's own (tests, experiments). `options.backend` is not looked at. `vocabulary`: path
  /// of a vocab.bin (docs/bundle-format.md), which makes text of ids; empty: ids in, ids out. Throws what the file's
  /// reader throws, and kInvalidArgument when it has not as many tokens as the backend's model.
  Generator(std::unique_ptr<Backend> backend, const GeneratorOptions& options, const std::string& vocabulary = "");
  ~Generator();  // Close(kCancel); in a callback of its own, a thread does it that is started for this
  Generator(const Generator&) = delete;
  Generator& operator=(const Generator&) = delete;

  /// Checks the request in full and queues it. Throws kInvalidArgument, kUnsupported, kCapacity (it could never fit, or
  /// memory is out), kBusy (the queue is full), kClosed.
  RequestHandle Submit(Request request, UpdateCallback callback = {});
  /// The same, but nothing instead of kBusy; then `request` is untouched, and is not counted as refused.
  std::optional<RequestHandle> TrySubmit(Request* request, UpdateCallback callback = {});
  /// Throws what Submit would throw for this request, but kBusy. Starts and counts nothing.
  void Check(const Request& request) const;
  /// Checks all, then submits all and waits for all; a failing request cancels the others and its Error is thrown. Of
  /// more requests than the queue takes, the others wait here. Throws what Submit throws.
  std::vector<Result> Generate(std::vector<Request> requests);

  const ModelSpec& model() const;
  const GeneratorOptions& options() const;  // with every "auto" and 0 replaced by what was chosen
  Stats stats() const;
  /// Text of `ids` through the bundle's vocabulary. Throws kUnsupported when it has none.
  std::string Decode(Span<const TokenId> ids, bool skip_special_tokens = true) const;
  /// Finishes or cancels what is queued and running, stops the engine thread, and frees the model: weights, cache and
  /// whatever else its backend holds. Afterwards Submit throws kClosed; model(), options(), stats(), Decode and the
  /// handles of requests work on. Idempotent. Throws kInvalidArgument in a callback of this generator, kClosed in a
  /// child of fork().
  void Close(CloseMode mode = CloseMode::kCancel);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace skywork_rt
