#include "skywork_rt/error.h"

namespace skywork_rt {

Error::Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}

Error::~Error() = default;

const char* ErrorCodeName(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::kInvalidArgument: return "invalid_argument";
    case ErrorCode::kCapacity: return "capacity";
    case ErrorCode::kNotFound: return "not_found";
    case ErrorCode::kCorruptBundle: return "corrupt_bundle";
    case ErrorCode::kUnsupported: return "unsupported";
    case ErrorCode::kBackendUnavailable: return "backend_unavailable";
    case ErrorCode::kBackend: return "backend";
    case ErrorCode::kCancelled: return "cancelled";
    case ErrorCode::kDeadlineExceeded: return "deadline_exceeded";
    case ErrorCode::kClosed: return "closed";
    case ErrorCode::kInternal: return "internal";
  }
  return "unknown";
}

}  // namespace skywork_rt
