#pragma once

#include "engine/cache/cache_manager.h"
#include "engine/scheduler_limits.h"

namespace skywork_rt {

/// The cache of a backend whose sequences have rows of their own: each takes its whole reservation from Open to Close,
/// also while it is kept. At most a few dozen are open, so a prompt is compared with each.
class RowCache final : public CacheManager {
 public:
  explicit RowCache(const SchedulerLimits& limits) : limits_(limits) {}

  std::optional<Admission> Plan(const Ticket& ticket, const Groups& running, int running_rows) const override;
  void Admit(const Admission& admission, const Ticket& ticket, Group* group) override;
  bool StepFits(const StepPlan&) const override { return true; }
  std::optional<Cut> NextCut(const StepPlan&) const override { return std::nullopt; }
  void CutKept(const Cut&) override {}
  void Grew(Sequence*, std::size_t tokens) override { cached_tokens_ += tokens; }
  void Shrank(Sequence*, std::size_t tokens) override { cached_tokens_ -= tokens; }
  void Forked(Group* group) override;
  void Reordered(Group*, Span<const int>) override {}
  void Progressed(Sequence*) override {}
  void Keep(std::unique_ptr<Sequence> sequence, std::vector<SeqId>* close) override;
  void Release(Sequence* sequence) override;
  void StopReading(Group*) override {}

  std::size_t reserved_tokens() const override { return reserved_tokens_; }
  std::size_t cached_tokens() const override { return cached_tokens_; }
  void CheckInvariants(const Groups& running) const override;

 private:
  struct Candidate {
    const Sequence* sequence = nullptr;
    std::size_t match = 0;
  };

  Admission::Reuse HowToReuse(const Sequence& source, std::size_t match, const Ticket& ticket) const;
  Candidate FindPrefix(const Ticket& ticket, const Groups& running) const;
  bool PrefixIsBeingRead(const Ticket& ticket, const Groups& running, std::size_t already) const;
  bool MakeRoom(int open, int rows, std::size_t tokens, SeqId spare, std::vector<SeqId>* evict) const;
  void Touch(SeqId seq);

  const SchedulerLimits limits_;
  std::size_t reserved_tokens_ = 0;
  std::size_t cached_tokens_ = 0;
  std::size_t running_rows_ = 0;
};

}  // namespace skywork_rt
