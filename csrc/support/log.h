#pragma once

#include <string_view>

#include "skywork_rt/log.h"
#include "support/format.h"

namespace skywork_rt {

/// Hands a message to the user's callback, if there is one and the level asks for it.
SKYWORK_RT_API void Log(LogLevel level, std::string_view message) noexcept;

/// The same with a message of anything that streams, where nothing may be thrown; dropped when memory is out.
template <typename... Args>
void LogText(LogLevel level, const Args&... args) noexcept {
  try {
    Log(level, StrCat(args...));
  } catch (...) {  // there is no memory to say that there is none
  }
}

}  // namespace skywork_rt
