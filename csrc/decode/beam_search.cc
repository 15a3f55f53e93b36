#include "decode/beam_search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "sampling/logprobs.h"
#include "sampling/row_checks.h"
#include "skywork_rt/error.h"
#include "support/format.h"

namespace skywork_rt {
namespace {

constexpr double kDead = -std::numeric_limits<double>::infinity();

void ResetCandidates(Span<const float> processed, Candidates* candidates) {
  try {
    candidates->Reset(processed);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kBackend) throw BlameParameters(error);
    throw;
  }
}

}  // namespace

BeamSearch::BeamSearch(const SamplingParams& params, const ModelSpec& model, Span<const TokenId> prompt, int max_tokens,
                       std::unique_ptr<BeamEnding> ending)
    : width_(static_cast<std::size_t>(params.num_beams)),
      vocab_size_(static_cast<std::size_t>(model.vocab_size)),
      max_tokens_(static_cast<std::size_t>(max_tokens)),
      length_penalty_(static_cast<double>(params.length_penalty)),
      early_stopping_(params.early_stopping),
      stop_ids_(params, model),
      looked_at_(std::max<std::size_t>(2, 1 + stop_ids_.ids().size()) * width_),
      reports_logprobs_(params.reports_logprobs()),
      best_logprobs_(params.logprobs.value_or(0)),
      logprob_token_ids_(params.logprob_token_ids),
      ending_(std::move(ending)) {
  Beam root;
  root.processor = LogitsProcessor(std::make_shared<const SamplingParams>(params), model, prompt);
  beams_.push_back(std::move(root));
}

void BeamSearch::Advance(Span<float> logits, SamplingScratch* scratch) {
  if (done_ || logits.size() != beams_.size() * vocab_size_) {
    throw Error(ErrorCode::kInternal, StrCat("beam search was given ", logits.size(), " logits for ", beams_.size(),
                                             " rows of ", vocab_size_, done_ ? ", after its end" : ""));
  }
  CollectContinuations(logits, scratch);
  ++length_;
  const bool last = length_ == max_tokens_;
  next_.clear();
  for (std::size_t i = 0; i < continuations_.size(); ++i) {
    const Continuation& continuation = continuations_[i];
    const Hypothesis::End end = EndOf(continuation);
    if (end != Hypothesis::End::kLength || last) {
      if (i < width_) Finish(continuation, end, logits, scratch);
    } else if (next_.size() < width_) {
      next_.push_back(continuation);
    }
  }
  const bool full = hypotheses_.size() == width_;
  done_ = last || next_.empty() || (full && early_stopping_) || (full && !CanImprove());
  if (done_ && hypotheses_.empty()) {
    throw Error(ErrorCode::kInvalidArgument,
                StrCat("no beam can go on at output position ", length_ - 1,
                       ": relax logit_bias, bad_words_ids, min_tokens or no_repeat_ngram_size"));
  }
  ReplaceBeams(logits, scratch);
}

Hypothesis::End BeamSearch::EndOf(const Continuation& continuation) {
  if (stop_ids_.Contains(continuation.token)) return Hypothesis::End::kStopId;
  const bool ends = ending_ != nullptr && ending_->Ends(continuation.parent, continuation.token);
  return ends ? Hypothesis::End::kEnding : Hypothesis::End::kLength;
}

// Sums of running score and log-probability over all beams, the best first.
void BeamSearch::CollectContinuations(Span<float> logits, SamplingScratch* scratch) {
  continuations_.clear();
  for (std::size_t b = 0; b < beams_.size(); ++b) {
    const Beam& beam = beams_[b];
    if (beam.logprob == kDead) continue;
    const Span<float> row = logits.subspan(b * vocab_size_, vocab_size_);
    try {
      LogSoftmax(row);
      beam.processor.Apply(row, &scratch->changes);
      ResetCandidates(row, &scratch->candidates);
    } catch (const Error& error) {
      throw Error(error.code(), StrCat("output position ", length_, " of beam ", b, ": ", error.what()));
    }
    scratch->candidates.Require(looked_at_);
    AddContinuations(b, scratch->candidates);
    scratch->changes.Undo(row);  // log-probabilities are reported without the processors
  }
  const auto better = [](const Continuation& a, const Continuation& b) {
    if (a.logprob != b.logprob) return a.logprob > b.logprob;
    return a.parent != b.parent ? a.parent < b.parent : a.token < b.token;
  };
  std::sort(continuations_.begin(), continuations_.end(), better);
  if (continuations_.size() > looked_at_) continuations_.resize(looked_at_);
}

