#pragma once

#include <string_view>

#include "skywork_rt/log.h"

namespace skywork_rt {

/// Hands a message to the user's callback, if there is one and the level asks for it.
SKYWORK_RT_API void Log(LogLevel level, std::string_view message) noexcept;

}  // namespace skywork_rt
