#include "engine/row_chooser.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <new>
#include <set>
#include <thread>
#include <vector>

#include "engine/engine_fixture.h"

namespace skywork_rt {
namespace {

constexpr std::size_t kMuchWork = std::size_t{1} << 24;

/// True when `count` reaches `wanted` before anybody would lose patience.
bool Reaches(const std::atomic<int>& count, int wanted) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (count.load() < wanted && std::chrono::steady_clock::now() < end) std::this_thread::yield();
  return count.load() >= wanted;
}

TEST(RowChooser, ChoosesOnSeveralThreadsEachWithScratchOfItsOwn) {
  RowChooser chooser(2, {});
  std::atomic<int> inside{0};
  std::atomic<bool> together{true};
  std::vector<const SamplingScratch*> used(2);
  ASSERT_TRUE(chooser.ChooseAll(2, kMuchWork, [&](std::size_t row, SamplingScratch* scratch, ChosenToken* chosen) {
    ++inside;
    if (!Reaches(inside, 2)) together = false;  // each waits for the other
    used[row] = scratch;
    chosen->token = static_cast<TokenId>(row + 7);
  }));
  EXPECT_TRUE(together);
  EXPECT_NE(used[0], used[1]);
  EXPECT_EQ(chooser.chosen(0).token, 7);
  EXPECT_EQ(chooser.chosen(1).token, 8);
}

TEST(RowChooser, ARowThatFailsKeepsItsErrorAndHarmsNoOther) {
  RowChooser chooser(3, {});
  for (int round = 0; round < 2; ++round) {  // what failed once is forgotten by the next time
    ASSERT_TRUE(chooser.ChooseAll(40, kMuchWork, [&](std::size_t row, SamplingScratch*, ChosenToken* chosen) {
      if (round == 0 && row == 5) throw std::bad_alloc();
      if (round == 0 && row == 6) throw Error(ErrorCode::kBackend, "damaged");
      chosen->token = static_cast<TokenId>(row);
    }));
    for (std::size_t row = 0; row < 40; ++row) {
      const bool fails = round == 0 && (row == 5 || row == 6);
      ASSERT_EQ(chooser.chosen(row).failure != nullptr, fails) << row;
      if (!fails) {
        ASSERT_EQ(chooser.chosen(row).token, static_cast<TokenId>(row));
      }
    }
    if (round != 0) continue;
    EXPECT_THROW(std::rethrow_exception(chooser.chosen(5).failure), std::bad_alloc);
    EXPECT_THROW(std::rethrow_exception(chooser.chosen(6).failure), Error);
  }
}

TEST(RowChooser, RowsThatAreLittleWorkAreOneTask) {
  RowChooser chooser(4, {});
  std::set<std::thread::id> threads;  // guarded by nothing: one task is one thread
  ASSERT_TRUE(chooser.ChooseAll(
      1000, 0, [&](std::size_t, SamplingScratch*, ChosenToken*) { threads.insert(std::this_thread::get_id()); }));
  EXPECT_EQ(threads.size(), 1u);
}

TEST(RowChooser, DoesNotWaitForWhoComputesOnThePool) {
  RowChooser chooser(2, {});
  const auto choose = [](std::size_t, SamplingScratch*, ChosenToken*) {};
  {
    const ThreadPool::Lease other(2);
    bool chose = true;
    std::thread([&] { chose = chooser.ChooseAll(8, kMuchWork, choose); }).join();
    EXPECT_FALSE(chose);
  }
  EXPECT_TRUE(chooser.ChooseAll(8, kMuchWork, choose));
}

TEST(RowChooser, FewRowsOfLittleWorkDoNotPay) {
  const RowChooser chooser(8, {});
  const std::size_t vocab = 65519;
  EXPECT_FALSE(chooser.Pays(1, RowChooser::WorkOf(vocab, false))) << "one row has nobody to share with";
  EXPECT_FALSE(chooser.Pays(4, 4 * RowChooser::WorkOf(vocab, true)));
  EXPECT_TRUE(chooser.Pays(4, 4 * RowChooser::WorkOf(vocab, false)));
  EXPECT_TRUE(chooser.Pays(1000, 1000 * RowChooser::WorkOf(vocab, true)));
  EXPECT_FALSE(RowChooser(1, {}).Pays(1000, 1000 * RowChooser::WorkOf(vocab, false))) << "nobody helps";
}

}  // namespace
}  // namespace skywork_rt
