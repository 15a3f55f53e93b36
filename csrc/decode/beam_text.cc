#include "decode/beam_text.h"

namespace skywork_rt {

bool BeamText::Ends(std::size_t parent, TokenId token) {
  TextStream stream = live_[parent];
  text_.clear();
  stream.Push(token, &text_);
  return stream.stopped();
}

void BeamText::Follow(Span<const BeamStep> steps) {
  next_.clear();
  for (const BeamStep& step : steps) {
    next_.push_back(live_[static_cast<std::size_t>(step.parent)]);
    text_.clear();
    next_.back().Push(step.token, &text_);
  }
  live_.swap(next_);
}

}  // namespace skywork_rt
