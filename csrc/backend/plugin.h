#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "backend/factory.h"
#include "backend/graph_session.h"

namespace skywork_rt {

/// Raised whenever Backend, Bundle, BackendOptions, GraphSession or PluginEntry change: core and plugin must agree.
constexpr int kPluginAbi = 3;
constexpr const char* kPluginSymbol = "skywork_rt_backend_plugin";

/// What a plugin's one extern "C" function, `const PluginEntry* skywork_rt_backend_plugin()`, returns: a constant that
/// lives as long as the process. Errors cross as exceptions, whose type lives in libskywork_rt.so.
struct PluginEntry {
  int abi;                  // kPluginAbi of the build
  const char* name;         // "lite"
  const char* description;  // what was linked, for build_info()
  std::unique_ptr<Backend> (*make)(const Bundle& bundle, const BackendOptions& options);

  // For benchmarks, which compare the backend with its bare graphs; null where there are none.

  /// Opens a graph of the bundle by its file's name, its SHA-256 checked.
  std::unique_ptr<GraphSession> (*open_graph)(const Bundle& bundle, const std::string& file, int threads) = nullptr;
  /// Slots of the cache that the backend gives its graphs when the longest sequence has `longest` tokens.
  std::size_t (*cache_slots)(std::size_t longest, std::size_t max_length) = nullptr;
};

}  // namespace skywork_rt
