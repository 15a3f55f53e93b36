#include "engine/engine.h"
#include "support/format.h"
#include "support/log.h"

namespace skywork_rt {

// A check that runs out of memory has found nothing.
void Engine::CheckInvariants() try {
  const auto promise = [](bool holds, const std::string& what) {
    if (!holds) throw Error(ErrorCode::kInternal, StrCat("engine: ", what));
  };
  scheduler_.CheckInvariants();
  std::size_t running = 0;
  for (const auto& group : scheduler_.running()) {
    promise(entries_.count(group->ticket.id) != 0, StrCat("request ", group->ticket.id, " runs without an owner"));
    ++running;
    for (const auto& row : group->rows) {
      if (row == nullptr) continue;
      promise(row->guesses == 0, StrCat("sequence ", row->seq, " keeps ", row->guesses, " guesses behind a step"));
      promise(backend_->Length(row->seq) == row->cached,
              StrCat("sequence ", row->seq, " holds ", backend_->Length(row->seq), " tokens, not ", row->cached));
    }
  }
  for (const auto& kept : scheduler_.kept()) {
    promise(backend_->Length(kept->seq) == kept->cached,
            StrCat("kept sequence ", kept->seq, " holds ", backend_->Length(kept->seq), " tokens, not ", kept->cached));
  }
  promise(entries_.size() == running + scheduler_.queued(),
          StrCat(entries_.size(), " requests, but ", running, " run and ", scheduler_.queued(), " wait"));
  const std::lock_guard<std::mutex> lock(mutex_);
  std::size_t waiting = inbox_.size();
  for (const auto& [id, entry] : entries_) waiting += entry.waiting ? 1 : 0;
  promise(waiting_ == waiting, StrCat(waiting_, " are counted as waiting, ", waiting, " are"));
  promise(waiting_ <= config_.options.max_queue, StrCat(waiting_, " wait, ", config_.options.max_queue, " may"));
} catch (const std::bad_alloc&) {
  LogText(LogLevel::kDebug, "no memory to check the engine's invariants");
}

}  // namespace skywork_rt
