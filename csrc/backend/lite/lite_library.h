#pragma once

#include <memory>
#include <string>

#include "backend/lite/session.h"

namespace skywork_rt::lite {

/// MindSpore Lite, loaded into this process once and never unloaded.
///
/// Its libraries are opened by absolute path with RTLD_LOCAL, so that they meet neither the MindSpore framework's nor
/// anybody else's, then the session module beside this plugin. Nothing is written to stderr, no environment variable
/// is changed. Safe to call from any thread; throws Error(kBackendUnavailable), and tries again at the next call.
class LiteLibrary {
 public:
  static const LiteLibrary& Get();

  /// Loads a graph, MindIR or Lite's own format. Throws Error(kBackend) with Lite's own text.
  std::unique_ptr<Session> Open(const std::string& path, int threads, const std::vector<int>& affinity) const;
  /// Place and version of the headers, for people.
  const std::string& description() const { return description_; }

 private:
  LiteLibrary();

  const struct SessionEntry* entry_ = nullptr;
  std::string description_;
};

}  // namespace skywork_rt::lite