void BeamSearch::AddContinuations(std::size_t parent, const Candidates& candidates) {
  const std::size_t count = std::min(looked_at_, candidates.sorted().size());
  for (std::size_t i = 0; i < count; ++i) {
    const Candidate& candidate = candidates.sorted()[i];
    continuations_.push_back({parent, candidate.token, beams_[parent].logprob + static_cast<double>(candidate.logit)});
  }
}

// Keeps the `width` best hypotheses in order; among equals the older one stays before.
void BeamSearch::Finish(const Continuation& continuation, Hypothesis::End end, Span<const float> logits,
                        SamplingScratch* scratch) {
  const double score = Score(continuation.logprob);
  const auto worse = [](double value, const Hypothesis& hypothesis) { return value > hypothesis.score; };
  const auto place = std::upper_bound(hypotheses_.begin(), hypotheses_.end(), score, worse);
  if (place == hypotheses_.end() && hypotheses_.size() == width_) return;
  Beam beam = beams_[continuation.parent];
  AddLogprobs(continuation, logits, scratch, &beam);
  Hypothesis hypothesis;
  hypothesis.token_ids = std::move(beam.token_ids);
  hypothesis.token_ids.push_back(continuation.token);
  auto first = beam.logprobs.cbegin();
  for (const std::size_t row_end : beam.logprob_ends) {
    const auto past = beam.logprobs.cbegin() + static_cast<std::ptrdiff_t>(row_end);
    hypothesis.logprobs.emplace_back(first, past);
    first = past;
  }
  hypothesis.logprob = continuation.logprob;
  hypothesis.score = score;
  hypothesis.end = end;
  hypotheses_.insert(place, std::move(hypothesis));
  if (hypotheses_.size() > width_) hypotheses_.pop_back();
}

// `logits`: of all live beams, already their log-softmax.
void BeamSearch::AddLogprobs(const Continuation& continuation, Span<const float> logits, SamplingScratch* scratch,
                             Beam* beam) const {
  if (!reports_logprobs_) return;
  const Span<const float> row = logits.subspan(continuation.parent * vocab_size_, vocab_size_);
  std::vector<TokenLogprob>& ranked = scratch->logprobs;
  scratch->ranker.Rank(row, continuation.token, best_logprobs_, &ranked, Span<const TokenId>(logprob_token_ids_));
  beam->logprobs.insert(beam->logprobs.end(), ranked.begin(), ranked.end());
  beam->logprob_ends.push_back(beam->logprobs.size());
}

void BeamSearch::ReplaceBeams(Span<const float> logits, SamplingScratch* scratch) {
  steps_.clear();
  if (done_) return;
  // Where bans leave fewer than `width` continuations, dead copies of the best one fill the batch.
  while (next_.size() < width_) next_.push_back({next_.front().parent, next_.front().token, kDead});
  next_beams_.resize(width_);
  for (std::size_t i = 0; i < width_; ++i) {
    const Continuation& continuation = next_[i];
    Beam& beam = next_beams_[i];
    if (LastOfParent(i)) {
      std::swap(beam, beams_[continuation.parent]);  // a history is copied only where a beam splits
    } else {
      beam = beams_[continuation.parent];
    }
    beam.logprob = continuation.logprob;
    beam.token_ids.push_back(continuation.token);
    AddLogprobs(continuation, logits, scratch, &beam);
    beam.processor.Accept(continuation.token);
    steps_.push_back({static_cast<int>(continuation.parent), continuation.token});
  }
  beams_.swap(next_beams_);
  if (ending_ != nullptr) ending_->Follow(steps_);
}

// Whether no later beam of the next step comes from the same parent as beam `next`.
bool BeamSearch::LastOfParent(std::size_t next) const {
  const auto later = next_.begin() + static_cast<std::ptrdiff_t>(next) + 1;
  return std::none_of(later, next_.end(), [&](const Continuation& c) { return c.parent == next_[next].parent; });
}

// Whether the best running beam, if it ended at its present length, would beat the worst hypothesis.
bool BeamSearch::CanImprove() const {
  return Score(next_.front().logprob) > hypotheses_.back().score;
}

double BeamSearch::Score(double logprob) const {
  return logprob / std::pow(static_cast<double>(length_), length_penalty_);
}

std::vector<Hypothesis> BeamSearch::TakeHypotheses() {
  if (!done_) throw Error(ErrorCode::kInternal, "beam search has not ended yet");
  return std::move(hypotheses_);
}

}  // namespace skywork_rt
