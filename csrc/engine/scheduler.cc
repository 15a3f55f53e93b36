#include "engine/scheduler.h"

#include <algorithm>
#include <set>

#include "skywork_rt/error.h"
#include "support/format.h"

namespace skywork_rt {
namespace {

template <typename... Args>
void Promise(bool holds, const Args&... args) {
  if (!holds) throw Error(ErrorCode::kInternal, StrCat("scheduler: ", args...));
}

}  // namespace

std::size_t CommonPrefix(Span<const TokenId> a, Span<const TokenId> b) {
  const std::size_t shorter = std::min(a.size(), b.size());
  return static_cast<std::size_t>(std::mismatch(a.begin(), a.begin() + shorter, b.begin()).first - a.begin());
}

Scheduler::Scheduler(const SchedulerLimits& limits) : limits_(limits) {}

void Scheduler::Enqueue(Ticket ticket) {
  const QueueKey key{ticket.priority, arrivals_++};
  const RequestId id = ticket.id;
  queue_keys_.emplace(id, key);
  try {
    queue_.emplace(key, std::move(ticket));
  } catch (...) {
    queue_keys_.erase(id);
    throw;
  }
}

// ---------------------------------------------------------------------------------------------------- admission

std::optional<Admission> Scheduler::NextAdmission() const {
  if (queue_.empty()) return std::nullopt;
  const Ticket& ticket = queue_.begin()->second;
  if (running_rows_ + ticket.rows > limits_.max_running) return std::nullopt;

  Admission admission;
  admission.id = ticket.id;
  admission.rows = ticket.rows;
  admission.reserve = ticket.reserve;
  const Candidate best = FindPrefix(ticket);
  if (PrefixIsBeingRead(ticket, best.match)) return std::nullopt;
  if (best.sequence != nullptr) {
    const bool take_over = HowToReuse(*best.sequence, best.match, ticket) == Admission::Reuse::kTakeOver;
    const int new_rows = ticket.rows - (take_over ? 1 : 0);
    const std::size_t new_tokens = ticket.reserve * static_cast<std::size_t>(new_rows);
    if (MakeRoom(new_rows, new_tokens, best.sequence->seq, &admission.evict)) {
      admission.how = take_over ? Admission::Reuse::kTakeOver : Admission::Reuse::kCopy;
      admission.source = best.sequence->seq;
      admission.source_length = best.sequence->cached;
      admission.reuse = best.match;
      return admission;
    }
    admission.evict.clear();  // no room beside the source: do without it
  }
  const std::size_t tokens = ticket.reserve * static_cast<std::size_t>(ticket.rows);
  if (!MakeRoom(ticket.rows, tokens, 0, &admission.evict)) return std::nullopt;
  return admission;
}

// Taking a kept sequence over moves no data but spends what lies behind the common part; copying leaves both.
Admission::Reuse Scheduler::HowToReuse(const Sequence& source, std::size_t match, const Ticket& ticket) const {
  if (match < source.cached && !limits_.can_truncate) return Admission::Reuse::kNone;
  const bool may_copy = limits_.can_fork && source.cached <= ticket.reserve;
  const bool may_take_over = source.owner == 0 && source.reserved >= ticket.reserve;
  const bool mostly_used = 2 * match >= source.cached;
  if (may_take_over && (mostly_used || !may_copy)) return Admission::Reuse::kTakeOver;
  return may_copy ? Admission::Reuse::kCopy : Admission::Reuse::kNone;
}

Scheduler::Candidate Scheduler::FindPrefix(const Ticket& ticket) const {
  Candidate best;
  if (!limits_.prefix_cache) return best;
  const auto consider = [&](const Sequence& sequence) {
    const std::size_t limit = std::min(sequence.cached, ticket.logits_from);  // what must be computed is no reuse
    if (limit < limits_.min_prefix || limit <= best.match) return;
    const std::size_t match = CommonPrefix(Span<const TokenId>(ticket.prompt.data(), ticket.logits_from),
                                           Span<const TokenId>(sequence.tokens.data(), sequence.cached));
    if (match < limits_.min_prefix || match <= best.match) return;
    if (HowToReuse(sequence, match, ticket) == Admission::Reuse::kNone) return;
    best = Candidate{&sequence, match};
  };
  for (const auto& sequence : kept_) consider(*sequence);
  for (const auto& group : running_) {
    for (const auto& row : group->rows) {
      if (row != nullptr) consider(*row);
    }
  }
  return best;
}

bool Scheduler::PrefixIsBeingRead(const Ticket& ticket, std::size_t already) const {
  if (!limits_.prefix_cache || !limits_.can_fork || !limits_.can_truncate) return false;
  const std::size_t enough = already + limits_.min_prefix;
  if (ticket.logits_from < enough) return false;
  for (const auto& group : running_) {
    if (!group->reading_prompt || group->ticket.prompt.size() > ticket.reserve) continue;
    const std::size_t match = CommonPrefix(Span<const TokenId>(ticket.prompt.data(), ticket.logits_from),
                                           Span<const TokenId>(group->ticket.prompt));
    if (match >= enough) return true;
  }
  return false;
}

// Chooses kept sequences, longest unused first and never `spare`, until `rows` more holding `tokens` fit.
bool Scheduler::MakeRoom(int rows, std::size_t tokens, SeqId spare, std::vector<SeqId>* evict) const {
  int open = open_rows();
  std::size_t reserved = reserved_tokens_;
  const auto fits = [&] { return open + rows <= limits_.max_open && reserved + tokens <= limits_.max_cached_tokens; };
  for (const auto& sequence : kept_) {
    if (fits()) break;
    if (sequence->seq == spare) continue;
    evict->push_back(sequence->seq);
    --open;
    reserved -= sequence->reserved;
  }
  return fits();
}

void Scheduler::Forget(SeqId kept) {
  const auto found =
      std::find_if(kept_.begin(), kept_.end(), [&](const auto& sequence) { return sequence->seq == kept; });
  Promise(found != kept_.end(), "sequence ", kept, " is not kept");
  reserved_tokens_ -= (*found)->reserved;
  kept_.erase(found);
}

// A kept sequence that served a copy is as good as new.
void Scheduler::Touch(SeqId seq) {
  const auto kept =
      std::find_if(kept_.begin(), kept_.end(), [&](const auto& sequence) { return sequence->seq == seq; });
  if (kept == kept_.end()) return;  // a running one
  (*kept)->last_used = ++clock_;
  std::rotate(kept, kept + 1, kept_.end());
}

// The first request of the queue as it will run, but for its ticket, which stays in the queue.
std::unique_ptr<Group> Scheduler::MakeGroup(const Admission& admission, Span<const SeqId> rows) const {
  auto group = std::make_unique<Group>();
  group->arrival = queue_.begin()->first.arrival;
  group->rows.reserve(rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    auto row = std::make_unique<Sequence>();
    row->seq = rows[i];
    row->owner = admission.id;
    row->row = static_cast<int>(i);
    row->reserved = admission.reserve;
    row->tokens.reserve(admission.reserve);
    group->rows.push_back(std::move(row));
  }
  group->rows[0]->tokens = queue_.begin()->second.prompt;
  group->rows[0]->cached = admission.reuse;
  return group;
}

Group& Scheduler::Admit(const Admission& admission, Span<const SeqId> rows) {
  const auto queued = queue_.begin();
  Promise(queued != queue_.end() && queued->second.id == admission.id, "request ", admission.id, " is not first");
  std::unique_ptr<Group> group = MakeGroup(admission, rows);
  running_.reserve(running_.size() + 1);
  kept_.reserve(static_cast<std::size_t>(open_rows()) + rows.size());  // so that each can be kept without memory
  if (admission.how == Admission::Reuse::kTakeOver) {
    const auto source = std::find_if(kept_.begin(), kept_.end(),
                                     [&](const auto& sequence) { return sequence->seq == admission.source; });
    Promise(source != kept_.end(), "sequence ", admission.source, " is not kept");
    group->rows[0]->reserved = (*source)->reserved;
    Forget(admission.source);
  } else if (admission.how == Admission::Reuse::kCopy) {
    Touch(admission.source);
  }
  // Nothing below can fail.
  group->ticket = std::move(queued->second);
  queue_keys_.erase(admission.id);
  queue_.erase(queued);
  for (const auto& row : group->rows) {
    row->last_used = ++clock_;
    reserved_tokens_ += row->reserved;
  }
  running_rows_ += static_cast<int>(rows.size());
  const QueueKey key{group->ticket.priority, group->arrival};
  const auto place = std::find_if(running_.begin(), running_.end(), [&](const auto& other) {
    return key < QueueKey{other->ticket.priority, other->arrival};
  });
  return **running_.insert(place, std::move(group));
}

// ------------------------------------------------------------------------------------------------------- a step

void Scheduler::PlanStep(StepPlan* plan, std::size_t prompt_tokens) const {
  plan->decode.clear();
  plan->prefill.clear();
  std::size_t budget = std::min(limits_.prefill_budget, prompt_tokens);
  std::size_t logit_rows = limits_.max_logit_rows;
  for (const auto& group : running_) {
    if (group->reading_prompt) {
      PlanPrefill(group->rows[0].get(), group->ticket, &budget, &logit_rows, plan);
      continue;
    }
    for (const auto& row : group->rows) {
      // A row without a pending token waits for something outside, such as a mask.
      if (row == nullptr || row->pending() == 0) continue;
      plan->decode.push_back(PlannedChunk{row.get(), row->pending(), 1 + row->guesses});
    }
  }
}

// The next chunk of a prompt within what is left of the budgets.
void Scheduler::PlanPrefill(Sequence* row, const Ticket& ticket, std::size_t* budget, std::size_t* logit_rows,
                            StepPlan* plan) const {
  std::size_t count = std::min({row->pending(), limits_.max_chunk, *budget});
  // Positions from logits_from on need a logit row each: cut the chunk where the rows run out.
  const std::size_t free_of_logits = ticket.logits_from > row->cached ? ticket.logits_from - row->cached : 0;
  count = std::min(count, free_of_logits + *logit_rows);
  if (count == 0) return;
  const std::size_t rows = count > free_of_logits ? count - free_of_logits : 0;
  // A backend without mixed steps tells the two kinds apart by their size, so a last single token counts as decode.
  auto& kind = count == 1 && row->cached > 0 ? plan->decode : plan->prefill;
  kind.push_back(PlannedChunk{row, count, rows});
  *budget -= count;
  *logit_rows -= rows;
}

void Scheduler::Commit(const PlannedChunk& chunk) {
  Sequence& sequence = *chunk.sequence;
  Promise(chunk.count <= sequence.pending(), "committed ", chunk.count, " of ", sequence.pending(), " tokens");
  sequence.cached += chunk.count;
  sequence.last_used = ++clock_;
}

void Scheduler::Fork(Group* group) {
  const Sequence& lead = *group->rows[0];
  Promise(lead.pending() == 0, "forked with ", lead.pending(), " tokens pending");
  for (std::size_t i = 1; i < group->rows.size(); ++i) {
    group->rows[i]->tokens = lead.tokens;
    group->rows[i]->cached = lead.cached;
  }
  group->reading_prompt = false;
}

void Scheduler::Append(Sequence* sequence, TokenId token) {
  Promise(sequence->pending() == 0 && sequence->guesses == 0, "appended a token after ", sequence->pending(),
          " pending ones and ", sequence->guesses, " guesses");
  Promise(sequence->tokens.size() < sequence->reserved, "appended a token to a full sequence of ", sequence->reserved);
  sequence->tokens.push_back(token);
}

std::size_t Scheduler::MostGuesses(const Sequence& sequence) const {
  if (!limits_.can_truncate || sequence.pending() != 1 || sequence.guesses != 0) return 0;
  return std::min(sequence.reserved - sequence.tokens.size(), limits_.max_chunk - 1);
}

void Scheduler::Guess(Sequence* sequence, Span<const TokenId> tokens) {
  Promise(tokens.size() <= MostGuesses(*sequence), "guessed ", tokens.size(), " tokens of ", MostGuesses(*sequence));
  sequence->tokens.insert(sequence->tokens.end(), tokens.begin(), tokens.end());
  sequence->guesses = tokens.size();
}

void Scheduler::SettleGuesses(Sequence* sequence, std::size_t right) {
  Promise(right <= sequence->guesses, right, " right guesses of ", sequence->guesses);
  sequence->tokens.resize(sequence->certain() + right);
  sequence->guesses = 0;
  sequence->cached = std::min(sequence->cached, sequence->tokens.size());
}

void Scheduler::Reorder(Group* group, Span<const int> parents) {
  Promise(parents.size() == group->rows.size(), parents.size(), " parents for ", group->rows.size(), " rows");
  const std::size_t prompt = group->ticket.prompt.size();  // the same in all rows
  std::vector<std::vector<TokenId>> outputs;
  outputs.reserve(parents.size());
  for (const int parent : parents) {
    const std::vector<TokenId>& tokens = group->rows[static_cast<std::size_t>(parent)]->tokens;
    outputs.emplace_back(tokens.begin() + static_cast<std::ptrdiff_t>(prompt), tokens.end());
  }
  for (std::size_t i = 0; i < parents.size(); ++i) {
    Sequence& row = *group->rows[i];
    row.tokens.resize(prompt);
    row.tokens.insert(row.tokens.end(), outputs[i].begin(), outputs[i].end());
    row.cached = row.tokens.size();
  }
}

// ------------------------------------------------------------------------------------------------------ the end

void Scheduler::Leave(RequestId id, int row, bool keep, std::vector<SeqId>* close) {
  const auto group =
      std::find_if(running_.begin(), running_.end(), [&](const auto& other) { return other->ticket.id == id; });
  Promise(group != running_.end(), "request ", id, " is not running");
  std::unique_ptr<Sequence>& place = (*group)->rows[static_cast<std::size_t>(row)];
  Promise(place != nullptr, "row ", row, " of request ", id, " has left already");
  std::unique_ptr<Sequence> sequence = std::move(place);
  place.reset();
  --running_rows_;
  if (keep && limits_.prefix_cache && sequence->cached >= limits_.min_prefix) {
    Keep(std::move(sequence), close);
  } else {
    reserved_tokens_ -= sequence->reserved;
    close->push_back(sequence->seq);
  }
  const auto& rows = (*group)->rows;
  if (std::all_of(rows.begin(), rows.end(), [](const auto& other) { return other == nullptr; })) running_.erase(group);
}

// Kept sequences that the new one begins with can serve nothing that it cannot.
void Scheduler::Keep(std::unique_ptr<Sequence> sequence, std::vector<SeqId>* close) {
  sequence->owner = 0;
  sequence->tokens.resize(sequence->cached);
  sequence->tokens.shrink_to_fit();  // or not, when memory is out
  sequence->last_used = ++clock_;
  for (std::size_t i = 0; i < kept_.size();) {
    const Sequence& other = *kept_[i];
    if (CommonPrefix(other.tokens, sequence->tokens) == other.cached) {
      close->push_back(other.seq);
      Forget(other.seq);
    } else {
      ++i;
    }
  }
  kept_.push_back(std::move(sequence));  // Admit saw to the room
}

void Scheduler::Remove(RequestId id, std::vector<SeqId>* close) {
  if (const auto queued = queue_keys_.find(id); queued != queue_keys_.end()) {
    queue_.erase(queued->second);
    queue_keys_.erase(queued);
    return;
  }
  const auto group =
      std::find_if(running_.begin(), running_.end(), [&](const auto& other) { return other->ticket.id == id; });
  Promise(group != running_.end(), "request ", id, " is neither queued nor running");
  for (const auto& row : (*group)->rows) {
    if (row == nullptr) continue;
    close->push_back(row->seq);
    reserved_tokens_ -= row->reserved;
    --running_rows_;
  }
  running_.erase(group);
}

bool Scheduler::ForgetOldest(std::vector<SeqId>* close) {
  if (kept_.empty()) return false;
  close->push_back(kept_.front()->seq);
  Forget(kept_.front()->seq);
  return true;
}

void Scheduler::ForgetAll(std::vector<SeqId>* close) {
  for (const auto& sequence : kept_) {
    close->push_back(sequence->seq);
    reserved_tokens_ -= sequence->reserved;
  }
  kept_.clear();
}

Group* Scheduler::Find(RequestId id) {
  for (const auto& group : running_) {
    if (group->ticket.id == id) return group.get();
  }
  return nullptr;
}

std::size_t Scheduler::cached_tokens() const {
  std::size_t sum = 0;
  for (const auto& sequence : kept_) sum += sequence->cached;
  for (const auto& group : running_) {
    for (const auto& row : group->rows) sum += row != nullptr ? row->cached : 0;
  }
  return sum;
}

void Scheduler::CheckInvariants() const {
  Promise(queue_.size() == queue_keys_.size(), "queue of ", queue_.size(), ", index of ", queue_keys_.size());
  std::set<SeqId> seen;
  std::size_t reserved = 0;
  const auto check = [&](const Sequence& sequence, RequestId owner) {
    Promise(seen.insert(sequence.seq).second, "sequence ", sequence.seq, " has two places");
    Promise(sequence.owner == owner, "sequence ", sequence.seq, " of ", owner, " is owned by ", sequence.owner);
    Promise(sequence.cached <= sequence.tokens.size(), "sequence ", sequence.seq, " caches ", sequence.cached, " of ",
            sequence.tokens.size(), " tokens");
    Promise(sequence.tokens.size() <= sequence.reserved, "sequence ", sequence.seq, " has ", sequence.tokens.size(),
            " tokens and reserves ", sequence.reserved);
    reserved += sequence.reserved;
  };
  int rows = 0;
  for (const auto& group : running_) {
    Promise(!IsQueued(group->ticket.id), "request ", group->ticket.id, " is queued and running");
    int live = 0;
    for (const auto& row : group->rows) {
      if (row == nullptr) continue;
      check(*row, group->ticket.id);
      if (!group->reading_prompt) {
        Promise(row->pending() <= 1, "sequence ", row->seq, " decodes with ", row->pending(), " tokens pending");
      }
      ++live;
    }
    Promise(live > 0, "request ", group->ticket.id, " runs without sequences");
    rows += live;
  }
  for (const auto& sequence : kept_) check(*sequence, 0);
  Promise(rows == running_rows_, rows, " rows run, ", running_rows_, " are counted");
  Promise(reserved == reserved_tokens_, reserved, " tokens are reserved, ", reserved_tokens_, " are counted");
  Promise(running_rows_ <= limits_.max_running, running_rows_, " rows run, ", limits_.max_running, " may");
  Promise(open_rows() <= limits_.max_open, open_rows(), " rows are open, ", limits_.max_open, " may be");
  Promise(reserved <= limits_.max_cached_tokens, reserved, " tokens are reserved of ", limits_.max_cached_tokens);
}

}  // namespace skywork_rt
