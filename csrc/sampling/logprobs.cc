#include "sampling/logprobs.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "sampling/row_checks.h"
#include "sampling/row_kernels.h"
#include "skywork_rt/error.h"
#include "support/format.h"

namespace skywork_rt {

namespace {

// log(sum(exp(logits))), given the largest of them.
double LogSumExp(Span<const float> logits, float max) {
  if (max == -std::numeric_limits<float>::infinity()) {
    throw Error(ErrorCode::kBackend, StrCat("all ", logits.size(), " logits are -inf: no token has a probability"));
  }
  return static_cast<double>(max) + std::log(Rows().mass(logits.data(), logits.size(), max, 1.0f));
}

}  // namespace

void LogSoftmax(Span<float> logits) {
  const double normalizer = LogSumExp(logits, CheckedMax(logits, nullptr));
  for (float& logit : logits) logit = static_cast<float>(static_cast<double>(logit) - normalizer);
}

void LogprobRanker::Rank(Span<const float> logits, TokenId token, int best, std::vector<TokenLogprob>* out,
                         Span<const TokenId> named) {
  candidates_.Reset(logits);
  const double normalizer = LogSumExp(logits, candidates_.max());
  const auto logprob = [&](float logit) { return static_cast<float>(static_cast<double>(logit) - normalizer); };
  const auto add = [&](TokenId id) {
    const auto index = static_cast<std::size_t>(id);
    const std::size_t before = Rows().count_before(logits.data(), logits.size(), index);
    out->push_back({id, logprob(logits[index]), static_cast<int>(before) + 1});
  };
  out->clear();
  add(token);
  candidates_.Require(static_cast<std::size_t>(best));
  const std::size_t count = std::min(static_cast<std::size_t>(best), candidates_.sorted().size());
  for (std::size_t i = 0; i < count; ++i) {
    const Candidate& candidate = candidates_.sorted()[i];
    out->push_back({candidate.token, logprob(candidate.logit), static_cast<int>(i) + 1});
  }
  for (const TokenId id : named) {
    const auto same = [id](const TokenLogprob& entry) { return entry.token == id; };
    if (std::none_of(out->begin(), out->end(), same)) add(id);
  }
}

}  // namespace skywork_rt
