#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "skywork_rt/span.h"

namespace skywork_rt {

/// Finds the first of several stop texts in a stream of bytes, a byte at a time (Knuth, Morris and Pratt for each), and
/// holds back what may be the beginning of one.
class StopMatcher {
 public:
  StopMatcher(Span<const std::string> stops, bool include_stop);

  /// Appends to `released` the part of the stream that is certain not to be part of a stop text.
  void Push(std::string_view bytes, std::string* released);
  /// Releases what is held back: the stream has ended.
  void Finish(std::string* released);
  /// The stop text that was completed first, or nullptr.
  const std::string* matched() const {
    return matched_ < 0 ? nullptr : &stops_[static_cast<std::size_t>(matched_)].text;
  }

 private:
  struct Stop {
    std::string text;
    std::vector<std::size_t> borders;  // borders[i]: longest proper border of the first i + 1 bytes
    std::size_t progress = 0;          // bytes of text that the stream ends with
  };

  static bool Step(Stop* stop, char byte);
  void StepAll(char byte);

  std::vector<Stop> stops_;
  bool include_stop_;
  int matched_ = -1;  // index into stops_
  std::string held_;
};

}  // namespace skywork_rt
