#include "text/stop_matcher.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

namespace skywork_rt {
namespace {

struct Ended {
  std::string text;
  std::string stop;  // empty: none
};

// What the promise says, on the whole text: the match that ends first, the longest of those.
Ended Reference(const std::string& text, const std::vector<std::string>& stops, bool include) {
  for (std::size_t end = 1; end <= text.size(); ++end) {
    std::string best;
    for (const std::string& stop : stops) {
      const bool ends_here = stop.size() <= end && text.compare(end - stop.size(), stop.size(), stop) == 0;
      if (ends_here && stop.size() > best.size()) best = stop;
    }
    if (!best.empty()) return {text.substr(0, include ? end : end - best.size()), best};
  }
  return {text, ""};
}

// The longest end of `text` that a stop text begins with.
std::size_t OpenBytes(const std::string& text, const std::vector<std::string>& stops) {
  for (std::size_t n = std::min<std::size_t>(text.size(), 16); n > 0; --n) {
    for (const std::string& stop : stops) {
      if (n < stop.size() && stop.compare(0, n, text, text.size() - n, n) == 0) return n;
    }
  }
  return 0;
}

TEST(StopMatcher, EndsRandomTextsWhereTheReferenceDoesHoweverTheyAreCut) {
  std::mt19937 generator(12);
  const auto random_text = [&](std::size_t most) {
    std::string text(1 + generator() % most, 'a');
    for (char& c : text) c = static_cast<char>('a' + generator() % 2);
    return text;
  };
  int matched = 0;
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::string> stops;
    for (std::size_t i = generator() % 4; i > 0; --i) stops.push_back(random_text(7));
    const bool include = generator() % 2 == 0;
    const std::string text = random_text(30);
    StopMatcher matcher(stops, include);
    std::string released;
    std::string pushed;
    for (std::size_t i = 0; i < text.size() && matcher.matched() == nullptr;) {
      const std::size_t n = std::min<std::size_t>(1 + generator() % 5, text.size() - i);
      matcher.Push(std::string_view(text).substr(i, n), &released);
      pushed = text.substr(0, i + n);
      i += n;
      if (matcher.matched() == nullptr) {
        // Nothing that may belong to a stop text is out, and nothing else is held back.
        ASSERT_EQ(released, pushed.substr(0, pushed.size() - OpenBytes(pushed, stops)));
      }
    }
    matcher.Finish(&released);
    const Ended expected = Reference(text, stops, include);
    ASSERT_EQ(released, expected.text);
    ASSERT_EQ(matcher.matched() == nullptr ? "" : *matcher.matched(), expected.stop);
    matched += matcher.matched() != nullptr;
  }
  EXPECT_GT(matched, 5000);
}

TEST(StopMatcher, TakesNothingMoreOnceMatched) {
  StopMatcher matcher(std::vector<std::string>{"</s>"}, false);
  std::string released;
  matcher.Push("ab</", &released);
  EXPECT_EQ(released, "ab");
  matcher.Push("s>more", &released);
  matcher.Push("even more", &released);
  matcher.Finish(&released);
  EXPECT_EQ(released, "ab");
  ASSERT_NE(matcher.matched(), nullptr);
  EXPECT_EQ(*matcher.matched(), "</s>");
}

TEST(StopMatcher, CopiesGoOnIndependently) {
  StopMatcher first(std::vector<std::string>{"xy"}, false);
  std::string a;
  std::string b;
  first.Push("ax", &a);
  StopMatcher second = first;
  first.Push("y", &a);
  second.Push("z", &b);
  EXPECT_NE(first.matched(), nullptr);
  EXPECT_EQ(second.matched(), nullptr);
  EXPECT_EQ(b, "xz");
}

}  // namespace
}  // namespace skywork_rt
