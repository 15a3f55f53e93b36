#pragma once

#include <stdexcept>
#include <string>

#include "skywork_rt/export.h"

namespace skywork_rt {

/// What went wrong, one value for each thing that a caller would handle differently.
/// The values are part of the ABI: never renumber them.
enum class ErrorCode {
  /// A value that the caller gave is wrong: out of its range, of the wrong length, unknown.
  kInvalidArgument = 1,
  /// Valid, but too large for what there is (cache, memory, disk): the same again will not fit either.
  kCapacity = 2,
  /// A file or directory that should exist does not, or is no bundle.
  kNotFound = 3,
  /// A bundle's file is damaged: size, hash, header or structure is not what it must be.
  kCorruptBundle = 4,
  /// Well formed, but this build, device or backend cannot do it (a newer format, a missing part).
  kUnsupported = 5,
  /// The backend's library is not installed or does not load.
  kBackendUnavailable = 6,
  /// The backend failed while running a step.
  kBackend = 7,
  /// The request was cancelled by its owner or by shutdown.
  kCancelled = 8,
  /// The request's own deadline passed.
  kDeadlineExceeded = 9,
  /// The generator is closed, or is used in a child after fork().
  kClosed = 10,
  /// A broken promise of our own: please report it.
  kInternal = 11,
  /// No room at the moment: the queue is full, or others hold the cache. The same fits later: try again.
  kBusy = 12,
};

/// The stable lower-case name of a code, such as "invalid_argument".
SKYWORK_RT_API const char* ErrorCodeName(ErrorCode code) noexcept;

/// The one exception type that this library throws. `what()` names the cause, with numbers, and the fix.
class SKYWORK_RT_API Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message);
  ~Error() override;

  ErrorCode code() const noexcept { return code_; }

 private:
  ErrorCode code_;
};

}  // namespace skywork_rt
