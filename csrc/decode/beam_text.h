#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "decode/beam_search.h"
#include "text/text_stream.h"

namespace skywork_rt {

/// Ends the beams whose text has a stop text complete: where a sample with these tokens would end.
class BeamText final : public BeamEnding {
 public:
  /// `start`: the stream of an output without tokens.
  explicit BeamText(TextStream start) : live_{std::move(start)} {}

  bool Ends(std::size_t parent, TokenId token) override;
  void Follow(Span<const BeamStep> steps) override;

 private:
  std::vector<TextStream> live_;
  std::vector<TextStream> next_;
  std::string text_;  // scratch
};

}  // namespace skywork_rt
