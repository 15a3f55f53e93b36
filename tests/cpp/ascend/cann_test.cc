// What the user of a machine without a card reads. Tests run in processes of their own, whose environment is theirs.

#include "backend/ascend/cann.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <string>

#include "skywork_rt/error.h"
#include "support/temporary_directory.h"

namespace skywork_rt::ascend {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class WithoutCard : public ::testing::Test {
 protected:
  void SetUp() override {
    if (std::filesystem::exists("/dev/davinci_manager")) GTEST_SKIP() << "this machine has a card";
    unsetenv("ASCEND_HOME_PATH");
    unsetenv("LD_LIBRARY_PATH");
  }

  static std::string Refusal() {
    const auto start = std::chrono::steady_clock::now();
    std::string message;
    try {
      RequireCann();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kBackendUnavailable);
      message = error.what();
    }
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
    return message;
  }

  void Put(const std::string& name) {
    std::filesystem::create_directories((folder_.path() / name).parent_path());
    std::ofstream(folder_.path() / name) << "no library";
  }

  skywork_rt::testing::TemporaryDirectory folder_;
};

TEST_F(WithoutCard, LibrariesAndVariablesAreNamed) {
  EXPECT_THAT(Refusal(),
              AllOf(HasSubstr("libascendcl.so and libge_runner.so"), HasSubstr("ASCEND_HOME_PATH is not set"),
                    HasSubstr("LD_LIBRARY_PATH is not set"), HasSubstr("set_env.sh")));
}

TEST_F(WithoutCard, AToolkitThatTheLoaderDoesNotSeeIsFound) {
  Put("lib64/libascendcl.so");
  setenv("ASCEND_HOME_PATH", folder_.path().c_str(), 1);
  EXPECT_THAT(Refusal(),
              AllOf(HasSubstr("not where the loader looks"), HasSubstr((folder_.path() / "lib64").string())));
}

TEST_F(WithoutCard, OneLibraryOfTheTwoIsNotEnough) {
  Put("libascendcl.so");
  setenv("LD_LIBRARY_PATH", folder_.path().c_str(), 1);
  EXPECT_THAT(Refusal(), AllOf(HasSubstr("libge_runner.so of CANN"), ::testing::Not(HasSubstr("libascendcl.so and"))));
}

TEST_F(WithoutCard, ALibraryThatDoesNotLoadRepeatsTheLoadersWords) {
  Put("libascendcl.so");
  Put("libge_runner.so");
  setenv("LD_LIBRARY_PATH", ("/nowhere:" + folder_.path().string()).c_str(), 1);
  EXPECT_THAT(Refusal(), AllOf(HasSubstr("libascendcl.so does not load"), HasSubstr("one release")));
}

}  // namespace
}  // namespace skywork_rt::ascend
