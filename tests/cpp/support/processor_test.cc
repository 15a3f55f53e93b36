#include "support/processor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "skywork_rt/error.h"

namespace skywork_rt {
namespace {

/// Sets SKYWORK_RT_NATIVE_ISA, and puts back what it was.
class Wanted {
 public:
  explicit Wanted(const char* name) {
    if (const char* before = std::getenv(kName)) before_ = before;
    setenv(kName, name, 1);
  }
  ~Wanted() { before_.empty() ? unsetenv(kName) : setenv(kName, before_.c_str(), 1); }
  Wanted(const Wanted&) = delete;
  Wanted& operator=(const Wanted&) = delete;

 private:
  static constexpr const char* kName = "SKYWORK_RT_NATIVE_ISA";
  std::string before_;
};

TEST(Processor, EverySetThatItRunsCanBeChosenByName) {
  for (const InstructionSet set : kInstructionSets) {
    if (!ProcessorRuns(set)) continue;
    const Wanted wanted(InstructionSetName(set));
    EXPECT_EQ(ChosenInstructionSet(), set);
  }
}

TEST(Processor, ChoosesTheBestSetUnlessToldOtherwise) {
  const Wanted nothing("");
  const InstructionSet chosen = ChosenInstructionSet();
  EXPECT_TRUE(ProcessorRuns(chosen));
  for (const InstructionSet set : kInstructionSets) EXPECT_TRUE(set <= chosen || !ProcessorRuns(set));
}

TEST(Processor, AnUnknownSetIsRefusedWithTheKnownOnes) {
  const Wanted wanted("sse9");
  try {
    ChosenInstructionSet();
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
    EXPECT_THAT(error.what(), ::testing::AllOf(::testing::HasSubstr("SKYWORK_RT_NATIVE_ISA is \"sse9\""),
                                               ::testing::HasSubstr("scalar, avx2, avx512 or avx512vnni")));
  }
}

TEST(Processor, ScalarMeansNoShaExtensionsEither) {
  const Wanted wanted("scalar");
  EXPECT_FALSE(UsesShaExtensions());
}

}  // namespace
}  // namespace skywork_rt
