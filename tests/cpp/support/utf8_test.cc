#include "support/utf8.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace skywork_rt {
namespace {

std::string Decoded(std::string_view bytes, Replace replace) {
  std::string text;
  EXPECT_EQ(AppendUtf8(bytes, replace, true, &text), bytes.size());
  return text;
}

const std::string kBad = "\xEF\xBF\xBD";

std::string Bad(int n) {
  std::string text;
  for (int i = 0; i < n; ++i) text += kBad;
  return text;
}

struct Case {
  std::string bytes;
  std::string subparts;   // with U+FFFD for each maximal subpart
  std::string each_byte;  // with U+FFFD for each byte
};

// The Unicode Standard's own examples (tables 3-8 to 3-11) and the borders of every range.
std::vector<Case> Cases() {
  return {
      {"", "", ""},
      {"ascii", "ascii", "ascii"},
      {"\xE4\xBD\xA0\xE5\xA5\xBD", "\xE4\xBD\xA0\xE5\xA5\xBD", "\xE4\xBD\xA0\xE5\xA5\xBD"},
      {"\xF0\x9F\x98\x80", "\xF0\x9F\x98\x80", "\xF0\x9F\x98\x80"},
      {"\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41", Bad(8) + "A", Bad(8) + "A"},
      {"\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41", Bad(8) + "A", Bad(8) + "A"},
      {"\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42", Bad(5) + "A" + Bad(2) + "B", Bad(5) + "A" + Bad(2) + "B"},
      {"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", Bad(4) + "A", Bad(8) + "A"},
      {"\xE4\xBD", Bad(1), Bad(2)},
      {"\xE4\xBD\x41", Bad(1) + "A", Bad(2) + "A"},
      {"\xF0\x9F\x98", Bad(1), Bad(3)},
      {"\xC2\x80\xDF\xBF", "\xC2\x80\xDF\xBF", "\xC2\x80\xDF\xBF"},
      {"\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80\xEF\xBF\xBF", "\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80\xEF\xBF\xBF",
       "\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80\xEF\xBF\xBF"},
      {"\xF0\x90\x80\x80\xF4\x8F\xBF\xBF", "\xF0\x90\x80\x80\xF4\x8F\xBF\xBF", "\xF0\x90\x80\x80\xF4\x8F\xBF\xBF"},
      {"\xF4\x90\x80\x80\xF5\x80", Bad(6), Bad(6)},
  };
}

TEST(Utf8, ReplacesIllFormedSequencesByEitherRule) {
  for (const Case& c : Cases()) {
    EXPECT_EQ(Decoded(c.bytes, Replace::kMaximalSubpart), c.subparts);
    EXPECT_EQ(Decoded(c.bytes, Replace::kEachByte), c.each_byte);
    EXPECT_EQ(IsValidUtf8(c.bytes), c.bytes == c.subparts);
  }
}

TEST(Utf8, LeavesAnIncompleteCharacterForLater) {
  const std::string bytes = "a\xF0\x9F\x98\x80\xF0\x9F\x98";
  std::string text;
  EXPECT_EQ(AppendUtf8(bytes, Replace::kMaximalSubpart, false, &text), 5u);
  EXPECT_EQ(text, "a\xF0\x9F\x98\x80");
}

}  // namespace
}  // namespace skywork_rt
