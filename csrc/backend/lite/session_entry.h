#pragma once

#include <memory>
#include <string>
#include <vector>

#include "backend/lite/session.h"

namespace skywork_rt::lite {

/// The one exported function of a session module, `const SessionEntry* skywork_rt_lite_session()`.
///
/// Only session modules are linked against MindSpore Lite. The plugin loads Lite's libraries, wherever they are, and
/// then the module that was linked against the name they have: a run path could not know the place.
constexpr int kSessionAbi = 2;
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

struct SessionEntry {
  int abi;                // kSessionAbi of the build
  const char* built_for;  // version of the headers
  /// Loads a graph, MindIR or Lite's own format (.ms), for the CPU with float32 kernels on `threads` threads, which
  /// compute on the cores `affinity` only unless it is empty.
  std::unique_ptr<Session> (*open)(const std::string& path, int threads, const std::vector<int>& affinity,
                                   const LogHooks& hooks);
};

}  // namespace skywork_rt::lite
