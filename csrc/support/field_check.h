#pragma once

#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "skywork_rt/error.h"
#include "skywork_rt/range.h"
#include "support/format.h"

namespace skywork_rt {

/// What the values of a range are, after "must be": its own words, or its numbers. `real`: of a floating-point field.
inline std::string DescribeRange(const Range& range, bool real) {
  if (range.words != nullptr) return range.words;
  const char* before = range.without_least ? "above " : "at least ";
  if (std::isfinite(range.most))
    return StrCat(range.without_least ? "in (" : "in [", range.least, ", ", range.most, "]");
  if (std::isfinite(range.least)) return StrCat(real ? "finite and " : "", before, range.least);
  return real ? "finite" : "";
}

namespace internal {

template <typename Number>
void CheckNumber(const char* name, Number value, const Range& range, const char* alternative) {
  if (range.Allows(static_cast<double>(value))) return;
  throw Error(ErrorCode::kInvalidArgument, StrCat(name, " is ", value, ", but must be ",
                                                  DescribeRange(range, std::is_floating_point_v<Number>), alternative));
}

}  // namespace internal

/// Throws Error(kInvalidArgument), naming the field, its value and the range, when a number is outside. Fields that are
/// no numbers pass: what they may hold is checked by whoever reads them.
template <typename T>
void CheckField(const char* name, const T& value, const Range& range) {
  if constexpr (std::is_arithmetic_v<T> && !std::is_same_v<T, bool>) {
    internal::CheckNumber(name, value, range, "");
  }
}
template <typename T>
void CheckField(const char* name, const std::optional<T>& value, const Range& range) {
  if constexpr (std::is_arithmetic_v<T> && !std::is_same_v<T, bool>) {
    if (value.has_value()) internal::CheckNumber(name, *value, range, ", or none");
  }
}

/// CheckField for every field of a struct that has VisitFields.
template <typename Struct>
void CheckFields(const Struct& values) {
  Struct::VisitFields(values,
                      [](const char* name, const auto& value, const Range& range) { CheckField(name, value, range); });
}

}  // namespace skywork_rt
