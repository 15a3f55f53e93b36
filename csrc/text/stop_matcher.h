#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace skywork_rt {

/// Finds the first of several stop texts in a stream of bytes, a byte at a time (Knuth, Morris and Pratt for each), and
/// holds back what may be the beginning of one.
///
/// Some bytes of the stream may be hidden: never released, and there only for the stop texts that were added as seeing
/// them. For the others they are as if they were not there.
class StopMatcher {
 public:
  explicit StopMatcher(bool include_stop) : include_stop_(include_stop) {}

  /// Before the first Push.
  void Add(std::string stop, bool sees_hidden);
  /// Appends to `released` the part of the stream that is certain not to be part of a stop text.
  void Push(std::string_view bytes, std::string* released);
  void PushHidden(std::string_view bytes, std::string* released);
  /// Releases what is held back: the stream has ended.
  void Finish(std::string* released);
  /// The stop text that was completed first, or nullptr.
  const std::string* matched() const {
    return matched_ < 0 ? nullptr : &stops_[static_cast<std::size_t>(matched_)].text;
  }

 private:
  struct Stop {
    std::string text;
    bool sees_hidden;
    std::vector<std::size_t> borders;  // borders[i]: longest proper border of the first i + 1 bytes
    std::size_t progress = 0;          // bytes of text that what it sees of the stream ends with
  };

  static bool Step(Stop* stop, char byte);
  void PushAll(std::string_view bytes, bool hidden, std::string* released);
  void StepAll(char byte, bool hidden);
  std::size_t HeldBy(const Stop& stop) const;
  void Release(std::size_t count, std::string* released);

  std::vector<Stop> stops_;
  bool include_stop_;
  int matched_ = -1;          // index into stops_
  std::string held_;          // the end of the stream that is not released yet
  std::vector<bool> hidden_;  // for each byte of held_
};

}  // namespace skywork_rt
