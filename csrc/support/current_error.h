#pragma once

#include <exception>
#include <new>

#include "skywork_rt/error.h"
#include "skywork_rt/export.h"
#include "support/format.h"

namespace skywork_rt {

/// kCapacity. Made in advance: copying an Error takes no memory, making one does.
SKYWORK_RT_API const Error& OutOfMemory() noexcept;

/// An error with a message of anything that streams; OutOfMemory() when there is no memory for the message.
template <typename... Args>
Error MakeError(ErrorCode code, const Args&... args) noexcept {
  try {
    return Error(code, StrCat(args...));
  } catch (...) {
    return OutOfMemory();
  }
}

/// Whatever was thrown, as an Error of this library. To be called inside a catch block.
inline Error CurrentError(ErrorCode code_of_others) noexcept {
  try {
    throw;
  } catch (const Error& error) {
    return error;
  } catch (const std::bad_alloc&) {
    return OutOfMemory();
  } catch (const std::exception& error) {
    return MakeError(code_of_others, error.what());
  } catch (...) {
    return MakeError(code_of_others, "an exception of an unknown type");
  }
}

}  // namespace skywork_rt
