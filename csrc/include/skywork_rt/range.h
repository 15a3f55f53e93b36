#pragma once

#include <cmath>
#include <limits>

namespace skywork_rt {

/// The values that an option or a parameter may take: what checks refuse, and what documents say.
struct Range {
  double least = -std::numeric_limits<double>::infinity();
  double most = std::numeric_limits<double>::infinity();
  bool without_least = false;   // `least` itself is not allowed
  const char* words = nullptr;  // says it in words where the numbers do not, after "must be"

  static constexpr Range Any() { return {}; }
  static constexpr Range AtLeast(double least) { return Range{least}; }
  static constexpr Range Above(double least) { return Range{least, Any().most, true}; }
  static constexpr Range Within(double least, double most) { return Range{least, most}; }
  static constexpr Range AboveUpTo(double least, double most) { return Range{least, most, true}; }

  /// The same range, said in `description`, a text that lives as long as the process.
  constexpr Range Said(const char* description) const { return Range{least, most, without_least, description}; }

  /// NaN and infinities are allowed nowhere.
  bool Allows(double value) const {
    return std::isfinite(value) && (without_least ? value > least : value >= least) && value <= most;
  }
};

}  // namespace skywork_rt
