#include "sampling/row_checks.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "sampling/row_kernels.h"
#include "skywork_rt/error.h"
#include "support/format.h"

namespace skywork_rt {

float CheckedMax(Span<const float> logits, float* group_max) {
  const RowKernels::Scan scan = Rows().scan(logits.data(), logits.size(), group_max);
  if (!scan.has_nan && scan.max < std::numeric_limits<float>::infinity()) return scan.max;
  const auto is_bad = [](float x) { return std::isnan(x) || x == std::numeric_limits<float>::infinity(); };
  const float* first = std::find_if(logits.begin(), logits.end(), is_bad);
  throw Error(ErrorCode::kBackend, StrCat("the logit of token ", first - logits.begin(), " of ", logits.size(), " is ",
                                          *first, ": the model's weights or its computation are damaged"));
}

Error BlameParameters(const Error& finding) {
  return Error(ErrorCode::kInvalidArgument,
               StrCat("logit_bias, repetition_penalty, presence_penalty or frequency_penalty is so extreme that the "
                      "logits overflow float32: choose a smaller one (",
                      finding.what(), ")"));
}

}  // namespace skywork_rt
