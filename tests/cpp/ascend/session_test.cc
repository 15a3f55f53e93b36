// Opening graphs through the provider ge on the MindSpore Lite that is here, which has no ge: what comes is an error of
// ours with Lite's own words, never a crash or a wait.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "backend/lite_runtime/lite_library.h"
#include "backend/lite_runtime/session_entry.h"
#include "skywork_rt/error.h"
#include "support/temporary_directory.h"

namespace skywork_rt::lite_runtime {
namespace {

using ::testing::HasSubstr;

class OnLiteWithoutGe : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_.Write("full.mindir", "no graph at all");
    folder_.Write("inc.mindir", "no graph at all");
    folder_.Write("context.cfg", "[ascend_context]\nprovider=ge\n[ge_session_options]\nge.externalWeight=1\n");
  }

  std::string PathOf(const std::string& name) const { return (folder_.path() / name).string(); }

  static std::string Refusal(ErrorCode code, const std::vector<std::string>& paths, const AscendPlace& place) {
    try {
      LiteLibrary::Get().OpenOnAscend(paths, place);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      return error.what();
    }
    ADD_FAILURE() << "was opened";
    return "";
  }

  skywork_rt::testing::TemporaryDirectory folder_;
};

TEST_F(OnLiteWithoutGe, TwoGraphsNeedALiteThatSharesWeights) {
  if (std::getenv("LITE_HOME") != nullptr) GTEST_SKIP() << "LITE_HOME's Lite may share weights";
  const std::string message =
      Refusal(ErrorCode::kBackendUnavailable, {PathOf("full.mindir"), PathOf("inc.mindir")}, {});
  EXPECT_THAT(message, HasSubstr("LITE_HOME to an unpacked MindSpore Lite 2.2 or later"));
}

TEST_F(OnLiteWithoutGe, ARankNeedsALaterLite) {
  if (std::getenv("LITE_HOME") != nullptr) GTEST_SKIP() << "LITE_HOME's Lite may know ranks";
  AscendPlace place;
  place.rank_id = 3;
  EXPECT_THAT(Refusal(ErrorCode::kBackendUnavailable, {PathOf("full.mindir")}, place), HasSubstr("rank_id is 3"));
}

TEST_F(OnLiteWithoutGe, OneGraphFailsWithLitesWordsAfterItsConfigurationWasTaken) {
  AscendPlace place;
  place.config_files = {PathOf("context.cfg")};
  place.overrides = {{{"ge_session_options", "ge.exec.precision_mode", "force_fp16"}}};
  EXPECT_THAT(Refusal(ErrorCode::kBackend, {PathOf("full.mindir")}, place), HasSubstr("could not load"));
  place.config_files = {PathOf("none.cfg")};
  EXPECT_THAT(Refusal(ErrorCode::kBackend, {PathOf("full.mindir")}, place), HasSubstr("read the configuration"));
}

}  // namespace
}  // namespace skywork_rt::lite_runtime
