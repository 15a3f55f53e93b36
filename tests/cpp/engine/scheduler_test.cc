#include "engine/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "skywork_rt/error.h"

namespace skywork_rt {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

/// A scheduler with a backend that does nothing but hand out numbers.
class SchedulerTest : public ::testing::Test {
 protected:
  SchedulerTest() { limits_ = Generous(); }

  static SchedulerLimits Generous() {
    SchedulerLimits limits;
    limits.max_running = 4;
    limits.max_open = 6;
    limits.max_cached_tokens = 1000;
    limits.max_chunk = 100;
    limits.prefill_budget = 100;
    limits.max_logit_rows = 100;
    limits.prefix_cache = true;
    limits.min_prefix = 2;
    limits.can_fork = true;
    limits.can_truncate = true;
    return limits;
  }

  Scheduler& scheduler() {
    if (!scheduler_) scheduler_ = std::make_unique<Scheduler>(limits_);
    return *scheduler_;
  }

  RequestId Enqueue(std::vector<TokenId> prompt, std::size_t max_tokens = 10, int priority = 0, int rows = 1) {
    Ticket ticket;
    ticket.id = ++last_id_;
    ticket.priority = priority;
    ticket.reserve = prompt.size() + max_tokens;
    ticket.logits_from = prompt.size() - 1;
    ticket.prompt = std::move(prompt);
    ticket.rows = rows;
    scheduler().Enqueue(std::move(ticket));
    return last_id_;
  }

  static std::vector<TokenId> Tokens(std::size_t count, TokenId first = 0) {
    std::vector<TokenId> tokens(count);
    std::iota(tokens.begin(), tokens.end(), first);
    return tokens;
  }

  std::optional<Admission> AdmitOne() {
    const std::optional<Admission> admission = scheduler().NextAdmission();
    if (!admission.has_value()) return admission;
    for (const SeqId seq : admission->evict) scheduler().Forget(seq);
    std::vector<SeqId> rows;
    if (admission->how == Admission::Reuse::kTakeOver) rows.push_back(admission->source);
    while (rows.size() < static_cast<std::size_t>(admission->rows)) rows.push_back(++last_seq_);
    scheduler().Admit(*admission, Span<const SeqId>(rows));
    scheduler().CheckInvariants();
    return admission;
  }

  void AdmitAll() {
    while (AdmitOne().has_value()) {
    }
  }

  StepPlan Plan() {
    StepPlan plan;
    scheduler().PlanStep(&plan);
    return plan;
  }

  /// Runs one step; every row that has all its tokens cached gets the next one.
  StepPlan Step() {
    StepPlan plan = Plan();
    std::vector<PlannedChunk> all = plan.decode;
    all.insert(all.end(), plan.prefill.begin(), plan.prefill.end());
    for (const PlannedChunk& chunk : all) {
      scheduler().Commit(chunk);
      Group* group = scheduler().Find(chunk.sequence->owner);
      if (chunk.sequence->pending() != 0) continue;
      if (group->reading_prompt) scheduler().Fork(group);
    }
    for (const auto& group : scheduler().running()) {
      for (const auto& row : group->rows) {
        if (row != nullptr && !group->reading_prompt && row->pending() == 0) scheduler().Append(row.get(), 7);
      }
    }
    scheduler().CheckInvariants();
    return plan;
  }

  std::vector<SeqId> Finish(RequestId id) {
    std::vector<SeqId> close;
    const auto rows = scheduler().Find(id)->rows.size();
    for (std::size_t row = 0; row < rows; ++row) scheduler().Leave(id, static_cast<int>(row), row == 0, &close);
    scheduler().CheckInvariants();
    return close;
  }

  std::vector<RequestId> Running() {
    std::vector<RequestId> ids;
    for (const auto& group : scheduler().running()) ids.push_back(group->ticket.id);
    return ids;
  }

