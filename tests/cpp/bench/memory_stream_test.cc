#include "bench/memory_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "skywork_rt/error.h"

namespace skywork_rt {
namespace {

using ::testing::AllOf;
using ::testing::Gt;
using ::testing::HasSubstr;
using ::testing::Lt;

TEST(MemoryStream, GivesAPlausibleRateForAnyNumberOfThreads) {
  for (const int threads : {1, 2, 3}) {
    // Slower than a floppy disk or faster than any socket would mean that the reading was optimised away.
    EXPECT_THAT(MeasureMemoryStream(threads, std::size_t{8} << 20, 2), AllOf(Gt(1e7), Lt(5e12))) << threads;
  }
}

TEST(MemoryStream, RefusesMoreThreadsThanAnythingHereHas) {
  try {
    MeasureMemoryStream(100000, std::size_t{64} << 20, 1);
    ADD_FAILURE() << "100000 threads";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_THAT(error.what(), HasSubstr("threads is 100000, but must be in [1, 1024]"));
  }
}

TEST(MemoryStream, RefusesNumbersThatMeanNothing) {
  for (const auto& [threads, bytes, passes] : {std::tuple{0, 1 << 20, 1}, {1, 0, 1}, {1, 1 << 20, 0}, {8, 64, 1}}) {
    try {
      MeasureMemoryStream(threads, static_cast<std::size_t>(bytes), passes);
      ADD_FAILURE() << threads << " threads, " << bytes << " bytes, " << passes << " passes";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
      EXPECT_THAT(error.what(), HasSubstr("cannot stream"));
    }
  }
}

}  // namespace
}  // namespace skywork_rt
