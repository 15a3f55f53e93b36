#pragma once

#include <optional>

namespace skywork_rt {

/// Moves an estimate, or begins one. A measurement counts for a quarter: one that a busy machine spoiled does little,
/// and a few of them show a change.
inline void Follow(std::optional<double>* estimate, double measured) {
  *estimate = estimate->has_value() ? **estimate + (measured - **estimate) / 4 : measured;
}

}  // namespace skywork_rt
