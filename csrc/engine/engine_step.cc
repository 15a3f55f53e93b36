// One step of the engine: what is pending is computed, and every row of logits is given to its request.

#include <algorithm>
#include <chrono>
#include <exception>
#include <mutex>
#include <new>
#include <vector>

#include "engine/engine.h"
#include "support/current_error.h"
#include "support/format.h"
#include "support/log.h"

namespace skywork_rt {
namespace {

/// Adds the time of its own life to a counter.
class Stopwatch {
 public:
  explicit Stopwatch(double* seconds) : seconds_(seconds) {}
  ~Stopwatch() { *seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

 private:
  double* seconds_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace

void Engine::RunStep() {
  GuessAhead();
  try {
    ComputeStep();
  } catch (...) {
    LoseRunning(CurrentError(ErrorCode::kInternal));
  }
  RemoveTold();
}

void Engine::ComputeStep() {
  step_ = {};
  if (traits_.static_batch && !held_.empty()) {  // nobody goes on without those that wait for their masks
    WaitForMasks();
    return;
  }
  PlanStep();
  MakeRoom();
  if (plan_.empty()) {
    if (!held_.empty()) WaitForMasks();
    return;
  }
  ++now_.steps;
  std::size_t tokens = 0;
  for (const PlannedChunk& chunk : plan_.decode) tokens += chunk.count;
  for (const PlannedChunk& chunk : plan_.prefill) tokens += chunk.count;
  step_.prompt_tokens = tokens - step_.decode_tokens;
  RunPlan();
  if (!step_.whole) return;
  budget_.Learn(step_.decode_tokens, step_.prompt_tokens, step_.seconds);
  if (step_.prompt_tokens == 0) guess_budget_.LearnTime(step_.decode_tokens, step_.seconds);
}

void Engine::PlanStep() {
  step_.decode_tokens = DecodeTokens();
  scheduler_.PlanStep(&plan_, PromptTokens());
}

// Tokens of the sequences that decode and are not held up by a mask.
std::size_t Engine::DecodeTokens() const {
  std::size_t tokens = 0;
  for (const auto& group : scheduler_.running()) {
    if (group->reading_prompt) continue;
    for (const auto& row : group->rows) tokens += row != nullptr ? row->pending() : 0;
  }
  return tokens;
}

// Rows that wait for their masks are streams too, and go on when the step has ended.
std::size_t Engine::PromptTokens() {
  const std::size_t tokens = budget_.PromptTokens(step_.decode_tokens + held_.size());
  return tokens != 0 || step_.decode_tokens != 0 ? tokens : 1;
}

void Engine::RunPlan() {
  if (traits_.mixed_steps) {
    plan_.decode.insert(plan_.decode.end(), plan_.prefill.begin(), plan_.prefill.end());
    RunForward(Span<const PlannedChunk>(plan_.decode));
    return;
  }
  // A request is in one of the two lists only, so what happens to the first leaves the second valid.
  if (!plan_.decode.empty()) RunForward(Span<const PlannedChunk>(plan_.decode));
  if (!plan_.prefill.empty()) RunForward(Span<const PlannedChunk>(plan_.prefill));
}

// Kept blocks go for what the step takes, and where they do not suffice, guesses and then running requests.
void Engine::MakeRoom() {
  if (!guessing_.empty() && !scheduler_.StepFits(plan_)) {
    for (const RowGuess& row : guessing_) scheduler_.SettleGuesses(row.sequence, 0);
    PlanStep();
  }
  while (!scheduler_.StepFits(plan_)) {
    Preempt(scheduler_.Victim());
    PlanStep();
  }
  while (const std::optional<Cut> cut = scheduler_.NextCut(plan_)) CutKept(*cut);
}

void Engine::Preempt(RequestId id) {
  scheduler_.Preempt(id, &to_close_);
  ++now_.preempted;
  CloseSequences();
}

void Engine::CutKept(const Cut& cut) {
  if (cut.length == 0) {
    to_close_.push_back(cut.seq);
  } else {
    backend_->Truncate(cut.seq, cut.length);
  }
  scheduler_.CutKept(cut);
  CloseSequences();
}

// Guesses of every sequence that decodes by samples, or of none. They need a backend that takes chunks of any length
// side by side, to whose results it is all the same how tokens are cut into chunks, and that forgets what was wrong.
void Engine::GuessAhead() {
  guessing_.clear();
  guesses_.clear();
  if (!traits_.mixed_steps || !traits_.bitwise) return;
  const std::size_t certain = DecodeTokens();
  for (const auto& group : scheduler_.running()) {
    if (group->reading_prompt) continue;
    ActiveRequest* request = entries_.at(group->ticket.id).active.get();
    if (request->uses_beams() || (proposer_ == nullptr && !request->has_masks())) continue;
    for (const auto& row : group->rows) {
      if (row != nullptr) Guess(row.get(), request);
    }
  }
  if (!guess_budget_.Pays(certain, guesses_.size())) guessing_.clear();
  for (const RowGuess& row : guessing_) {
    scheduler_.Guess(row.sequence, Span<const TokenId>(guesses_.data() + row.first, row.count));
  }
}

// A mask knows more than a proposer. Who fails has guessed nothing.
void Engine::Guess(Sequence* sequence, ActiveRequest* request) {
  const std::size_t most = std::min(config_.most_guesses, scheduler_.MostGuesses(*sequence));
  if (most == 0) return;
  try {
    const Span<const TokenId> likely = request->Likely(sequence->row);
    guess_.assign(likely.begin(), likely.end());
    if (likely.empty() && proposer_ != nullptr) {
      proposer_->Propose(Span<const TokenId>(sequence->tokens), most, &guess_);
    }
    const auto known = [&](TokenId token) { return token >= 0 && token < model_.vocab_size; };
    guess_.erase(std::find_if_not(guess_.begin(), guess_.end(), known), guess_.end());
    guess_.resize(std::min(guess_.size(), most));
    if (guess_.empty()) return;
    const std::size_t first = guesses_.size();
    guesses_.insert(guesses_.end(), guess_.begin(), guess_.end());
    guessing_.push_back({sequence, first, guess_.size()});
  } catch (...) {
    LogText(LogLevel::kWarning, "no guesses for request ", sequence->owner, ": ",
            CurrentError(ErrorCode::kInternal).what());
  }
}

// The rows that were held are looked at again; those whose masks are still not ready are held on.
void Engine::ResumeHeld() {
  if (held_.empty()) return;
  std::vector<HeldRow> held;
  held.swap(held_);
  const Stopwatch stopwatch(&now_.sampling_seconds);
  for (HeldRow& row : held) {
    const auto entry = entries_.find(row.id);
    if (entry == entries_.end()) continue;  // it ended meanwhile
    try {
      StepSample(scheduler_.Find(row.id), entry->second.active.get(), row.row, Span<float>(row.logits), nullptr);
    } catch (...) {
      Fail(row.id, CurrentError(ErrorCode::kInternal));
    }
  }
}

// Nothing to compute until a mask is ready, a request comes or goes, or a deadline passes.
void Engine::WaitForMasks() {
  constexpr std::chrono::milliseconds kLookForDeadlines{10};
  std::unique_lock<std::mutex> lock(link_->wake_mutex);
  link_->wakes.wait_for(lock, kLookForDeadlines, [&] { return link_->woken; });
  link_->woken = false;
}

void Engine::RunForward(Span<const PlannedChunk> chunks) {
  PrepareForward(chunks);
  if (!CallForward()) return;
  for (const PlannedChunk& chunk : chunks) scheduler_.Commit(chunk);
  const Stopwatch stopwatch(&now_.sampling_seconds);
  ChooseAhead();
  for (const Work& work : work_) {
    try {
      HandleLogits(work);
    } catch (...) {
      Fail(work.id, CurrentError(ErrorCode::kInternal));
    }
  }
}

void Engine::PrepareForward(Span<const PlannedChunk> chunks) {
  std::size_t rows = 0;
  for (const PlannedChunk& chunk : chunks) rows += chunk.logit_rows;
  row_indices_.resize(rows);  // before anything points into it
  const std::size_t logits = rows * static_cast<std::size_t>(model_.vocab_size);
  if (logits_.size() < logits) logits_.resize(logits);
  chunks_.clear();
  work_.clear();
  std::size_t next = 0;
  for (const PlannedChunk& chunk : chunks) {
    const Sequence& sequence = *chunk.sequence;
    for (std::size_t r = 0; r < chunk.logit_rows; ++r) {
      row_indices_[next + r] = static_cast<int>(chunk.count - chunk.logit_rows + r);
    }
    chunks_.push_back(Chunk{sequence.seq, Span<const TokenId>(sequence.tokens.data() + sequence.cached, chunk.count),
                            Span<const int>(row_indices_.data() + next, chunk.logit_rows)});
    work_.push_back(Work{sequence.owner, sequence.row, sequence.cached + chunk.count, chunk.logit_rows, next});
    next += chunk.logit_rows;
  }
}

// False when the step was given up, and everything is as it was; or when the backend failed, and the step's requests
// are lost and all others are as they were.
bool Engine::CallForward() {
  const std::size_t logits = row_indices_.size() * static_cast<std::size_t>(model_.vocab_size);
  const Span<float> out(logits_.data(), logits);
  bool whole = false;
  try {
    const Stopwatch stopwatch(&now_.forward_seconds);
    forward_began_ = config_.clock();
    computing_ = true;
    whole = backend_->Forward(Span<const Chunk>(chunks_), out, &watch_);
    computing_ = false;
    step_.seconds += std::chrono::duration<double>(config_.clock() - forward_began_).count();
    if (!whole) UndoStep();
  } catch (...) {
    computing_ = false;
    LoseStep(CurrentError(ErrorCode::kBackend));
  }
  step_.whole = step_.whole && whole;
  if (whole) EndRepeating();
  return whole;
}

void Engine::LoseStep(const Error& error) {
  const Error lost =
      MakeError(ErrorCode::kBackend, "the backend failed in a step of ", work_.size(),
                " sequences, whose requests are lost (", ErrorCodeName(error.code()), "): ", error.what());
  LogText(LogLevel::kError, lost.what());
  for (const Work& work : work_) Fail(work.id, lost);
}

// The step could not be made, or not be taken down: nobody knows what is left of it.
void Engine::LoseRunning(const Error& error) {
  const Error lost = MakeError(error.code(), "a step failed, and all running requests are lost: ", error.what());
  LogText(LogLevel::kError, lost.what());
  while (!scheduler_.running().empty()) Fail(scheduler_.running().front()->ticket.id, lost);
}

// Tokens are chosen on the pool where that pays, and handed out below, in the order of rows, as ever: what a row comes
// to depends on its logits and its own history only. Without the memory for it every row waits for its turn.
void Engine::ChooseAhead() {
  try {
    ChooseRows();
  } catch (const std::bad_alloc&) {
    for (Work& work : work_) work.chosen.reset();
  }
}

void Engine::ChooseRows() {
  const auto vocab = static_cast<std::size_t>(model_.vocab_size);
  if (!chooser_.Pays(work_.size(), RowChooser::WorkOf(work_.size() * vocab, false))) return;
  const std::size_t work = GatherRows();
  const auto choose = [&](std::size_t row, SamplingScratch* scratch, ChosenToken* chosen) {
    const RowAhead& ahead = rows_ahead_[row];
    const Choice choice = ahead.request->Choose(ahead.sample, ahead.logits, scratch);
    chosen->token = choice.token;
    chosen->logprobs.assign(choice.logprobs.begin(), choice.logprobs.end());
  };
  const bool pays = chooser_.Pays(rows_ahead_.size(), work);
  if (pays && chooser_.ChooseAll(rows_ahead_.size(), work, choose)) return;
  for (Work& each : work_) each.chosen.reset();
}

// Returns what choosing from them costs.
std::size_t Engine::GatherRows() {
  const auto vocab = static_cast<std::size_t>(model_.vocab_size);
  std::size_t cost = 0;
  rows_ahead_.clear();
  for (Work& work : work_) {
    if (work.logit_rows != 1) continue;
    const auto entry = entries_.find(work.id);
    if (entry == entries_.end() || !entry->second.active->MayChoose(work.row, work.end, wake_)) continue;
    work.chosen = rows_ahead_.size();
    rows_ahead_.push_back(
        {entry->second.active.get(), work.row, Span<float>(logits_.data() + work.first_logit * vocab, vocab)});
    cost += RowChooser::WorkOf(vocab, entry->second.active->chooses_plainly());
  }
  return cost;
}

void Engine::HandleLogits(const Work& work) {
  const auto entry = entries_.find(work.id);
  if (entry == entries_.end() || entry->second.told) return;  // lost earlier in this step
  Group* group = scheduler_.Find(work.id);
  const auto vocab = static_cast<std::size_t>(model_.vocab_size);
  const ChosenToken* chosen = work.chosen.has_value() ? &chooser_.chosen(*work.chosen) : nullptr;
  for (std::size_t r = 0; r < work.logit_rows; ++r) {
    const std::size_t position = work.end - work.logit_rows + r;
    const Span<float> logits(logits_.data() + (work.first_logit + r) * vocab, vocab);
    if (position + 1 < group->ticket.prompt.size()) {
      entry->second.active->AddPromptLogits(position, logits, chooser_.scratch());
    } else if (group->reading_prompt) {
      StartDecoding(group, entry->second.active.get(), logits, chosen);
    } else if (!entry->second.active->uses_beams()) {
      StepSample(group, entry->second.active.get(), work.row, Span<float>(logits.data(), (work.logit_rows - r) * vocab),
                 chosen);
      return;
    } else if (work.row == 0) {  // beams are planned side by side, so their rows of logits are neighbours
      StepBeams(group, entry->second.active.get(),
                Span<float>(logits.data(), entry->second.active->beam_width() * vocab));
    }
  }
}

void Engine::StartDecoding(Group* group, ActiveRequest* request, Span<float> logits, const ChosenToken* chosen) {
  const int rows = group->ticket.rows;
  if (rows > 1) ForkRows(group);
  scheduler_.Fork(group);
  if (request->uses_beams()) {
    StepBeams(group, request, logits);
    return;
  }
  // The group lives until its last row leaves, which is the last that this loop looks at.
  for (int row = 0; row < rows; ++row) StepSample(group, request, row, logits, chosen);
}

void Engine::ForkRows(Group* group) {
  std::vector<SeqId> to;
  for (std::size_t i = 1; i < group->rows.size(); ++i) to.push_back(group->rows[i]->seq);
  const std::vector<SeqId> from(to.size(), group->rows[0]->seq);
  backend_->Reorder(Span<const SeqId>(from), Span<const SeqId>(to));
}

// `logits` has a row for the next token, and one for the token behind each guess: as long as the guesses are what is
// chosen, the row behind is as good as that of the next step. `chosen`: from the first row, if that has been done.
void Engine::StepSample(Group* group, ActiveRequest* request, int row, Span<float> logits, const ChosenToken* chosen) {
  const RequestId id = group->ticket.id;
  const auto vocab = static_cast<std::size_t>(model_.vocab_size);
  if (!request->MaskReady(row, wake_)) {
    Hold(group, row, Span<const float>(logits.data(), vocab));
    return;
  }
  Sequence* sequence = group->rows[static_cast<std::size_t>(row)].get();
  const Span<const TokenId> guesses(sequence->tokens.data() + sequence->certain(), sequence->guesses);
  std::size_t right = 0;
  ActiveRequest::Outcome outcome;
  for (;; ++right) {
    outcome = NextToken(request, row, Span<float>(logits.data() + right * vocab, vocab), chosen);
    chosen = nullptr;
    ++now_.generated_tokens;
    const bool guessed = right < guesses.size() && guesses[right] == outcome.token;
    if (outcome.finished || !guessed || !request->MaskReady(row, wake_)) break;
  }
  guess_budget_.LearnRight(guesses.size(), right);
  Settle(sequence, right);
  if (!outcome.finished) {
    scheduler_.Append(sequence, outcome.token);
    return;
  }
  LeaveRow(id, row);
  if (request->unfinished() == 0) Finish(id);
}

ActiveRequest::Outcome Engine::NextToken(ActiveRequest* request, int row, Span<float> logits,
                                         const ChosenToken* chosen) {
  if (chosen == nullptr) return request->Next(row, logits, chooser_.scratch());
  if (chosen->failure != nullptr) std::rethrow_exception(chosen->failure);
  return request->Take(row, chosen->token, Span<const TokenLogprob>(chosen->logprobs));
}

void Engine::Hold(Group* group, int row, Span<const float> logits) {
  Settle(group->rows[static_cast<std::size_t>(row)].get(), 0);
  held_.push_back(HeldRow{group->ticket.id, row, std::vector<float>(logits.begin(), logits.end())});
}

// The first `right` guesses stay; the backend forgets the others.
void Engine::Settle(Sequence* sequence, std::size_t right) {
  const std::size_t cached = sequence->cached;
  scheduler_.SettleGuesses(sequence, right);
  if (sequence->cached < cached) backend_->Truncate(sequence->seq, sequence->cached);
}

void Engine::StepBeams(Group* group, ActiveRequest* request, Span<float> logits) {
  const RequestId id = group->ticket.id;
  if (request->NextBeams(logits, chooser_.scratch())) {
    now_.generated_tokens += request->generated();
    const int rows = group->ticket.rows;
    for (int row = 0; row < rows; ++row) LeaveRow(id, row);
    Finish(id);
    return;
  }
  const std::vector<BeamStep>& steps = request->beam_steps();
  ReorderBeams(group, steps);
  for (std::size_t i = 0; i < steps.size(); ++i) scheduler_.Append(group->rows[i].get(), steps[i].token);
}

void Engine::ReorderBeams(Group* group, const std::vector<BeamStep>& steps) {
  std::vector<int> parents;
  std::vector<SeqId> from;
  std::vector<SeqId> to;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const auto parent = static_cast<std::size_t>(steps[i].parent);
    parents.push_back(steps[i].parent);
    if (parent == i) continue;
    from.push_back(group->rows[parent]->seq);
    to.push_back(group->rows[i]->seq);
  }
  if (to.empty()) return;
  // The first step's beams all come from row 0, whose prompt all rows hold already.
  const bool first = group->rows[0]->tokens.size() == group->ticket.prompt.size();
  if (!first) backend_->Reorder(Span<const SeqId>(from), Span<const SeqId>(to));
  scheduler_.Reorder(group, Span<const int>(parents));
}

}  // namespace skywork_rt
