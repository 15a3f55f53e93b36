#pragma once

#include "backend/backend_entry.h"

namespace skywork_rt {

/// Raised whenever Backend, Bundle, GeneratorOptions, GraphSession or BackendEntry change: core and plugin must agree.
constexpr int kPluginAbi = 4;
constexpr const char* kPluginSymbol = "skywork_rt_backend_plugin";

/// What a plugin's one extern "C" function, `const PluginEntry* skywork_rt_backend_plugin()`, returns: a constant that
/// lives as long as the process. Errors cross as exceptions, whose type lives in libskywork_rt.so.
struct PluginEntry {
  int abi;  // kPluginAbi of the build
  BackendEntry backend;
};

}  // namespace skywork_rt
