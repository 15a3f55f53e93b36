#pragma once

#include <functional>
#include <string_view>

#include "skywork_rt/export.h"

namespace skywork_rt {

enum class LogLevel { kDebug = 0, kInfo = 1, kWarning = 2, kError = 3 };

/// Receives what the library has to say. May be called from any thread, must not throw.
using LogCallback = std::function<void(LogLevel, std::string_view message)>;

/// Sets the process-wide receiver and the least level that reaches it. The library prints nothing by itself: until
/// a callback is set, messages are dropped. An empty callback drops them again.
SKYWORK_RT_API void SetLogCallback(LogCallback callback, LogLevel least = LogLevel::kWarning);

}  // namespace skywork_rt