  SchedulerLimits limits_;
  std::unique_ptr<Scheduler> scheduler_;
  RequestId last_id_ = 0;
  SeqId last_seq_ = 100;
};

TEST_F(SchedulerTest, ServesTheQueueByPriorityThenByArrival) {
  limits_.max_running = 1;
  const RequestId first = Enqueue(Tokens(3, 0));
  const RequestId second = Enqueue(Tokens(3, 10));
  const RequestId urgent = Enqueue(Tokens(3, 20), 10, 5);
  std::vector<RequestId> order;
  for (int i = 0; i < 3; ++i) {
    order.push_back(AdmitOne()->id);
    EXPECT_FALSE(AdmitOne().has_value()) << "only one row may run";
    Finish(order.back());
  }
  EXPECT_THAT(order, ElementsAre(urgent, first, second));
}

TEST_F(SchedulerTest, RequestThatDoesNotFitHoldsBackThoseBehindIt) {
  limits_.prefix_cache = false;
  const RequestId big = Enqueue(Tokens(100), 500);
  const RequestId bigger = Enqueue(Tokens(100), 500);
  Enqueue(Tokens(3), 3);
  AdmitAll();
  EXPECT_THAT(Running(), ElementsAre(big));
  Finish(big);
  AdmitAll();
  EXPECT_EQ(Running().front(), bigger);
  EXPECT_EQ(Running().size(), 2U) << "the small one came after it";
}

TEST_F(SchedulerTest, ReservesPromptAndOutputOfEveryRowBeforeAnythingRuns) {
  Enqueue(Tokens(20), 30, 0, 3);
  AdmitAll();
  EXPECT_EQ(scheduler().reserved_tokens(), 3U * 50U);
  EXPECT_EQ(scheduler().running_rows(), 3);
  EXPECT_EQ(scheduler().cached_tokens(), 0U);
}

TEST_F(SchedulerTest, RowsOfOneRequestAreAdmittedTogetherOrNotAtAll) {
  Enqueue(Tokens(3), 10, 0, 3);
  Enqueue(Tokens(3, 50), 10, 0, 2);
  AdmitAll();
  EXPECT_EQ(scheduler().running_rows(), 3) << "two more would make five of four";
}

TEST_F(SchedulerTest, PrefillOfAStepStaysWithinItsBudget) {
  limits_.prefill_budget = 8;
  limits_.prefix_cache = false;
  Enqueue(Tokens(5));
  Enqueue(Tokens(7));
  AdmitAll();
  StepPlan plan = Step();
  ASSERT_EQ(plan.prefill.size(), 2U);
  EXPECT_EQ(plan.prefill[0].count, 5U);
  EXPECT_EQ(plan.prefill[0].logit_rows, 1U);
  EXPECT_EQ(plan.prefill[1].count, 3U);
  EXPECT_EQ(plan.prefill[1].logit_rows, 0U) << "no logits in the middle of a prompt";
  plan = Step();
  ASSERT_EQ(plan.prefill.size(), 1U);
  EXPECT_EQ(plan.prefill[0].count, 4U);
  EXPECT_EQ(plan.decode.size(), 1U) << "the first one decodes meanwhile";
}

TEST_F(SchedulerTest, ChunksRespectTheBackendsLargest) {
  limits_.max_chunk = 3;
  Enqueue(Tokens(7));
  AdmitAll();
  EXPECT_EQ(Step().prefill[0].count, 3U);
  EXPECT_EQ(Step().prefill[0].count, 3U);
  const StepPlan last = Step();
  ASSERT_EQ(last.decode.size(), 1U) << "a last single token is shaped like decode";
  EXPECT_EQ(last.decode[0].count, 1U);
  EXPECT_EQ(last.decode[0].logit_rows, 1U);
}

TEST_F(SchedulerTest, DecodingRowsRunInEveryStepWhateverIsBeingRead) {
  limits_.prefill_budget = 1;
  limits_.prefix_cache = false;
  Enqueue(Tokens(1));
  AdmitAll();
  Step();
  Enqueue(Tokens(30));
  AdmitAll();
  for (int i = 0; i < 5; ++i) {
    const StepPlan plan = Step();
    EXPECT_EQ(plan.decode.size() + plan.prefill.size(), 2U);
  }
}

TEST_F(SchedulerTest, PromptsOfHigherPriorityAreReadFirst) {
  limits_.prefill_budget = 4;
  Enqueue(Tokens(10, 0));
  AdmitAll();
  Step();
  const RequestId urgent = Enqueue(Tokens(4, 50), 10, 1);
  AdmitAll();
  const StepPlan plan = Step();
  ASSERT_EQ(plan.prefill.size(), 1U);
  EXPECT_EQ(plan.prefill[0].sequence->owner, urgent);
}

TEST_F(SchedulerTest, ScoredPromptsAreCutToTheLogitRowsOfAStep) {
  limits_.max_logit_rows = 4;
  Ticket ticket;
  ticket.id = 1;
  ticket.prompt = Tokens(10);
  ticket.reserve = 20;
  ticket.logits_from = 3;
  scheduler().Enqueue(ticket);
  AdmitAll();
  std::vector<std::pair<std::size_t, std::size_t>> chunks;
  for (int i = 0; i < 2; ++i) {
    const StepPlan plan = Step();
    chunks.emplace_back(plan.prefill.at(0).count, plan.prefill.at(0).logit_rows);
  }
  EXPECT_THAT(chunks, ElementsAre(std::make_pair(7U, 4U), std::make_pair(3U, 3U)));
}

TEST_F(SchedulerTest, FinishedSequenceIsTakenOverByAPromptThatContinuesIt) {
  const RequestId first = Enqueue(Tokens(8), 50);
  AdmitAll();
  Step();
  EXPECT_THAT(Finish(first), IsEmpty()) << "kept, not closed";
  Enqueue(Tokens(12), 10);
  const Admission admission = AdmitOne().value();
  EXPECT_EQ(admission.how, Admission::Reuse::kTakeOver);
  EXPECT_EQ(admission.reuse, 8U);
  EXPECT_EQ(Step().prefill[0].count, 4U) << "only what is new is read";
  EXPECT_TRUE(scheduler().kept().empty());
}

TEST_F(SchedulerTest, LastPromptTokenIsComputedEvenWhenAllIsCached) {
  const RequestId first = Enqueue(Tokens(8), 50);
  AdmitAll();
  Step();
  Finish(first);
  Enqueue(Tokens(8), 10);
  EXPECT_EQ(AdmitOne()->reuse, 7U);
}

TEST_F(SchedulerTest, WhatIsScoredIsNotReused) {
  const RequestId first = Enqueue(Tokens(8), 50);
  AdmitAll();
  Step();
  Finish(first);
  Ticket ticket;
  ticket.id = 50;
  ticket.prompt = Tokens(8);
  ticket.reserve = 18;
  ticket.logits_from = 3;
  scheduler().Enqueue(ticket);
  EXPECT_EQ(AdmitOne()->reuse, 3U);
}

TEST_F(SchedulerTest, RunningSequenceIsCopiedNotTaken) {
  Enqueue(Tokens(8), 10);
  AdmitAll();
  Step();
  Enqueue(Tokens(12), 10);
  const Admission admission = AdmitOne().value();
  EXPECT_EQ(admission.how, Admission::Reuse::kCopy);
  EXPECT_EQ(admission.reuse, 8U);
  EXPECT_EQ(scheduler().running_rows(), 2);
}

TEST_F(SchedulerTest, SequenceThatIsMostlySomethingElseIsCopiedNotTaken) {
  const RequestId first = Enqueue(Tokens(20), 30);
  AdmitAll();
  Step();
  Finish(first);
  std::vector<TokenId> prompt = Tokens(5);
  prompt.push_back(99);
  Enqueue(prompt, 30);
  const Admission admission = AdmitOne().value();
  EXPECT_EQ(admission.how, Admission::Reuse::kCopy);
  EXPECT_EQ(admission.reuse, 5U);
  EXPECT_EQ(scheduler().kept().size(), 1U);
}

TEST_F(SchedulerTest, KeptSequencesGoLongestUnusedFirst) {
  limits_.max_open = 4;
  std::vector<RequestId> ids;
  for (int i = 0; i < 4; ++i) ids.push_back(Enqueue(Tokens(5, 100 * i)));
  AdmitAll();
  Step();
  for (const RequestId id : {ids[2], ids[0], ids[1], ids[3]}) Finish(id);
  ASSERT_EQ(scheduler().kept().size(), 4U);
  const SeqId oldest = scheduler().kept().front()->seq;
  Enqueue(Tokens(5, 1000));
  EXPECT_THAT(AdmitOne()->evict, ElementsAre(oldest));
}

TEST_F(SchedulerTest, ServingACopyMakesAKeptSequenceYoung) {
  std::vector<RequestId> ids;
  for (int i = 0; i < 2; ++i) ids.push_back(Enqueue(Tokens(20, 100 * i), 30));
  AdmitAll();
  Step();
  for (const RequestId id : ids) Finish(id);
  const SeqId older = scheduler().kept().front()->seq;
  std::vector<TokenId> prompt = Tokens(4);
  prompt.push_back(99);
  Enqueue(prompt, 40);
  ASSERT_EQ(AdmitOne()->how, Admission::Reuse::kCopy);
  EXPECT_EQ(scheduler().kept().back()->seq, older);
}

TEST_F(SchedulerTest, ReservationsOfKeptSequencesYieldToNewRequests) {
  const RequestId first = Enqueue(Tokens(10), 890);
  AdmitAll();
  Step();
  Finish(first);
  EXPECT_EQ(scheduler().reserved_tokens(), 900U);
  Enqueue(Tokens(10, 500), 490);
  const Admission admission = AdmitOne().value();
  EXPECT_EQ(admission.evict.size(), 1U);
  EXPECT_EQ(scheduler().reserved_tokens(), 500U);
}

TEST_F(SchedulerTest, PromptThatIsBeingReadIsWaitedForAndCopied) {
  limits_.prefill_budget = 10;
  Enqueue(Tokens(20));
  Enqueue(Tokens(22), 20);
  AdmitAll();
  EXPECT_EQ(scheduler().running_rows(), 1) << "reading the same twice would cost more than waiting";
  Step();
  AdmitAll();
  EXPECT_EQ(scheduler().running_rows(), 1);
  Step();
  const Admission admission = AdmitOne().value();
  EXPECT_EQ(admission.how, Admission::Reuse::kCopy);
  EXPECT_EQ(admission.reuse, 20U);
}

TEST_F(SchedulerTest, BackendThatCannotForkOrTruncateSharesNothing) {
  limits_.can_fork = false;
  limits_.can_truncate = false;
  const RequestId first = Enqueue(Tokens(8), 50);
  Enqueue(Tokens(8), 50);
  AdmitAll();
  EXPECT_EQ(scheduler().running_rows(), 2) << "nobody waits for a prompt that cannot be shared";
  Step();
  Finish(first);
  Enqueue(Tokens(8), 10);
  EXPECT_EQ(AdmitOne()->reuse, 0U);
}

TEST_F(SchedulerTest, SequenceThatALongerOneContainsIsNotKept) {
  const RequestId first = Enqueue(Tokens(6, 1), 50);  // the output is 7, 7, ...
  AdmitAll();
  Step();
  Enqueue(Tokens(9, 1), 60);  // copies: row one is running
  const RequestId second = AdmitOne()->id;
  Step();
  Finish(first);
  EXPECT_THAT(Finish(second), ElementsAre(101)) << "the shorter one is closed";
  EXPECT_EQ(scheduler().kept().size(), 1U);
}

TEST_F(SchedulerTest, ForkGivesEveryRowThePrompt) {
  Enqueue(Tokens(6), 10, 0, 3);
  AdmitAll();
  Step();
  for (const auto& row : scheduler().running()[0]->rows) {
    EXPECT_EQ(row->cached, 6U);
    EXPECT_EQ(row->pending(), 1U);
  }
}

TEST_F(SchedulerTest, ReorderMovesOutputsAsIfReadBeforeAnyIsWritten) {
  const RequestId id = Enqueue(Tokens(3), 10, 0, 3);
  AdmitAll();
  Step();
  Group* group = scheduler().Find(id);
  for (std::size_t i = 0; i < 3; ++i) group->rows[i]->tokens.back() = static_cast<TokenId>(i);
  for (const PlannedChunk& chunk : Plan().decode) scheduler().Commit(chunk);
  const std::vector<int> parents{2, 0, 0};
  scheduler().Reorder(group, Span<const int>(parents));
  EXPECT_EQ(group->rows[0]->tokens.back(), 2);
  EXPECT_EQ(group->rows[1]->tokens.back(), 0);
  EXPECT_EQ(group->rows[2]->tokens.back(), 0);
  scheduler().CheckInvariants();
}

TEST_F(SchedulerTest, RemovedRequestLeavesNothingBehind) {
  const RequestId running = Enqueue(Tokens(6), 10, 0, 3);
  const RequestId queued = Enqueue(Tokens(6, 50), 10, 0, 3);
  AdmitAll();
  Step();
  std::vector<SeqId> close;
  scheduler().Remove(queued, &close);
  EXPECT_THAT(close, IsEmpty());
  EXPECT_EQ(scheduler().queued(), 0U);
  scheduler().Remove(running, &close);
  EXPECT_THAT(close, ElementsAre(101, 102, 103));
  EXPECT_EQ(scheduler().reserved_tokens(), 0U);
  EXPECT_EQ(scheduler().running_rows(), 0);
  scheduler().CheckInvariants();
}

TEST_F(SchedulerTest, BrokenPromisesAreReportedAsOurs) {
  const RequestId id = Enqueue(Tokens(3), 1);
  AdmitAll();
  Step();  // appends the only token that fits
  Sequence* row = scheduler().Find(id)->rows[0].get();
  try {
    scheduler().Append(row, 1);
    FAIL() << "two pending tokens in a decoding row";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInternal);
  }
}

