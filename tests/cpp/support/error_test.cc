#include "skywork_rt/error.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "skywork_rt/log.h"
#include "support/log.h"

namespace skywork_rt {
namespace {

TEST(Error, CarriesItsCodeAndMessage) {
  const Error error(ErrorCode::kCapacity, "queue full");
  EXPECT_EQ(error.code(), ErrorCode::kCapacity);
  EXPECT_STREQ(error.what(), "queue full");
  EXPECT_STREQ(ErrorCodeName(error.code()), "capacity");
}

TEST(Log, ReachesTheCallbackFromTheChosenLevelOn) {
  std::vector<std::string> seen;
  SetLogCallback([&](LogLevel, std::string_view message) { seen.emplace_back(message); }, LogLevel::kWarning);
  Log(LogLevel::kInfo, "quiet");
  Log(LogLevel::kError, "loud");
  SetLogCallback({});
  Log(LogLevel::kError, "nobody listens");
  EXPECT_EQ(seen, std::vector<std::string>{"loud"});
}

TEST(Log, SurvivesACallbackThatThrows) {
  SetLogCallback([](LogLevel, std::string_view) { throw 1; });
  Log(LogLevel::kError, "x");
  SetLogCallback({});
}

}  // namespace
}  // namespace skywork_rt
