#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

#include "sampling/logits_processor.h"
#include "sampling/sampling_scratch.h"
#include "sampling/stop_ids.h"
#include "skywork_rt/model_spec.h"
#include "skywork_rt/sampling.h"
#include "skywork_rt/span.h"

namespace skywork_rt {

/// How one live beam of the next step comes about: `token` appended to what beam `parent` of this step had.
struct BeamStep {
  int parent = 0;
  TokenId token = 0;
};

/// What ends a beam beside its stop ids: a text that its tokens spell. Follows the live beams of one search.
class BeamEnding {
 public:
  virtual ~BeamEnding() = default;
  /// Whether `token` ends what live beam `parent` has so far.
  virtual bool Ends(std::size_t parent, TokenId token) = 0;
  /// The live beams are replaced by those of the next step.
  virtual void Follow(Span<const BeamStep> steps) = 0;
};

/// A finished beam.
struct Hypothesis {
  enum class End { kLength, kStopId, kEnding };

  std::vector<TokenId> token_ids;                   // the output, what ended it included
  std::vector<std::vector<TokenLogprob>> logprobs;  // of token_ids, as of a sample's; empty when not asked for
  double logprob = 0.0;                             // sum over token_ids of (processed) log-probabilities
  double score = 0.0;                               // logprob / length ** length_penalty
  End end = End::kLength;
};

/// Beam search over one prompt, with the decisions of transformers' beam search: the best
/// max(2, 1 + stop ids) * width continuations are looked at, those that end and are among the best `width` become
/// hypotheses, the others fill the next step; true running sums are compared while running and divided by
/// length ** length_penalty when finished. The search ends at max_tokens, when `width` hypotheses exist and
/// early_stopping is on, or when the best running beam at its present length does not beat the worst hypothesis. A
/// BeamEnding ends beams as a stop id does (transformers' stop_strings), but more continuations are not looked at for
/// it.
///
///     BeamSearch search(params, model, prompt, max_tokens);
///     search.Advance(logits of the prompt's last token: one row, scratch);
///     while (!search.done()) {
///       Reorder the cache from beam steps()[i].parent to beam i; Forward steps()[i].token for each i;
///       search.Advance(width rows, scratch);
///     }
///     search.TakeHypotheses();
///
/// Equal sums are ordered by beam, then by id. The processors of SamplingParams act on log-probabilities, as there.
class BeamSearch {
 public:
  /// `params` have passed Validate. 1 <= max_tokens. `ending`: nullptr when only ids and the length end beams.
  BeamSearch(const SamplingParams& params, const ModelSpec& model, Span<const TokenId> prompt, int max_tokens,
             std::unique_ptr<BeamEnding> ending = nullptr);

  int width() const { return static_cast<int>(width_); }
  /// Takes the raw logits of every live beam, [1, vocab] in the first call and [width, vocab] later, beam by beam; they
  /// are overwritten. Throws kBackend (NaN or +inf, naming the beam), kInvalidArgument (the request's own bans end
  /// every beam before one is finished), kInternal (wrong size, or already done).
  void Advance(Span<float> logits, SamplingScratch* scratch);
  /// The `width` live beams of the next step. Empty when done.
  const std::vector<BeamStep>& steps() const { return steps_; }
  bool done() const { return done_; }
  /// Output tokens of every live beam so far.
  std::size_t length() const { return length_; }
  /// The hypotheses, best score first, 1 to `width`. Call once, when done.
  std::vector<Hypothesis> TakeHypotheses();

 private:
  struct Beam {
    std::vector<TokenId> token_ids;
    double logprob = 0.0;
    LogitsProcessor processor;
    std::vector<TokenLogprob> logprobs;  // 1 + best entries a token, so that a beam is copied without many small ones
    std::vector<std::size_t> logprob_ends;
  };
  struct Continuation {
    std::size_t parent;
    TokenId token;
    double logprob;
  };

  void CollectContinuations(Span<float> logits, SamplingScratch* scratch);
  void AddContinuations(std::size_t parent, const Candidates& candidates);
  Hypothesis::End EndOf(const Continuation& continuation);
  void Finish(const Continuation& continuation, Hypothesis::End end, Span<const float> logits,
              SamplingScratch* scratch);
  void ReplaceBeams(Span<const float> logits, SamplingScratch* scratch);
  bool LastOfParent(std::size_t next) const;
  void AddLogprobs(const Continuation& continuation, Span<const float> logits, SamplingScratch* scratch,
                   Beam* beam) const;
  bool CanImprove() const;
  double Score(double logprob) const;

  std::size_t width_;
  std::size_t vocab_size_;
  std::size_t max_tokens_;
  double length_penalty_;
  bool early_stopping_;
  StopIds stop_ids_;
  std::size_t looked_at_;  // best continuations that a step looks at
  std::size_t length_ = 0;
  bool done_ = false;
  std::vector<Beam> beams_;
  std::vector<BeamStep> steps_;
  std::vector<Continuation> continuations_;  // of this step, best first
  std::vector<Continuation> next_;           // those that run on
  std::vector<Beam> next_beams_;
  std::vector<Hypothesis> hypotheses_;  // best first
  bool reports_logprobs_;
  int best_logprobs_;
  std::vector<TokenId> logprob_token_ids_;
  std::unique_ptr<BeamEnding> ending_;
};

}  // namespace skywork_rt
