#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "backend/graph_session.h"

namespace skywork_rt::lite_runtime {

/// The one exported function of a session module, `const SessionEntry* skywork_rt_lite_session()`.
///
/// Only session modules are linked against MindSpore Lite. The plugin loads Lite's libraries, wherever they are, and
/// then the module that was linked against the name they have: a run path could not know the place.
constexpr int kSessionAbi = 3;
constexpr const char* kSessionSymbol = "skywork_rt_lite_session";

/// What the loader of Lite lends to a session. The functions are never null.
struct LogHooks {
  /// Called before and after a model is made and built. In between Lite puts its log back on stderr more than once,
  /// so its warnings are dropped then.
  void (*begin_load)();
  void (*end_load)();
  /// Errors that Lite has logged since the last call, one a line: its status texts say little.
  std::string (*take_errors)();
};

/// Where graphs are opened through Lite's provider `ge`.
struct AscendPlace {
  int device_id = 0;
  int rank_id = 0;
  /// What Model::LoadConfig gets, one for each graph; empty for none.
  std::vector<std::string> config_files;
  /// What Model::UpdateConfig gets after it, of each graph: section, key, value.
  std::vector<std::vector<std::array<std::string, 3>>> overrides;
};

struct SessionEntry {
  int abi;                // kSessionAbi of the build
  const char* built_for;  // version of the headers
  /// Loads a graph, MindIR or Lite's own format (.ms), for the CPU with float32 kernels on `threads` threads, which
  /// compute on the cores `affinity` only unless it is empty.
  std::unique_ptr<GraphSession> (*open)(const std::string& path, int threads, const std::vector<int>& affinity,
                                        const LogHooks& hooks);
  /// Loads MindIR graphs on an Ascend device, with a file of configuration and overrides for each. Several graphs are
  /// put into one ModelGroup before they are built, and share their Parameters.
  std::vector<std::unique_ptr<GraphSession>> (*open_on_ascend)(const std::vector<std::string>& paths,
                                                               const AscendPlace& place, const LogHooks& hooks);
};

}  // namespace skywork_rt::lite_runtime
