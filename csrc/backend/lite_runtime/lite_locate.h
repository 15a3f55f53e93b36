#pragma once

#include <string>
#include <vector>

namespace skywork_rt::lite_runtime {

/// A MindSpore Lite on this machine, as far as loading it goes. The counterpart of Python's skywork_rt.lite.locate(),
/// for programs that run without Python; both follow the same environment variables.
struct LiteLocation {
  std::string home;
  std::vector<std::string> libraries;  // absolute paths, in the order of loading
  std::vector<std::string> optional;   // to be loaded after them, if they load
  std::vector<std::string> folders;    // where a library that turns out to be needed too may be
  std::string session_module;          // file name of the session module that is linked against these names
  std::string origin;                  // "LITE_HOME" or "cache"
};

/// LITE_HOME if it is set, else <SKYWORK_RT_CACHE or ~/.cache/skywork_rt>/lite/<release>.
/// Throws Error(kBackendUnavailable) that names what is missing and the command that mends it.
LiteLocation LocateLite();

}  // namespace skywork_rt::lite_runtime
