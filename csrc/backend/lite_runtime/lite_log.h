#pragma once

#include "backend/lite_runtime/session_entry.h"

namespace skywork_rt::lite_runtime {

/// Hooks that route Lite's log, written through its own copy of glog, to skywork_rt's Log and keep it off stderr.
/// `lookup(name)` gives the address of a symbol of Lite's libraries, or null; where glog's are missing the log stays
/// as Lite has it. To be called once, after Lite is loaded.
LogHooks RouteLiteLog(void* (*lookup)(const char* name));

}  // namespace skywork_rt::lite_runtime
