#include "engine/active_request.h"

#include <algorithm>
#include <utility>

#include "decode/beam_text.h"

namespace skywork_rt {

ActiveRequest::ActiveRequest(std::shared_ptr<internal::RequestState> state, const ModelSpec& model,
                             const Vocabulary* vocabulary, std::size_t cached)
    : state_(std::move(state)), params_(state_->request().sampling), vocabulary_(vocabulary) {
  const std::vector<TokenId>& prompt = state_->request().prompt;
  result_.seed = state_->seed();
  result_.cached_prompt_tokens = cached;
  result_.timings.queued = state_->SecondsSinceSubmission();
  result_.samples.resize(static_cast<std::size_t>(params_.n));
  if (params_.prompt_logprobs.has_value()) result_.prompt_logprobs.resize(prompt.size());
  if (params_.num_beams > 1) {
    MakeBeams(model);
    unfinished_ = 1;
  } else {
    MakeStreams(model);
    unfinished_ = params_.n;
  }
}

std::optional<TextStream> ActiveRequest::NewText() const {
  if (vocabulary_ == nullptr) return std::nullopt;
  TextStream text(*vocabulary_, Span<const std::string>(params_.stop), params_.include_stop_str_in_output,
                  params_.skip_special_tokens, Span<const TokenId>(params_.shown_special_token_ids));
  if (!state_->request().begins_text) text.Continue(Span<const TokenId>(state_->request().prompt));
  return text;
}

void ActiveRequest::MakeBeams(const ModelSpec& model) {
  std::unique_ptr<BeamEnding> ending;
  if (!params_.stop.empty()) ending = std::make_unique<BeamText>(*NewText());  // CheckRequest saw to the vocabulary
  beams_.emplace(params_, model, Span<const TokenId>(state_->request().prompt), static_cast<int>(state_->max_tokens()),
                 std::move(ending));
}

void ActiveRequest::MakeStreams(const ModelSpec& model) {
  const Sampler first(params_, model, state_->seed(), 0, Span<const TokenId>(state_->request().prompt));
  const std::optional<TextStream> text = NewText();
  const LogitsMask* mask = state_->request().mask.get();
  streams_.reserve(static_cast<std::size_t>(params_.n));
  for (int i = 0; i < params_.n; ++i) {
    streams_.push_back(Stream{first.Fork(i), text, mask != nullptr ? mask->Fork() : nullptr, {}});
  }
}

void ActiveRequest::AddPromptLogits(std::size_t position, Span<const float> logits, SamplingScratch* scratch) {
  const std::size_t next = position + 1;
  const std::vector<TokenId>& prompt = state_->request().prompt;
  if (!params_.prompt_logprobs.has_value() || next >= prompt.size()) return;
  scratch->ranker.Rank(logits, prompt[next], *params_.prompt_logprobs, &result_.prompt_logprobs[next]);
}

void ActiveRequest::NoteFirstToken() {
  if (first_token_) return;
  first_token_ = true;
  result_.timings.first_token = state_->SecondsSinceSubmission();
}

bool ActiveRequest::MaskReady(int sample, const std::function<void()>& wake) {
  LogitsMask* mask = streams_[static_cast<std::size_t>(sample)].mask.get();
  return mask == nullptr || mask->Ready(wake);
}

Span<const TokenId> ActiveRequest::Likely(int sample) {
  LogitsMask* mask = streams_[static_cast<std::size_t>(sample)].mask.get();
  return mask != nullptr ? mask->Likely() : Span<const TokenId>();
}

ActiveRequest::Outcome ActiveRequest::Next(int sample, Span<float> logits, SamplingScratch* scratch) {
  const Choice choice = Choose(sample, logits, scratch);
  return Take(sample, choice.token, choice.logprobs);
}

bool ActiveRequest::MayChoose(int sample, std::size_t end, const std::function<void()>& wake) {
  if (uses_beams()) return false;
  // n samples share the row behind the prompt
  const bool first = result_.samples[static_cast<std::size_t>(sample)].token_ids.empty();
  if (first && (params_.n != 1 || end != state_->request().prompt.size())) return false;
  return AskMask(&streams_[static_cast<std::size_t>(sample)], wake);
}

// A mask that fails does so again when its row's turn comes.
bool ActiveRequest::AskMask(Stream* stream, const std::function<void()>& wake) {
  if (stream->mask == nullptr) return true;
  try {
    if (!stream->mask->Ready(wake)) return false;
    stream->allowed = stream->mask->Allowed();
    return true;
  } catch (...) {
    return false;
  }
}

Choice ActiveRequest::Choose(int sample, Span<float> logits, SamplingScratch* scratch) const {
  const Stream& stream = streams_[static_cast<std::size_t>(sample)];
  const bool ask = stream.mask != nullptr && stream.allowed.empty();
  return stream.sampler.Sample(logits, scratch, ask ? stream.mask->Allowed() : stream.allowed);
}

ActiveRequest::Outcome ActiveRequest::Take(int index, TokenId token, Span<const TokenLogprob> logprobs) {
  Stream& stream = streams_[static_cast<std::size_t>(index)];
  Sample& sample = result_.samples[static_cast<std::size_t>(index)];
  NoteFirstToken();
  ++generated_;
  sample.token_ids.push_back(token);
  update_.sample = index;
  update_.token_ids.assign(1, token);
  update_.text.clear();
  update_.logprobs.clear();
  if (!logprobs.empty()) {
    update_.logprobs.emplace_back(logprobs.begin(), logprobs.end());
    sample.logprobs.push_back(update_.logprobs.back());
    sample.cumulative_logprob += logprobs.front().logprob;
  }
  const bool stop_id = stream.sampler.IsStop(token);
  stream.sampler.Accept(token);
  stream.allowed = {};
  if (stream.mask != nullptr) stream.mask->Accept(token);
  EndSample(&stream.text, &sample, token, stop_id);
  update_.finish_reason = sample.finish_reason;
  sample.text += update_.text;
  const Outcome outcome{token, sample.finish_reason != FinishReason::kNone};
  if (outcome.finished) --unfinished_;
  state_->Deliver(update_);
  return outcome;
}

// Adds the token's text to the update and decides whether it was the sample's last. The text of an ending id belongs
// to the output no more than a stop text does, so it is left out alike.
void ActiveRequest::EndSample(std::optional<TextStream>* text, Sample* sample, TokenId token, bool stop_id) {
  const bool add_text = text->has_value() && (!stop_id || params_.include_stop_str_in_output);
  if (add_text) (*text)->Push(token, &update_.text);
  const bool full = sample->token_ids.size() == state_->max_tokens();
  const bool stop_text = text->has_value() && (*text)->stopped();
  if (!stop_id && !full && !stop_text) return;
  if (text->has_value()) (*text)->Finish(&update_.text);
  if (stop_id) {
    sample->finish_reason = FinishReason::kStop;
    sample->stop_reason = token;
  } else if (text->has_value() && (*text)->stopped()) {  // Finish may have completed one
    sample->finish_reason = FinishReason::kStop;
    sample->stop_reason = *(*text)->stop_text();
  } else {
    sample->finish_reason = FinishReason::kLength;
  }
}

bool ActiveRequest::NextBeams(Span<float> logits, SamplingScratch* scratch) {
  beams_->Advance(logits, scratch);
  NoteFirstToken();
  if (!beams_->done()) return false;
  FinishBeams();
  unfinished_ = 0;
  return true;
}

// Beams are rewritten until the search ends, so each is one update.
void ActiveRequest::FinishBeams() {
  std::vector<Hypothesis> hypotheses = beams_->TakeHypotheses();
  result_.samples.resize(std::min(result_.samples.size(), hypotheses.size()));
  for (std::size_t i = 0; i < result_.samples.size(); ++i) FinishBeam(static_cast<int>(i), std::move(hypotheses[i]));
}

// Its text comes about as that of a sample that chose these tokens.
void ActiveRequest::FinishBeam(int index, Hypothesis hypothesis) {
  Sample& sample = result_.samples[static_cast<std::size_t>(index)];
  sample.token_ids = std::move(hypothesis.token_ids);
  sample.logprobs = std::move(hypothesis.logprobs);
  sample.cumulative_logprob = hypothesis.logprob;
  generated_ += sample.token_ids.size();
  std::optional<TextStream> text = NewText();
  update_.text.clear();
  if (text.has_value()) {
    for (std::size_t i = 0; i + 1 < sample.token_ids.size(); ++i) text->Push(sample.token_ids[i], &update_.text);
  }
  EndSample(&text, &sample, sample.token_ids.back(), hypothesis.end == Hypothesis::End::kStopId);
  sample.text = std::move(update_.text);
  state_->Deliver(Update{index, sample.token_ids, sample.text, sample.logprobs, sample.finish_reason});
}

Result ActiveRequest::TakeResult() {
  result_.timings.total = state_->SecondsSinceSubmission();
  return std::move(result_);
}

}  // namespace skywork_rt
