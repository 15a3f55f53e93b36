#pragma once

#include <memory>
#include <string>
#include <vector>

#include "backend/graph_session.h"

namespace skywork_rt::lite_runtime {

/// MindSpore Lite, loaded into this process once and never unloaded.
///
/// Its libraries are opened by absolute path with RTLD_LOCAL, so that they meet neither the MindSpore framework's nor
/// anybody else's, then the session module beside this plugin. Nothing is written to stderr, no environment variable
/// is changed. Safe to call from any thread; throws Error(kBackendUnavailable), and tries again at the next call.
class LiteLibrary {
 public:
  static const LiteLibrary& Get();

  /// Loads a graph, MindIR or Lite's own format. Throws Error(kBackend) with Lite's own text.
  std::unique_ptr<GraphSession> Open(const std::string& path, int threads, const std::vector<int>& affinity) const;
  /// Loads MindIR graphs through the provider `ge`, which share their Parameters. Throws Error(kBackend) with Lite's
  /// own text, and kBackendUnavailable when this Lite has no ModelGroup that shares weights (it came with 2.2).
  std::vector<std::unique_ptr<GraphSession>> OpenOnAscend(const std::vector<std::string>& paths,
                                                          const struct AscendPlace& place) const;
  /// Place and version of the headers, for people.
  const std::string& description() const { return description_; }

 private:
  LiteLibrary();

  const struct SessionEntry* entry_ = nullptr;
  std::string description_;
};

}  // namespace skywork_rt::lite_runtime
