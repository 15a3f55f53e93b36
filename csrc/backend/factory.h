#pragma once

#include <memory>
#include <string>

#include "backend/backend.h"
#include "bundle/bundle.h"
#include "skywork_rt/export.h"

namespace skywork_rt {

/// What the generator asks of a backend; every value is already checked and final.
struct BackendOptions {
  std::string device = "cpu";
  std::string weights = "auto";
  std::string activations = "auto";
  std::string kv_cache = "f32";
  int threads = 0;  // 0: all cores of this process's affinity mask
  bool mmap = true;
  bool verify = false;
  int max_batch = 16;
  std::size_t max_length = 0;         // longest sequence, <= ModelSpec::max_length
  std::size_t max_cached_tokens = 0;  // bound of the cache over all sequences
};

/// Opens `bundle` on the named backend ("lite", "native"). "auto" takes native when the bundle has weights for it and
/// the device is a CPU, else lite. Throws kUnsupported (bundle has nothing for it), kBackendUnavailable.
std::unique_ptr<Backend> MakeBackend(const std::string& name, const Bundle& bundle, const BackendOptions& options);

}  // namespace skywork_rt
