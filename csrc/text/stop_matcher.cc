#include "text/stop_matcher.h"

#include <algorithm>
#include <utility>

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

void StopMatcher::Add(std::string stop, bool sees_hidden) {
  std::vector<std::size_t> borders = Borders(stop);
  stops_.push_back({std::move(stop), sees_hidden, std::move(borders), 0});
}

// True when the text is complete.
bool StopMatcher::Step(Stop* stop, char byte) {
  std::size_t& progress = stop->progress;
  while (progress > 0 && stop->text[progress] != byte) progress = stop->borders[progress - 1];
  if (stop->text[progress] == byte) ++progress;
  return progress == stop->text.size();
}

void StopMatcher::Push(std::string_view bytes, std::string* released) {
  if (stops_.empty()) {
    released->append(bytes);
    return;
  }
  PushAll(bytes, false, released);
}

void StopMatcher::PushHidden(std::string_view bytes, std::string* released) {
  PushAll(bytes, true, released);
}

void StopMatcher::PushAll(std::string_view bytes, bool hidden, std::string* released) {
  if (matched_ >= 0) return;
  for (const char byte : bytes) {
    held_.push_back(byte);
    hidden_.push_back(hidden);
    StepAll(byte, hidden);
    if (matched_ >= 0) {
      const Stop& stop = stops_[static_cast<std::size_t>(matched_)];
      Release(held_.size() - HeldBy(stop), released);
      if (include_stop_) released->append(stop.text);
      held_.clear();
      hidden_.clear();
      return;
    }
  }
  std::size_t open = 0;  // bytes that may still become part of a stop text
  for (const Stop& stop : stops_) open = std::max(open, HeldBy(stop));
  Release(held_.size() - open, released);
}

// Of the texts that end with this byte the longest one counts: it begins first.
void StopMatcher::StepAll(char byte, bool hidden) {
  for (std::size_t i = 0; i < stops_.size(); ++i) {
    if (hidden && !stops_[i].sees_hidden) continue;
    if (!Step(&stops_[i], byte)) continue;
    if (matched_ < 0 || stops_[i].text.size() > stops_[static_cast<std::size_t>(matched_)].text.size()) {
      matched_ = static_cast<int>(i);
    }
  }
}

// How many bytes at the end of held_ hold what `stop` has of its text.
std::size_t StopMatcher::HeldBy(const Stop& stop) const {
  if (stop.sees_hidden) return stop.progress;
  std::size_t seen = 0;
  std::size_t begin = held_.size();
  while (seen < stop.progress) {
    --begin;
    if (!hidden_[begin]) ++seen;
  }
  return held_.size() - begin;
}

void StopMatcher::Release(std::size_t count, std::string* released) {
  for (std::size_t i = 0; i < count; ++i) {
    if (!hidden_[i]) released->push_back(held_[i]);
  }
  held_.erase(0, count);
  hidden_.erase(hidden_.begin(), hidden_.begin() + static_cast<std::ptrdiff_t>(count));
}

void StopMatcher::Finish(std::string* released) {
  Release(held_.size(), released);
  for (Stop& stop : stops_) stop.progress = 0;
}

}  // namespace skywork_rt
