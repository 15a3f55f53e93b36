#pragma once

#include <string>
#include <vector>

#include "backend/native/kernels/types/types.h"

namespace skywork_rt::native {

/// In the order of WeightTypes.
std::vector<WeightKind> AllKinds();

/// Those whose codes are integers.
std::vector<WeightKind> IntegerKinds();

/// The order in which "auto" looks for weights: int8, at which a model's answers hardly change and which is faster than
/// what has more bits; then the fewest bits that hold floats; kinds of fewer bits only where nothing else is there.
std::vector<WeightKind> PreferredKindsFirst();

/// "f32, bf16, int8 or int4", with `before` before each.
std::string NamesOf(const std::vector<WeightKind>& kinds, const std::string& before = "");

}  // namespace skywork_rt::native
