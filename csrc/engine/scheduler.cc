#include "engine/scheduler.h"

#include <algorithm>
#include <set>

#include "engine/cache/block_cache.h"
#include "engine/cache/row_cache.h"
#include "engine/promise.h"

namespace skywork_rt {
namespace {

std::unique_ptr<CacheManager> MakeCache(const SchedulerLimits& limits) {
  if (limits.block_tokens == 0) return std::make_unique<RowCache>(limits);
  return std::make_unique<BlockCache>(limits);
}

}  // namespace

Scheduler::Scheduler(const SchedulerLimits& limits) : limits_(limits), cache_(MakeCache(limits)) {}

void Scheduler::Enqueue(Ticket ticket) {
  const QueueKey key{ticket.priority, arrivals_++};
  const RequestId id = ticket.id;
  places_.emplace(id, Place{key, nullptr, {}});
  try {
    queue_.emplace(key, std::move(ticket));
  } catch (...) {
    places_.erase(id);
    throw;
  }
}

bool Scheduler::IsQueued(RequestId id) const {
  const auto found = places_.find(id);
  return found != places_.end() && found->second.group == nullptr;
}

// ---------------------------------------------------------------------------------------------------- admission

std::optional<Admission> Scheduler::NextAdmission() const {
  if (queue_.empty()) return std::nullopt;
  const Ticket& ticket = queue_.begin()->second;
  if (running_rows_ + ticket.rows > limits_.max_running) return std::nullopt;
  if (limits_.static_batch && BatchIsUnderWay()) return std::nullopt;
  return cache_->Plan(ticket, running_, running_rows_);
}

bool Scheduler::BatchIsUnderWay() const {
  return std::any_of(running_.begin(), running_.end(),
                     [](const auto& group) { return !group->reading_prompt || group->rows[0]->cached != 0; });
}

// The first request of the queue as it will run, but for its ticket, which stays in the queue.
std::unique_ptr<Group> Scheduler::MakeGroup(const Admission& admission, Span<const SeqId> rows) const {
  auto group = std::make_unique<Group>();
  const Ticket& ticket = queue_.begin()->second;
  group->arrival = queue_.begin()->first.arrival;
  group->rows.reserve(rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    auto row = std::make_unique<Sequence>();
    row->seq = rows[i];
    row->owner = admission.id;
    row->row = static_cast<int>(i);
    row->reserved = admission.reserve;
    row->tokens.reserve(admission.reserve);
    row->salt = ticket.salt;
    group->rows.push_back(std::move(row));
  }
  group->rows[0]->tokens.assign(ticket.prompt.begin(), ticket.prompt.end());
  group->rows[0]->cached = admission.reuse;
  return group;
}

Group& Scheduler::Admit(const Admission& admission, Span<const SeqId> rows) {
  const auto queued = queue_.begin();
  Promise(queued != queue_.end() && queued->second.id == admission.id, "request ", admission.id, " is not first");
  std::unique_ptr<Group> group = MakeGroup(admission, rows);
  running_.reserve(running_.size() + 1);
  if (limits_.optimistic) queued->second.prompt.reserve(admission.reserve);  // for the output, if it is preempted
  cache_->Admit(admission, queued->second, group.get());
  // Nothing below can fail.
  group->ticket = std::move(queued->second);
  Place& place = places_.at(admission.id);
  place.group = group.get();
  place.queued = queue_.extract(queued);
  running_rows_ += static_cast<int>(rows.size());
  return **running_.insert(PlaceOf(KeyOf(*group)), std::move(group));
}

/// Where a group of this key is, or would be.
Groups::iterator Scheduler::PlaceOf(const QueueKey& key) {
  return std::lower_bound(running_.begin(), running_.end(), key,
                          [](const auto& group, const QueueKey& wanted) { return KeyOf(*group) < wanted; });
}

Groups::iterator Scheduler::PlaceOf(RequestId id) {
  Promise(Find(id) != nullptr, "request ", id, " is not running");
  return PlaceOf(places_.at(id).key);
}

// ------------------------------------------------------------------------------------------------------- a step

void Scheduler::PlanStep(StepPlan* plan, std::size_t prompt_tokens) const {
  plan->decode.clear();
  plan->prefill.clear();
  std::size_t budget = limits_.static_batch ? Sequence::kAll : std::min(limits_.prefill_budget, prompt_tokens);
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
  if (limits_.whole_prompts) {
    if (row->pending() > *budget && !plan->prefill.empty()) return;
    *budget = std::max(*budget, row->pending());
  }
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

RequestId Scheduler::Victim() const {
  for (auto group = running_.rbegin(); group != running_.rend(); ++group) {
    const Sequence* const row = (*group)->rows[0].get();
    // One without a pending token waits for its mask, and the logits that it waits with are no one else's.
    if (row != nullptr && !row->reserves && row->progressed && row->pending() != 0) return (*group)->ticket.id;
  }
  throw Error(ErrorCode::kInternal, "scheduler: a step has no room, and no request can give way");
}

void Scheduler::Preempt(RequestId id, std::vector<SeqId>* close) {
  const auto group = PlaceOf(id);
  std::unique_ptr<Sequence> row = std::move((*group)->rows[0]);
  Promise(!row->reserves && row->progressed, "request ", id, " cannot be preempted");
  SettleGuesses(row.get(), 0);
  Ticket& ticket = (*group)->ticket;
  ticket.prompt.assign(row->tokens.begin(), row->tokens.end());  // Admit saw to the room
  ticket.logits_from = row->tokens.size() - 1;
  Place& place = places_.at(id);
  place.queued.mapped() = std::move(ticket);
  queue_.insert(std::move(place.queued));
  place.group = nullptr;
  running_.erase(group);
  --running_rows_;
  KeepOrClose(std::move(row), true, close);
}

void Scheduler::Commit(const PlannedChunk& chunk) {
  Sequence& sequence = *chunk.sequence;
  Promise(chunk.count <= sequence.pending(), "committed ", chunk.count, " of ", sequence.pending(), " tokens");
  sequence.cached += chunk.count;
  cache_->Grew(&sequence, chunk.count);
}

void Scheduler::Fork(Group* group) {
  const Sequence& lead = *group->rows[0];
  Promise(lead.pending() == 0, "forked with ", lead.pending(), " tokens pending");
  for (std::size_t i = 1; i < group->rows.size(); ++i) {
    group->rows[i]->tokens.assign(lead.tokens.begin(), lead.tokens.end());  // within what is reserved
    group->rows[i]->cached = lead.cached;
  }
  group->reading_prompt = false;
  cache_->Forked(group);
}

void Scheduler::Append(Sequence* sequence, TokenId token) {
  Promise(sequence->pending() == 0 && sequence->guesses == 0, "appended a token after ", sequence->pending(),
          " pending ones and ", sequence->guesses, " guesses");
  Promise(sequence->tokens.size() < sequence->reserved, "appended a token to a full sequence of ", sequence->reserved);
  sequence->tokens.push_back(token);
  if (sequence->progressed) return;
  sequence->progressed = true;
  cache_->Progressed(sequence);
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
  if (sequence->cached <= sequence->tokens.size()) return;
  const std::size_t wrong = sequence->cached - sequence->tokens.size();
  sequence->cached = sequence->tokens.size();
  cache_->Shrank(sequence, wrong);
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
  cache_->Reordered(group, parents);
}

// ------------------------------------------------------------------------------------------------------ the end

void Scheduler::Leave(RequestId id, int row, bool keep, std::vector<SeqId>* close) {
  const auto group = PlaceOf(id);
  std::unique_ptr<Sequence>& place = (*group)->rows[static_cast<std::size_t>(row)];
  Promise(place != nullptr, "row ", row, " of request ", id, " has left already");
  std::unique_ptr<Sequence> sequence = std::move(place);
  place.reset();
  --running_rows_;
  KeepOrClose(std::move(sequence), keep, close);
  const auto& rows = (*group)->rows;
  if (std::all_of(rows.begin(), rows.end(), [](const auto& other) { return other == nullptr; })) TakeOut(group);
}

void Scheduler::KeepOrClose(std::unique_ptr<Sequence> sequence, bool keep, std::vector<SeqId>* close) {
  if (keep && limits_.prefix_cache && sequence->cached >= limits_.min_prefix) {
    cache_->Keep(std::move(sequence), close);
    return;
  }
  cache_->Release(sequence.get());
  close->push_back(sequence->seq);
}

/// The group has no rows any more.
void Scheduler::TakeOut(Groups::iterator group) {
  cache_->StopReading(group->get());
  places_.erase((*group)->ticket.id);
  running_.erase(group);
}

void Scheduler::Remove(RequestId id, std::vector<SeqId>* close) {
  if (IsQueued(id)) {
    queue_.erase(places_.at(id).key);
    places_.erase(id);
    return;
  }
  const auto group = PlaceOf(id);
  for (const auto& row : (*group)->rows) {
    if (row == nullptr) continue;
    close->push_back(row->seq);
    cache_->Release(row.get());
    --running_rows_;
  }
  TakeOut(group);
}

bool Scheduler::ForgetOldest(std::vector<SeqId>* close) {
  if (kept().empty()) return false;
  close->push_back(kept().front()->seq);
  Forget(kept().front()->seq);
  return true;
}

void Scheduler::ForgetAll(std::vector<SeqId>* close) {
  while (ForgetOldest(close)) {
  }
}

Group* Scheduler::Find(RequestId id) const {
  const auto found = places_.find(id);
  return found == places_.end() ? nullptr : found->second.group;
}

void Scheduler::CheckInvariants() const {
  Promise(queue_.size() + running_.size() == places_.size(), queue_.size(), " wait and ", running_.size(), " run, but ",
          places_.size(), " have a place");
  std::set<SeqId> seen;
  const auto check = [&](const Sequence& sequence, RequestId owner) {
    Promise(seen.insert(sequence.seq).second, "sequence ", sequence.seq, " has two places");
    Promise(sequence.owner == owner, "sequence ", sequence.seq, " of ", owner, " is owned by ", sequence.owner);
    Promise(sequence.cached <= sequence.reserved, "sequence ", sequence.seq, " has ", sequence.cached,
            " tokens and reserves ", sequence.reserved);
  };
  int rows = 0;
  for (const auto& group : running_) {
    Promise(Find(group->ticket.id) == group.get(), "request ", group->ticket.id, " runs and is not found");
    int live = 0;
    for (const auto& row : group->rows) {
      if (row == nullptr) continue;
      check(*row, group->ticket.id);
      Promise(row->cached <= row->tokens.size(), "sequence ", row->seq, " caches ", row->cached, " of ",
              row->tokens.size(), " tokens");
      Promise(row->tokens.size() <= row->reserved, "sequence ", row->seq, " has ", row->tokens.size(),
              " tokens and reserves ", row->reserved);
      if (!group->reading_prompt) {
        Promise(row->pending() <= 1, "sequence ", row->seq, " decodes with ", row->pending(), " tokens pending");
      }
      ++live;
    }
    Promise(live > 0, "request ", group->ticket.id, " runs without sequences");
    rows += live;
  }
  for (const auto& sequence : kept()) check(*sequence, 0);
  Promise(rows == running_rows_, rows, " rows run, ", running_rows_, " are counted");
  Promise(running_rows_ <= limits_.max_running, running_rows_, " rows run, ", limits_.max_running, " may");
  Promise(open_rows() <= limits_.max_open, open_rows(), " rows are open, ", limits_.max_open, " may be");
  cache_->CheckInvariants(running_);
}

}  // namespace skywork_rt