/// Random requests, steps, ends and cancellations: the bookkeeping stays whole, nobody starves, all room comes back.
TEST_F(SchedulerTest, RandomLifeKeepsEveryPromise) {
  std::mt19937 random(7);
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  limits_.prefill_budget = 16;
  limits_.max_cached_tokens = 200;
  std::vector<RequestId> alive;
  for (int i = 0; i < 20000; ++i) {
    if (below(3) == 0 && alive.size() < 20) {
      std::vector<TokenId> prompt = Tokens(static_cast<std::size_t>(1 + below(30)), 10 * below(3));
      prompt.push_back(below(4));
      alive.push_back(Enqueue(prompt, static_cast<std::size_t>(1 + below(19)), below(3), 1 + below(4)));
    }
    AdmitAll();
    const StepPlan plan = Plan();
    std::size_t prefill = 0;
    for (const PlannedChunk& chunk : plan.prefill) prefill += chunk.count;
    ASSERT_LE(prefill, limits_.prefill_budget);
    if (!alive.empty()) {
      ASSERT_FALSE(plan.empty()) << "requests wait, but nothing runs";
    }
    for (const auto& group : scheduler().running()) {
      for (const auto& row : group->rows) {
        ASSERT_TRUE(group->reading_prompt || row->pending() == 1);
      }
    }
    std::vector<RequestId> full;
    for (const PlannedChunk& chunk : plan.decode) {
      if (chunk.sequence->tokens.size() == chunk.sequence->reserved) full.push_back(chunk.sequence->owner);
    }
    std::sort(full.begin(), full.end());
    full.erase(std::unique(full.begin(), full.end()), full.end());
    for (const RequestId id : full) Finish(id);
    Step();
    if (below(10) == 0 && !alive.empty()) {
      const RequestId id = alive[static_cast<std::size_t>(below(static_cast<int>(alive.size())))];
      std::vector<SeqId> close;
      if (scheduler().IsQueued(id) || scheduler().Find(id) != nullptr) scheduler().Remove(id, &close);
    }
    alive.erase(
        std::remove_if(alive.begin(), alive.end(),
                       [&](RequestId id) { return !scheduler().IsQueued(id) && scheduler().Find(id) == nullptr; }),
        alive.end());
  }
  std::vector<SeqId> close;
  for (const RequestId id : alive) scheduler().Remove(id, &close);
  scheduler().ForgetAll(&close);
  scheduler().CheckInvariants();
  EXPECT_EQ(scheduler().reserved_tokens(), 0U);
}

}  // namespace
}  // namespace skywork_rt
