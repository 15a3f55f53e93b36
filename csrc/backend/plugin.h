#pragma once

#include <memory>

#include "backend/factory.h"

namespace skywork_rt {

/// Raised whenever Backend, Bundle, BackendOptions or PluginEntry change: core and plugin must agree.
constexpr int kPluginAbi = 1;
constexpr const char* kPluginSymbol = "skywork_rt_backend_plugin";

/// What a plugin's one extern "C" function, `const PluginEntry* skywork_rt_backend_plugin()`, returns: a constant that
/// lives as long as the process. Errors cross as exceptions, whose type lives in libskywork_rt.so.
struct PluginEntry {
  int abi;                  // kPluginAbi of the build
  const char* name;         // "lite"
  const char* description;  // what was linked, for build_info()
  std::unique_ptr<Backend> (*make)(const Bundle& bundle, const BackendOptions& options);
};

}  // namespace skywork_rt
