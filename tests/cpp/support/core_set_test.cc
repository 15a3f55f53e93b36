#include "support/core_set.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "skywork_rt/error.h"
#include "support/cpu_quota.h"

namespace skywork_rt {
namespace {

/// The cores that this process may use; a machine with one shows less.
std::vector<int> Allowed() {
  cpu_set_t set;
  CPU_ZERO(&set);
  EXPECT_EQ(sched_getaffinity(0, sizeof(set), &set), 0);
  std::vector<int> cores;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &set)) cores.push_back(core);
  }
  return cores;
}

std::string MessageOf(const std::vector<int>& cores) {
  try {
    const CoreSet set(cores);
    return "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    return error.what();
  }
}

TEST(CoreSet, NamesTheAllowedCoresWhenOneIsNotAmongThem) {
  const std::string allowed = CoreSet::OfThisThread().ToString();
  for (const int core : {-1, CPU_SETSIZE - 1, CPU_SETSIZE, 1 << 30}) {
    const std::string message = MessageOf({Allowed()[0], core});
    EXPECT_NE(message.find("core " + std::to_string(core)), std::string::npos) << message;
    EXPECT_NE(message.find(allowed), std::string::npos) << message;
  }
}

TEST(CoreSet, RefusesACoreThatThisThreadMayNotUseAlthoughTheMachineHasIt) {
  const std::vector<int> cores = Allowed();
  if (cores.size() < 2) GTEST_SKIP() << "needs two cores";
  std::thread([&] {
    ASSERT_TRUE(CoreSet({cores[0]}).Confine());
    EXPECT_NE(MessageOf({cores[1]}).find("may run on " + std::to_string(cores[0])), std::string::npos);
  }).join();
}

TEST(CoreSet, RefusesTheSameCoreTwice) {
  const int core = Allowed()[0];
  EXPECT_NE(MessageOf({core, core}).find("twice"), std::string::npos);
}

TEST(CoreSet, WritesRunsOfCoresAsRanges) {
  EXPECT_EQ(CoreSet().ToString(), "");
  const std::vector<int> cores = Allowed();
  EXPECT_EQ(CoreSet({cores[0]}).ToString(), std::to_string(cores[0]));
  if (cores.size() >= 2 && cores[1] == cores[0] + 1) {
    EXPECT_EQ(CoreSet({cores[1], cores[0]}).ToString(), std::to_string(cores[0]) + "-" + std::to_string(cores[1]));
  }
}

TEST(CoreScope, ConfinesTheThreadAndLetsItGo) {
  const CoreSet before = CoreSet::OfThisThread();
  const CoreSet one({Allowed()[0]});
  {
    const CoreScope nowhere{CoreSet()};
    EXPECT_EQ(CoreSet::OfThisThread(), before);
    const CoreScope scope(one);
    EXPECT_EQ(CoreSet::OfThisThread(), one);
    EXPECT_EQ(sched_getcpu(), Allowed()[0]);
  }
  EXPECT_EQ(CoreSet::OfThisThread(), before);
}

TEST(ThreadsToUse, AreThoseAskedForElseOneACore) {
  EXPECT_EQ(ThreadsToUse(3, {0}), 3);
  EXPECT_EQ(ThreadsToUse(0, {0, 1}), WithinQuota(2, ReadCpuQuota()));
  EXPECT_EQ(ThreadsToUse(0, {}), WithinQuota(CoreSet::OfThisThread().size(), ReadCpuQuota()));
}

}  // namespace
}  // namespace skywork_rt
