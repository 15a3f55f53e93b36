#pragma once

#include "skywork_rt/error.h"
#include "support/format.h"

namespace skywork_rt {

/// Throws Error(kInternal), which names what was broken, unless the promise holds.
template <typename... Args>
void Promise(bool holds, const Args&... args) {
  if (!holds) throw Error(ErrorCode::kInternal, StrCat("scheduler: ", args...));
}

}  // namespace skywork_rt
