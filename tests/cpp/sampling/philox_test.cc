#include "sampling/philox.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <set>

namespace skywork_rt {
namespace {

using Counter = std::array<std::uint32_t, 4>;

// The known-answer vectors that the authors publish with Random123 (kat_vectors, philox4x32 10).
TEST(Philox, GivesThePublishedAnswers) {
  EXPECT_EQ(Philox4x32({0, 0, 0, 0}, {0, 0}), (Counter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (Counter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Counter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

// These numbers must never change: every seeded result hangs on them.
TEST(Philox, KeepsTheUniformNumbersOfASeedForEver) {
  // From the published answer for zeros: (0x6627e8d5e169c58d >> 11) / 2^53.
  EXPECT_EQ(UniformAt(0, 0, 0), static_cast<double>(0x6627e8d5e169c58dULL >> 11) * 0x1p-53);
  const Counter bits = Philox4x32({7, 1, 3, 0}, {0x89abcdef, 0x01234567});
  EXPECT_EQ(UniformAt(0x0123456789abcdefULL, 3, 0x100000007ULL),
            static_cast<double>(((std::uint64_t{bits[0]} << 32) | bits[1]) >> 11) * 0x1p-53);
}

TEST(Philox, GivesEverySeedSampleAndPositionItsOwnNumberBelowOne) {
  std::set<double> seen;
  double sum = 0.0;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    for (std::uint32_t sample = 0; sample < 20; ++sample) {
      for (std::uint64_t position = 0; position < 50; ++position) {
        const double u = UniformAt(seed, sample, position);
        ASSERT_GE(u, 0.0);
        ASSERT_LT(u, 1.0);
        seen.insert(u);
        sum += u;
      }
    }
  }
  EXPECT_EQ(seen.size(), 20000u);
  EXPECT_NEAR(sum / 20000.0, 0.5, 5.0 / (std::sqrt(12.0 * 20000.0)));
}

}  // namespace
}  // namespace skywork_rt
