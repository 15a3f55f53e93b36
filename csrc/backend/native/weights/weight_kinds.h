#pragma once

#include <string>
#include <vector>

#include "backend/native/kernels/types/types.h"

namespace skywork_rt::native {

/// In the order of WeightTypes.
std::vector<WeightKind> AllKinds();

/// Those whose codes are integers.
std::vector<WeightKind> IntegerKinds();

/// Those of the fewest bits a weight first, as they are the fastest.
std::vector<WeightKind> SmallestKindsFirst();

/// "f32, bf16, int8 or int4", with `before` before each.
std::string NamesOf(const std::vector<WeightKind>& kinds, const std::string& before = "");

}  // namespace skywork_rt::native
