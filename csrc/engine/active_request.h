#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "decode/beam_search.h"
#include "engine/request_state.h"
#include "sampling/sampler.h"
#include "sampling/sampling_scratch.h"
#include "skywork_rt/generator.h"
#include "text/text_stream.h"
#include "text/vocabulary.h"

namespace skywork_rt {

/// A request that runs: turns logits into tokens, tokens into text, both into updates and at last into the Result.
/// Knows nothing of sequences or batches.
class ActiveRequest {
 public:
  /// `model` and `vocabulary` (nullptr: no text) outlive it. `cached` prompt tokens were not computed.
  ActiveRequest(std::shared_ptr<internal::RequestState> state, const ModelSpec& model, const Vocabulary* vocabulary,
                std::size_t cached);

  internal::RequestState& state() { return *state_; }
  bool uses_beams() const { return beams_.has_value(); }
  bool has_masks() const { return state_->request().mask != nullptr; }
  /// Samples still running; beams count as one.
  int unfinished() const { return unfinished_; }

  /// Takes the logits at prompt position `position`, which say how likely the token behind it was.
  void AddPromptLogits(std::size_t position, Span<const float> logits, SamplingScratch* scratch);

  struct Outcome {
    TokenId token = 0;
    bool finished = false;
  };
  /// Whether the sample's mask, if it has one, is ready for Next. If not, `wake` is called when it is.
  bool MaskReady(int sample, const std::function<void()>& wake);
  /// What the sample's mask, if it has one, says will probably come next.
  Span<const TokenId> Likely(int sample);
  /// Chooses the next token of a sample, whose mask is ready, and delivers it. The logits are unchanged on return.
  Outcome Next(int sample, Span<float> logits, SamplingScratch* scratch);

  /// Whether Choose may come before Take, on any thread: the row of logits behind `end` tokens is this sample's alone,
  /// and its mask, which is asked here and on the engine's thread only, is ready and has not failed. `wake` as in
  /// MaskReady.
  bool MayChoose(int sample, std::size_t end, const std::function<void()>& wake);
  /// Whether nothing but the largest logit is asked for.
  bool chooses_plainly() const { return params_.temperature == 0.0f && !params_.reports_logprobs(); }
  /// The two halves of Next. Choose changes nothing but logits, which are as before on return, and scratch: different
  /// samples may choose on different threads at once.
  Choice Choose(int sample, Span<float> logits, SamplingScratch* scratch) const;
  Outcome Take(int sample, TokenId token, Span<const TokenLogprob> logprobs);

  /// Takes the logits of all live beams, which are overwritten; true when the search has ended.
  bool NextBeams(Span<float> logits, SamplingScratch* scratch);
  const std::vector<BeamStep>& beam_steps() const { return beams_->steps(); }
  std::size_t beam_width() const { return static_cast<std::size_t>(beams_->width()); }

  /// Tokens delivered so far, over all samples.
  std::size_t generated() const { return generated_; }
  /// Call once, when all samples have finished.
  Result TakeResult();

 private:
  struct Stream {
    Sampler sampler;
    std::optional<TextStream> text;
    std::unique_ptr<LogitsMask> mask;     // nullptr: every token may come
    Span<const std::uint32_t> allowed{};  // what the mask said of the next token, if it was asked already
  };

  std::optional<TextStream> NewText() const;
  bool AskMask(Stream* stream, const std::function<void()>& wake);
  void MakeStreams(const ModelSpec& model);
  void MakeBeams(const ModelSpec& model);
  void EndSample(std::optional<TextStream>* text, Sample* sample, TokenId token, bool stop_id);
  void FinishBeams();
  void FinishBeam(int index, Hypothesis hypothesis);
  void NoteFirstToken();

  std::shared_ptr<internal::RequestState> state_;
  const SamplingParams& params_;  // of state_
  const Vocabulary* vocabulary_;
  std::vector<Stream> streams_;  // one a sample; empty for beams
  std::optional<BeamSearch> beams_;
  Result result_;
  Update update_;  // reused
  int unfinished_ = 0;
  std::size_t generated_ = 0;
  bool first_token_ = false;
};

}  // namespace skywork_rt
