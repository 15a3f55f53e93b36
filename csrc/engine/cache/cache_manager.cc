#include "engine/cache/cache_manager.h"

#include <algorithm>

namespace skywork_rt {

void CacheManager::Forget(SeqId seq) {
  const auto found =
      std::find_if(kept_.begin(), kept_.end(), [seq](const auto& sequence) { return sequence->seq == seq; });
  if (found == kept_.end()) return;
  Release(found->get());
  kept_.erase(found);
}

}  // namespace skywork_rt
