#pragma once

#include "engine/request_state.h"
#include "support/current_error.h"

namespace skywork_rt {

// What requests end with that are not to finish. Takes no memory.

inline Error Cancelled(std::uint64_t id) noexcept {
  return MakeError(ErrorCode::kCancelled, "request ", id, " was cancelled");
}

inline Error DeadlineExceeded(const internal::RequestState& state) noexcept {
  return MakeError(ErrorCode::kDeadlineExceeded, "request ", state.id(), " did not finish within its deadline of ",
                   state.request().deadline->count(), " ms");
}

}  // namespace skywork_rt
