// While the backend computes a step: who has gone meanwhile hears of it, and a step that is not worth its end is given
// up.

#include <algorithm>
#include <chrono>
#include <mutex>
#include <utility>
#include <vector>

#include "engine/ends.h"
#include "engine/engine.h"

namespace skywork_rt {
namespace {

/// Seconds of a Forward that are not worth the trouble: the step's end is soon enough to look at everything.
constexpr double kSoon = 0.1;

}  // namespace

// Called by the backend between two parts of a Forward. The step's sequences, and the lists that it was planned with,
// stay as they are until it returns.
bool Engine::GivesUp(std::size_t done, std::size_t total) {
  const double elapsed = std::chrono::duration<double>(config_.clock() - forward_began_).count();
  const double rest = elapsed * static_cast<double>(total - done) / static_cast<double>(done);
  if (rest < kSoon) return false;
  if (!TakeArrivals()) return true;  // the engine closes
  if (!SomeEnd()) return false;
  if (SoonerWithout(elapsed, rest)) return true;  // those that end are told when the next step begins
  TellEnds();
  return false;
}

// Takes in what has come; while a step is computed too, as that may be cancelled or run out of time. False when it is
// time to stop.
bool Engine::TakeArrivals() {
  std::vector<StatePtr> arrivals;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (closing_ == Closing::kCancel) return false;
    arrivals.swap(inbox_);
  }
  for (StatePtr& state : arrivals) Accept(std::move(state));
  return true;
}

bool Engine::SomeEnd() const {
  return link_->cancellations.load(std::memory_order_acquire) != seen_cancellations_ ||
         (!deadlines_.empty() && deadlines_.begin()->first <= config_.clock());
}

bool Engine::Ends(const Entry& entry) const {
  return entry.told || entry.state->cancelled() || (entry.deadline.has_value() && *entry.deadline <= config_.clock());
}

// Whether those that stay have their tokens sooner when this Forward is given up and they are computed without those
// that end. Nobody's work is thrown away twice.
bool Engine::SoonerWithout(double elapsed, double rest) {
  std::size_t tokens = 0;
  std::size_t staying = 0;
  bool repeating = false;
  for (std::size_t i = 0; i < work_.size(); ++i) {
    const Entry& entry = entries_.at(work_[i].id);
    tokens += chunks_[i].tokens.size();
    if (Ends(entry)) continue;
    staying += chunks_[i].tokens.size();
    repeating = repeating || entry.repeating;
  }
  if (staying == 0) return true;
  const double share = static_cast<double>(staying) / static_cast<double>(tokens);
  if (repeating || std::max(share * (elapsed + rest), budget_.DecodeSeconds(staying)) >= rest) return false;
  MarkRepeating();
  return true;
}

void Engine::MarkRepeating() {
  for (const Work& work : work_) entries_.at(work.id).repeating = true;
  repeating_ = true;
}

// A Forward has come to its end.
void Engine::EndRepeating() {
  if (!repeating_) return;
  for (const Work& work : work_) {
    if (const auto entry = entries_.find(work.id); entry != entries_.end()) entry->second.repeating = false;
  }
  repeating_ = std::any_of(entries_.begin(), entries_.end(), [](const auto& entry) { return entry.second.repeating; });
}

// The owners hear at once, the sequences are closed when the step has ended.
void Engine::TellEnds() {
  seen_cancellations_ = link_->cancellations.load(std::memory_order_acquire);
  for (auto& [id, entry] : entries_) {
    if (!entry.told && entry.state->cancelled()) Tell(&entry, Cancelled(id));
  }
  const auto now = config_.clock();
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    Entry& entry = entries_.at(deadlines_.begin()->second);
    deadlines_.erase(deadlines_.begin());
    if (!entry.told) Tell(&entry, DeadlineExceeded(*entry.state));
  }
}

void Engine::Tell(Entry* entry, const Error& error) {
  entry->told = true;
  ++told_;
  EndBadly(entry->state.get(), entry->waiting, error);
  entry->waiting = false;
}

// Takes those out that were told while the step was computed.
void Engine::RemoveTold() {
  for (auto next = entries_.begin(); told_ != 0 && next != entries_.end();) {
    const auto& [id, entry] = *next++;  // Remove takes it out
    if (!entry.told) continue;
    --told_;
    Remove(RequestId{id});
  }
}

// The step was given up: all sequences are as before it, but for guesses, which are made anew.
void Engine::UndoStep() {
  for (const Work& work : work_) {
    Group* group = scheduler_.Find(work.id);
    if (group != nullptr) scheduler_.SettleGuesses(group->rows[static_cast<std::size_t>(work.row)].get(), 0);
  }
}

}  // namespace skywork_rt
