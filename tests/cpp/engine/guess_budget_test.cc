// Guesses are computed where that is faster, by what steps took.

#include "engine/guess_budget.h"

#include <gtest/gtest.h>

namespace skywork_rt {
namespace {

TEST(GuessBudget, WhatIsNotKnownIsTried) {
  GuessBudget budget;
  EXPECT_TRUE(budget.Pays(1, 4));
  budget.LearnTime(1, 1.0);
  EXPECT_TRUE(budget.Pays(1, 4)) << "nobody knows what five take";
  EXPECT_FALSE(budget.Pays(1, 0));
  EXPECT_FALSE(budget.Pays(0, 4)) << "rows that wait for their masks compute nothing";
}

TEST(GuessBudget, TheyPayWhereTheWeightsAreWhatAStepWaitsFor) {
  GuessBudget budget;
  budget.LearnTime(1, 1.0);
  budget.LearnTime(5, 1.5);
  budget.LearnTime(8, 1.8);
  budget.LearnTime(40, 9.0);
  EXPECT_TRUE(budget.Pays(1, 4));
  EXPECT_FALSE(budget.Pays(8, 32))
      << "five times as long, for at most five times as many tokens, of which some are wrong";
}

TEST(GuessBudget, ANeighbourTellsWhatWasNotMeasured) {
  GuessBudget budget;
  budget.LearnTime(8, 8.0);
  budget.LearnTime(12, 12.0);
  EXPECT_FALSE(budget.Pays(8, 3));
  EXPECT_FALSE(budget.Pays(8, 9));
  budget.LearnTime(16, 8.4);
  EXPECT_TRUE(budget.Pays(8, 9)) << "sixteen are nearer than twelve";
}

TEST(GuessBudget, TheyDoNotPayWhereMostAreWrong) {
  GuessBudget budget;
  budget.LearnTime(1, 1.0);
  budget.LearnTime(5, 1.5);
  for (int i = 0; i < 50; ++i) budget.LearnRight(4, 0);
  EXPECT_FALSE(budget.Pays(1, 4));
  for (int i = 0; i < 50; ++i) budget.LearnRight(4, 4);
  EXPECT_TRUE(budget.Pays(1, 4));
}

TEST(GuessBudget, TheLastMeasurementsCountMost) {
  GuessBudget budget;
  budget.LearnTime(1, 1.0);
  budget.LearnTime(5, 5.0);
  EXPECT_FALSE(budget.Pays(1, 4));
  for (int i = 0; i < 20; ++i) budget.LearnTime(5, 1.5);
  EXPECT_TRUE(budget.Pays(1, 4));
}

TEST(GuessBudget, TheOtherAnswerIsTriedNowAndThen) {
  for (const double together : {9.0, 1.1}) {
    GuessBudget budget;
    budget.LearnTime(1, 1.0);
    budget.LearnTime(5, together);
    int yes = 0;
    for (int i = 0; i < 640; ++i) yes += budget.Pays(1, 4) ? 1 : 0;
    EXPECT_EQ(yes, together > 5.0 ? 10 : 630);
  }
}

TEST(GuessBudget, LargeStepsHaveNone) {
  GuessBudget budget;
  budget.LearnTime(200, 1.0);
  budget.LearnTime(204, 1.0);
  EXPECT_FALSE(budget.Pays(200, 4));
}

}  // namespace
}  // namespace skywork_rt
