#pragma once

#include "backend/backend_entry.h"

namespace skywork_rt {

/// Core and plugin must agree. Raise the first number whenever Backend, Bundle, GraphSession or BackendEntry change;
/// options change it by their size.
constexpr int kPluginAbi = 6 * 100000 + static_cast<int>(sizeof(BackendOptions));
constexpr const char* kPluginSymbol = "skywork_rt_backend_plugin";

/// What a plugin's one extern "C" function, `const PluginEntry* skywork_rt_backend_plugin()`, returns: a constant that
/// lives as long as the process. Errors cross as exceptions, whose type lives in libskywork_rt.so.
struct PluginEntry {
  int abi;  // kPluginAbi of the build
  BackendEntry backend;
};

}  // namespace skywork_rt
