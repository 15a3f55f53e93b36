#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "skywork_rt/model_spec.h"
#include "skywork_rt/span.h"

namespace skywork_rt {

/// What was replaced in one row of logits, so that it can be put back: n samples share one row. Keeps its memory
/// between rows.
class LogitChanges {
 public:
  /// `token` is in range.
  void Set(Span<float> logits, TokenId token, float value) {
    float& logit = logits[static_cast<std::size_t>(token)];
    replaced_.emplace_back(token, logit);
    logit = value;
  }

  /// Puts everything back, and forgets it.
  void Undo(Span<float> logits) {
    // Backwards, because one logit may have been changed more than once.
    for (auto change = replaced_.rbegin(); change != replaced_.rend(); ++change) {
      logits[static_cast<std::size_t>(change->first)] = change->second;
    }
    replaced_.clear();
  }

  void Forget() { replaced_.clear(); }
  bool empty() const { return replaced_.empty(); }
  std::size_t size() const { return replaced_.size(); }

 private:
  std::vector<std::pair<TokenId, float>> replaced_;
};

}  // namespace skywork_rt
