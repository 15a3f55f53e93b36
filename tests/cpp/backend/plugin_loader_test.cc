#include "backend/plugin_loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "skywork_rt/error.h"
#include "support/temporary_directory.h"

namespace skywork_rt {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;

std::string Complaint(const std::filesystem::path& file) {
  try {
    LoadPluginFile(file);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kBackendUnavailable);
    return error.what();
  }
  ADD_FAILURE() << "was loaded";
  return "";
}

TEST(PluginLoader, LoadsAPluginOfThisBuild) {
  const PluginEntry& entry = LoadPluginFile(TEST_PLUGIN_GOOD);
  EXPECT_EQ(entry.abi, kPluginAbi);
  EXPECT_STREQ(entry.backend.name, "good");
}

TEST(PluginLoader, RefusesAnotherAbiByNumber) {
  EXPECT_THAT(Complaint(TEST_PLUGIN_OTHER_ABI), AllOf(HasSubstr("ABI 999"), HasSubstr(TEST_PLUGIN_OTHER_ABI)));
}

TEST(PluginLoader, RefusesALibraryThatIsNoPlugin) {
  EXPECT_THAT(Complaint(TEST_PLUGIN_NO_ENTRY), HasSubstr(kPluginSymbol));
}

TEST(PluginLoader, RepeatsTheDynamicLoadersWords) {
  const testing::TemporaryDirectory directory;
  directory.Write("junk.so", "junk");
  EXPECT_THAT(Complaint(directory.path() / "junk.so"), HasSubstr("does not load: "));
}

TEST(PluginLoader, ListsWhereItLookedForAnAbsentPlugin) {
  setenv("SKYWORK_RT_BACKENDS", "/one::/two", 1);
  EXPECT_THAT(PluginFolders(), AllOf(Contains("/one"), Contains("/two")));
  try {
    LoadPlugin("absent");
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kBackendUnavailable);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("skywork_rt_absent.so"), HasSubstr("/one, /two")));
  }
  unsetenv("SKYWORK_RT_BACKENDS");
}

TEST(PluginLoader, FindsAPluginByNameAndLoadsItOnce) {
  setenv("SKYWORK_RT_BACKENDS", TEST_PLUGIN_FOLDER, 1);
  const PluginEntry& first = LoadPlugin("good");
  unsetenv("SKYWORK_RT_BACKENDS");
  EXPECT_EQ(&first, &LoadPlugin("good"));
}

}  // namespace
}  // namespace skywork_rt
