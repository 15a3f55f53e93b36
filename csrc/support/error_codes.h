#pragma once

#include "skywork_rt/error.h"

namespace skywork_rt {

struct NamedCode {
  ErrorCode code;
  const char* name;
};

/// Every code that error.h declares. The classes of python/skywork_rt/errors.py carry these names.
constexpr NamedCode kErrorCodes[] = {
    {ErrorCode::kInvalidArgument, "invalid_argument"},
    {ErrorCode::kCapacity, "capacity"},
    {ErrorCode::kNotFound, "not_found"},
    {ErrorCode::kCorruptBundle, "corrupt_bundle"},
    {ErrorCode::kUnsupported, "unsupported"},
    {ErrorCode::kBackendUnavailable, "backend_unavailable"},
    {ErrorCode::kBackend, "backend"},
    {ErrorCode::kCancelled, "cancelled"},
    {ErrorCode::kDeadlineExceeded, "deadline_exceeded"},
    {ErrorCode::kClosed, "closed"},
    {ErrorCode::kInternal, "internal"},
    {ErrorCode::kBusy, "busy"},
};

}  // namespace skywork_rt
