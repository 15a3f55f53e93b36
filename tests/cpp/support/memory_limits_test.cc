#include "support/memory_limits.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <string>

#include "support/cpu_quota.h"
#include "support/temporary_directory.h"

namespace skywork_rt {
namespace {

constexpr std::size_t kGiB = std::size_t{1} << 30;

std::string GiB(double count) {
  return std::to_string(static_cast<std::size_t>(count * static_cast<double>(kGiB))) + "\n";
}

/// A machine of 24 GiB, 20 of them available, whose control groups are written by the test.
class MadeUpHost : public ::testing::Test {
 protected:
  MadeUpHost() {
    Write("proc/meminfo", "MemTotal:       25165824 kB\nMemFree: 1 kB\nMemAvailable:   20971520 kB\n");
    folders_.proc = root_.path() / "proc";
    folders_.control_groups = root_.path() / "groups";
  }

  void Write(const std::string& name, const std::string& content) {
    std::filesystem::create_directories((root_.path() / name).parent_path());
    root_.Write(name, content);
  }
  void WriteGroup(const std::string& group, const std::map<std::string, std::string>& files) {
    for (const auto& [name, content] : files) Write("groups/" + group + "/" + name, content);
  }
  MemoryLimits Read() const { return ReadMemoryLimits(folders_); }

