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

StopMatcher MatcherOf(const std::vector<std::string>& stops, bool include) {
  StopMatcher matcher(include);
  for (const std::string& stop : stops) matcher.Add(stop, false);
  return matcher;
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
    StopMatcher matcher = MatcherOf(stops, include);
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
  StopMatcher matcher = MatcherOf({"</s>"}, false);
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

// Capital letters stand for hidden bytes. What the promise says, on the whole stream: a text that sees them ends in all
// of it, another in its visible part; the first end counts, the longest of those, and hidden bytes never come out.
Ended HiddenReference(const std::string& stream, const std::vector<std::string>& seeing,
                      const std::vector<std::string>& blind, bool include) {
  std::string visible;
  for (std::size_t end = 1; end <= stream.size(); ++end) {
    const bool hidden = stream[end - 1] < 'a';
    if (!hidden) visible.push_back(stream[end - 1]);
    const auto ends = [](const std::string& text, const std::string& stop) {
      return stop.size() <= text.size() && text.compare(text.size() - stop.size(), stop.size(), stop) == 0;
    };
    std::string best;
    std::size_t cut = 0;  // visible bytes of the stop text
    for (const std::string& stop : blind) {
      if (hidden || !ends(visible, stop) || stop.size() <= best.size()) continue;
      best = stop;
      cut = stop.size();
    }
    for (const std::string& stop : seeing) {
      if (!ends(stream.substr(0, end), stop) || stop.size() <= best.size()) continue;
      best = stop;
      cut = static_cast<std::size_t>(std::count_if(stop.begin(), stop.end(), [](char c) { return c >= 'a'; }));
    }
    if (!best.empty()) return {visible.substr(0, visible.size() - cut) + (include ? best : ""), best};
  }
  return {visible, ""};
}

TEST(StopMatcher, HiddenBytesAreThereOnlyForTextsThatSeeThem) {
  std::mt19937 generator(31);
  const auto random_text = [&](std::size_t most, const std::string& alphabet) {
    std::string text(1 + generator() % most, 'a');
    for (char& c : text) c = alphabet[generator() % alphabet.size()];
    return text;
  };
  int seen = 0;
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::string> seeing;
    std::vector<std::string> blind;
    for (std::size_t i = generator() % 3; i > 0; --i) seeing.push_back(random_text(4, "abX"));
    for (std::size_t i = generator() % 3; i > 0; --i) blind.push_back(random_text(4, "ab"));
    const bool include = generator() % 2 == 0;
    StopMatcher matcher = MatcherOf(blind, include);
    for (const std::string& stop : seeing) matcher.Add(stop, true);
    const std::string stream = random_text(20, "abX");
    std::string released;
    for (const char byte : stream) {
      const std::string_view one(&byte, 1);
      if (byte == 'X') {
        matcher.PushHidden(one, &released);
      } else {
        matcher.Push(one, &released);
      }
    }
    matcher.Finish(&released);
    const Ended expected = HiddenReference(stream, seeing, blind, include);
    ASSERT_EQ(released, expected.text) << stream;
    ASSERT_EQ(matcher.matched() == nullptr ? "" : *matcher.matched(), expected.stop) << stream;
    seen += expected.stop.find('X') != std::string::npos;
  }
  EXPECT_GT(seen, 2000);
}

TEST(StopMatcher, CopiesGoOnIndependently) {
  StopMatcher first = MatcherOf({"xy"}, false);
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
