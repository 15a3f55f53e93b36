#pragma once

#include <algorithm>
#include <vector>

#include "skywork_rt/model_spec.h"
#include "skywork_rt/sampling.h"

namespace skywork_rt {

/// The ids that end a sequence: the model's eos ids, unless they are ignored, and the request's own stop ids.
class StopIds {
 public:
  StopIds() = default;
  StopIds(const SamplingParams& params, const ModelSpec& model) {
    if (!params.ignore_eos) ids_ = model.eos_ids;
    ids_.insert(ids_.end(), params.stop_token_ids.begin(), params.stop_token_ids.end());
    std::sort(ids_.begin(), ids_.end());
    ids_.erase(std::unique(ids_.begin(), ids_.end()), ids_.end());
  }

  bool Contains(TokenId id) const { return std::binary_search(ids_.begin(), ids_.end(), id); }
  /// Ascending, each once.
  const std::vector<TokenId>& ids() const { return ids_; }

 private:
  std::vector<TokenId> ids_;
};

}  // namespace skywork_rt
