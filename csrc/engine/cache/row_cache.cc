#include "engine/cache/row_cache.h"

#include <algorithm>
#include <utility>

#include "engine/promise.h"

namespace skywork_rt {

std::optional<Admission> RowCache::Plan(const Ticket& ticket, const Groups& running, int running_rows) const {
  Admission admission;
  admission.id = ticket.id;
  admission.rows = ticket.rows;
  admission.reserve = ticket.reserve;
  const int open = running_rows + static_cast<int>(kept_.size());
  const Candidate best = FindPrefix(ticket, running);
  if (PrefixIsBeingRead(ticket, running, best.match)) return std::nullopt;
  if (best.sequence != nullptr) {
    const bool take_over = HowToReuse(*best.sequence, best.match, ticket) == Admission::Reuse::kTakeOver;
    const int new_rows = ticket.rows - (take_over ? 1 : 0);
    const std::size_t new_tokens = ticket.reserve * static_cast<std::size_t>(new_rows);
    if (MakeRoom(open, new_rows, new_tokens, best.sequence->seq, &admission.evict)) {
      admission.how = take_over ? Admission::Reuse::kTakeOver : Admission::Reuse::kCopy;
      admission.source = best.sequence->seq;
      admission.source_length = best.sequence->cached;
      admission.reuse = best.match;
      return admission;
    }
    admission.evict.clear();  // no room beside the source: do without it
  }
  const std::size_t tokens = ticket.reserve * static_cast<std::size_t>(ticket.rows);
  if (!MakeRoom(open, ticket.rows, tokens, 0, &admission.evict)) return std::nullopt;
  return admission;
}

// Taking a kept sequence over moves no data but spends what lies behind the common part; copying leaves both.
Admission::Reuse RowCache::HowToReuse(const Sequence& source, std::size_t match, const Ticket& ticket) const {
  const bool may_copy = limits_.can_fork;
  const bool may_take_over =
      source.owner == 0 && source.reserved >= ticket.reserve && (match == source.cached || limits_.can_truncate);
  const bool mostly_used = 2 * match >= source.cached;
  if (may_take_over && (mostly_used || !may_copy)) return Admission::Reuse::kTakeOver;
  return may_copy ? Admission::Reuse::kCopy : Admission::Reuse::kNone;
}

RowCache::Candidate RowCache::FindPrefix(const Ticket& ticket, const Groups& running) const {
  Candidate best;
  if (!limits_.prefix_cache) return best;
  const auto consider = [&](const Sequence& sequence) {
    const std::size_t limit = std::min(sequence.cached, ticket.logits_from);  // what must be computed is no reuse
    if (limit < limits_.min_prefix || limit <= best.match || sequence.salt != ticket.salt) return;
    const std::size_t match = CommonPrefix(Span<const TokenId>(ticket.prompt.data(), ticket.logits_from),
                                           Span<const TokenId>(sequence.tokens.data(), sequence.cached));
    if (match < limits_.min_prefix || match <= best.match) return;
    if (HowToReuse(sequence, match, ticket) == Admission::Reuse::kNone) return;
    best = Candidate{&sequence, match};
  };
  for (const auto& sequence : kept_) consider(*sequence);
  for (const auto& group : running) {
    for (const auto& row : group->rows) {
      if (row != nullptr) consider(*row);
    }
  }
  return best;
}

bool RowCache::PrefixIsBeingRead(const Ticket& ticket, const Groups& running, std::size_t already) const {
  if (!limits_.prefix_cache || !limits_.can_fork) return false;
  const std::size_t enough = already + limits_.min_prefix;
  if (ticket.logits_from < enough) return false;
  for (const auto& group : running) {
    if (!group->reading_prompt || group->ticket.salt != ticket.salt) continue;
    const std::size_t match = CommonPrefix(Span<const TokenId>(ticket.prompt.data(), ticket.logits_from),
                                           Span<const TokenId>(group->ticket.prompt));
    if (match >= enough) return true;
  }
  return false;
}

// Chooses kept sequences, longest unused first and never `spare`, until `rows` more holding `tokens` fit.
bool RowCache::MakeRoom(int open, int rows, std::size_t tokens, SeqId spare, std::vector<SeqId>* evict) const {
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

void RowCache::Admit(const Admission& admission, const Ticket&, Group* group) {
  kept_.reserve(kept_.size() + running_rows_ + group->rows.size());  // so that each can be kept without memory
  if (admission.how == Admission::Reuse::kTakeOver) {
    const auto source = std::find_if(kept_.begin(), kept_.end(),
                                     [&](const auto& sequence) { return sequence->seq == admission.source; });
    Promise(source != kept_.end(), "sequence ", admission.source, " is not kept");
    group->rows[0]->reserved = (*source)->reserved;
    Forget(admission.source);
  } else if (admission.how == Admission::Reuse::kCopy) {
    Touch(admission.source);
  }
  for (const auto& row : group->rows) {
    reserved_tokens_ += row->reserved;
    cached_tokens_ += row->cached;
  }
  running_rows_ += group->rows.size();
}

// A kept sequence that served a copy is as good as new.
void RowCache::Touch(SeqId seq) {
  const auto kept =
      std::find_if(kept_.begin(), kept_.end(), [&](const auto& sequence) { return sequence->seq == seq; });
  if (kept != kept_.end()) std::rotate(kept, kept + 1, kept_.end());  // else it runs
}

void RowCache::Forked(Group* group) {
  for (std::size_t i = 1; i < group->rows.size(); ++i) cached_tokens_ += group->rows[i]->cached;
}

// Kept sequences that the new one begins with can serve nothing that it cannot.
void RowCache::Keep(std::unique_ptr<Sequence> sequence, std::vector<SeqId>* close) {
  --running_rows_;
  sequence->owner = 0;
  sequence->tokens.resize(sequence->cached);
  sequence->tokens.shrink_to_fit();  // or not, when memory is out
  for (std::size_t i = 0; i < kept_.size();) {
    const Sequence& other = *kept_[i];
    if (other.salt == sequence->salt && CommonPrefix(other.tokens, sequence->tokens) == other.cached) {
      close->push_back(other.seq);
      Forget(other.seq);
    } else {
      ++i;
    }
  }
  kept_.push_back(std::move(sequence));  // Admit saw to the room
}

void RowCache::Release(Sequence* sequence) {
  if (sequence->owner != 0) --running_rows_;
  reserved_tokens_ -= sequence->reserved;
  cached_tokens_ -= sequence->cached;
}

void RowCache::CheckInvariants(const Groups& running) const {
  std::size_t reserved = 0, cached = 0, rows = 0;
  const auto count = [&](const Sequence& sequence) {
    reserved += sequence.reserved;
    cached += sequence.cached;
  };
  for (const auto& group : running) {
    for (const auto& row : group->rows) {
      if (row == nullptr) continue;
      count(*row);
      ++rows;
    }
  }
  for (const auto& sequence : kept_) count(*sequence);
  Promise(rows == running_rows_, rows, " rows run, the cache counts ", running_rows_);
  Promise(reserved == reserved_tokens_, reserved, " tokens are reserved, ", reserved_tokens_, " are counted");
  Promise(cached == cached_tokens_, cached, " tokens are cached, ", cached_tokens_, " are counted");
  Promise(reserved <= limits_.max_cached_tokens, reserved, " tokens are reserved of ", limits_.max_cached_tokens);
}

}  // namespace skywork_rt
