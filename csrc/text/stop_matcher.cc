#include "text/stop_matcher.h"

#include <algorithm>

namespace skywork_rt {
namespace {

std::vector<std::size_t> Borders(const std::string& text) {
  std::vector<std::size_t> borders(text.size(), 0);
  for (std::size_t i = 1; i < text.size(); ++i) {
    std::size_t length = borders[i - 1];
    while (length > 0 && text[i] != text[length]) length = borders[length - 1];
    borders[i] = text[i] == text[length] ? length + 1 : 0;
  }
  return borders;
}

}  // namespace

StopMatcher::StopMatcher(Span<const std::string> stops, bool include_stop) : include_stop_(include_stop) {
  for (const std::string& text : stops) stops_.push_back({text, Borders(text), 0});
}

// True when the text is complete.
bool StopMatcher::Step(Stop* stop, char byte) {
  std::size_t& progress = stop->progress;
  while (progress > 0 && stop->text[progress] != byte) progress = stop->borders[progress - 1];
  if (stop->text[progress] == byte) ++progress;
  return progress == stop->text.size();
}

void StopMatcher::Push(std::string_view bytes, std::string* released) {
  if (matched_ >= 0) return;
  if (stops_.empty()) {
    released->append(bytes);
    return;
  }
  for (const char byte : bytes) {
    held_.push_back(byte);
    StepAll(byte);
    if (matched_ >= 0) {
      const std::size_t stop_size = stops_[static_cast<std::size_t>(matched_)].text.size();
      released->append(held_, 0, include_stop_ ? held_.size() : held_.size() - stop_size);
      held_.clear();
      return;
    }
  }
  std::size_t open = 0;  // bytes that may still become part of a stop text
  for (const Stop& stop : stops_) open = std::max(open, stop.progress);
  released->append(held_, 0, held_.size() - open);
  held_.erase(0, held_.size() - open);
}

// Of the texts that end with this byte the longest one counts: it begins first.
void StopMatcher::StepAll(char byte) {
  for (std::size_t i = 0; i < stops_.size(); ++i) {
    if (!Step(&stops_[i], byte)) continue;
    if (matched_ < 0 || stops_[i].text.size() > stops_[static_cast<std::size_t>(matched_)].text.size()) {
      matched_ = static_cast<int>(i);
    }
  }
}

void StopMatcher::Finish(std::string* released) {
  released->append(held_);
  held_.clear();
  for (Stop& stop : stops_) stop.progress = 0;
}

}  // namespace skywork_rt
