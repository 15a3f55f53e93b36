#include "bench/time_host.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace skywork_rt {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::Ge;
using ::testing::Gt;
using ::testing::Lt;

TEST(TimeHost, TimesAsManyStepsAsAskedForOfAnyWidth) {
  for (const std::size_t rows : {1, 2, 40}) {
    const HostTimes times = TimeHost(rows, 500, 12, 1);
    EXPECT_EQ(times.host.size(), 12u);
    EXPECT_EQ(times.argmax.size(), 12u);
    EXPECT_THAT(times.host, Each(AllOf(Gt(0.0), Lt(10.0))));
    EXPECT_THAT(times.argmax, Each(AllOf(Ge(0.0), Lt(10.0))));
  }
}

}  // namespace
}  // namespace skywork_rt
