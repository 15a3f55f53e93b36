#pragma once

#include "skywork_rt/error.h"
#include "skywork_rt/span.h"

namespace skywork_rt {

/// The largest logit of a row; -inf in a row of nothing else. Throws Error(kBackend), naming the first such token, when
/// a logit is NaN or +inf. `group_max`: as in RowKernels::scan, may be null.
float CheckedMax(Span<const float> logits, float* group_max);

/// The same finding when the row was sound until the request's own bias and penalties were applied: they overflow,
/// which is no fault of the backend.
Error BlameParameters(const Error& finding);

}  // namespace skywork_rt
