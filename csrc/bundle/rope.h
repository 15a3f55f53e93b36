#pragma once

#include <cmath>
#include <cstddef>

#include "skywork_rt/model_spec.h"
#include "skywork_rt/span.h"

namespace skywork_rt {

/// Cosines and sines of one position: `cos` and `sin` hold head_dim / 2 values each, times the attention factor.
///
/// The angle is a float32 product, as in transformers; its cosine and sine are taken in float64 and rounded once, so
/// the values do not depend on a float32 math library.
inline void RotaryAt(const RopeSpec& rope, std::size_t position, Span<float> cos, Span<float> sin) {
  for (std::size_t i = 0; i < cos.size(); ++i) {
    const float angle = static_cast<float>(position) * rope.inverse_frequencies[i];
    cos[i] = static_cast<float>(std::cos(static_cast<double>(angle)) * static_cast<double>(rope.attention_factor));
    sin[i] = static_cast<float>(std::sin(static_cast<double>(angle)) * static_cast<double>(rope.attention_factor));
  }
}

}  // namespace skywork_rt
