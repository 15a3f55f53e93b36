#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

namespace skywork_rt::testing {

/// Normal logits; with `steps` they are rounded to multiples of 1 / steps, so that there are many ties.
inline std::vector<float> RandomRow(std::size_t n, std::uint32_t seed, float spread = 3.0f, float steps = 0.0f) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.0f, spread);
  std::vector<float> row(n);
  for (float& x : row) {
    x = normal(generator);
    if (steps > 0.0f) x = std::nearbyint(x * steps) / steps;
  }
  return row;
}

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

}  // namespace skywork_rt::testing