  testing::TemporaryDirectory root_;
  HostFolders folders_;
};

using MemoryLimitsTest = MadeUpHost;
using CpuQuotaTest = MadeUpHost;

TEST_F(MemoryLimitsTest, WithoutGroupsTheKernelsEstimateCounts) {
  const MemoryLimits limits = Read();
  EXPECT_EQ(limits.total, 24 * kGiB);
  EXPECT_EQ(limits.available, 20 * kGiB);
  EXPECT_FALSE(limits.limit.has_value());
}

TEST_F(MemoryLimitsTest, EveryLevelOfVersionTwoBounds) {
  Write("proc/self/cgroup", "0::/service/worker\n");
  WriteGroup("service/worker", {{"memory.max", "max\n"}, {"memory.high", "max\n"}, {"memory.current", GiB(1)}});
  WriteGroup("service", {{"memory.max", GiB(8)},
                         {"memory.high", "max\n"},
                         {"memory.current", GiB(6)},
                         {"memory.stat", "anon 1\nfile 2\ninactive_file " + GiB(1) + "active_file " + GiB(2)}});
  EXPECT_EQ(Read().limit, 8 * kGiB);
  EXPECT_EQ(Read().available, 5 * kGiB) << "8, less 6 in use, of which 3 are pages of files";
  WriteGroup("service/worker", {{"memory.high", GiB(4)}});
  EXPECT_EQ(Read().limit, 4 * kGiB) << "above memory.high the kernel slows a group down";
  EXPECT_EQ(Read().available, 3 * kGiB);
}

TEST_F(MemoryLimitsTest, EveryLevelOfVersionOneBounds) {
  Write("proc/self/cgroup", "5:cpu,cpuacct:/\n4:memory:/docker/one\n0::/\n");
  WriteGroup("memory/docker/one",
             {{"memory.limit_in_bytes", "9223372036854771712\n"}, {"memory.usage_in_bytes", GiB(2)}});
  EXPECT_FALSE(Read().limit.has_value()) << "what version 1 writes when there is no bound";
  WriteGroup("memory/docker",
             {{"memory.limit_in_bytes", GiB(6)},
              {"memory.usage_in_bytes", GiB(5)},
              {"memory.stat", "inactive_file 7\ntotal_inactive_file " + GiB(1) + "total_active_file " + GiB(1)}});
  EXPECT_EQ(Read().limit, 6 * kGiB);
  EXPECT_EQ(Read().available, 3 * kGiB);
}

TEST_F(MemoryLimitsTest, AContainerThatSeesOnlyItsOwnPartOfTheTreeIsBounded) {
  Write("proc/self/cgroup", "4:memory:/docker/0123/inner\n");
  WriteGroup("memory", {{"memory.limit_in_bytes", GiB(2)}, {"memory.usage_in_bytes", GiB(0.5)}});
  EXPECT_EQ(Read().available, kGiB * 3 / 2) << "the mount's root is the container's group";
  WriteGroup("memory/inner", {{"memory.limit_in_bytes", GiB(1)}, {"memory.usage_in_bytes", GiB(0.5)}});
  EXPECT_EQ(Read().available, kGiB / 2);
  Write("proc/self/cgroup", "0::/../../elsewhere\n");
  WriteGroup("", {{"memory.max", GiB(3)}, {"memory.current", "0\n"}});
  EXPECT_EQ(Read().available, 3 * kGiB) << "above the namespace's root nothing can be seen";
}

TEST_F(MemoryLimitsTest, AHybridMachineIsReadFromBothTrees) {
  Write("proc/self/cgroup", "4:memory:/a\n0::/b\n");
  WriteGroup("memory/a", {{"memory.limit_in_bytes", GiB(6)}, {"memory.usage_in_bytes", "0\n"}});
  WriteGroup("unified/b", {{"memory.max", GiB(5)}, {"memory.current", "0\n"}});
  EXPECT_EQ(Read().available, 5 * kGiB);
}

TEST_F(MemoryLimitsTest, AGroupThatIsOverItsBoundLeavesNothing) {
  Write("proc/self/cgroup", "0::/\n");
  WriteGroup("",
             {{"memory.max", GiB(1)}, {"memory.current", GiB(2)}, {"memory.stat", "inactive_file 99999999999999\n"}});
  EXPECT_EQ(Read().available, kGiB) << "no more pages of files than pages";
  WriteGroup("", {{"memory.stat", "inactive_file 0\n"}});
  EXPECT_EQ(Read().available, 0U);
}

TEST_F(MemoryLimitsTest, WhatCannotBeReadBoundsNothing) {
  Write("proc/self/cgroup", "nonsense\n0::\n7:memory\n4:memory:/a\n0::/gone\n");
  WriteGroup("memory/a", {{"memory.limit_in_bytes", "soon\n"}, {"memory.usage_in_bytes", ""}});
  WriteGroup("", {{"memory.max", "-5\n"}});
  EXPECT_EQ(Read().available, 20 * kGiB);
  Write("proc/meminfo", "MemTotal: many kB\nMemAvailable:\n");
  EXPECT_GT(Read().available, 0U) << "the C library is asked";
  EXPECT_GT(Read().total, 0U);
}

TEST(MemoryLimits, ThisMachineHasSome) {
  const MemoryLimits limits = ReadMemoryLimits();
  EXPECT_GT(limits.available, 0U);
  EXPECT_LE(limits.available, limits.total);
}

TEST_F(CpuQuotaTest, IsTheLeastOfAllLevels) {
  EXPECT_FALSE(ReadCpuQuota(folders_).has_value());
  Write("proc/self/cgroup", "0::/service/worker\n");
  WriteGroup("service/worker", {{"cpu.max", "max 100000\n"}});
  EXPECT_FALSE(ReadCpuQuota(folders_).has_value());
  WriteGroup("service", {{"cpu.max", "150000 100000\n"}});
  EXPECT_EQ(ReadCpuQuota(folders_), 1.5);
}

TEST_F(CpuQuotaTest, IsReadOfVersionOneToo) {
  Write("proc/self/cgroup", "3:cpu,cpuacct:/docker\n");
  WriteGroup("cpu,cpuacct/docker", {{"cpu.cfs_quota_us", "-1\n"}, {"cpu.cfs_period_us", "100000\n"}});
  EXPECT_FALSE(ReadCpuQuota(folders_).has_value());
  WriteGroup("cpu,cpuacct", {{"cpu.cfs_quota_us", "250000\n"}, {"cpu.cfs_period_us", "100000\n"}});
  EXPECT_EQ(ReadCpuQuota(folders_), 2.5);
}

TEST(CpuQuota, BoundsThreadsRoundedUp) {
  EXPECT_EQ(WithinQuota(8, 2.5), 3);
  EXPECT_EQ(WithinQuota(8, 0.1), 1);
  EXPECT_EQ(WithinQuota(2, 16.0), 2);
  EXPECT_EQ(WithinQuota(8, std::nullopt), 8);
  EXPECT_EQ(WithinQuota(0, std::nullopt), 1);
}

}  // namespace
}  // namespace skywork_rt
