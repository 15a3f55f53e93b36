#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

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
  int threads = 0;            // 0: all cores of this process's affinity mask
  std::vector<int> affinity;  // cores to compute on; empty: the system decides
  std::optional<bool> mmap;   // true: map weights; false: copy them into huge pages; unset: as suits their size
  bool verify = false;
  int max_batch = 16;
  std::size_t max_length = 0;         // longest sequence, <= ModelSpec::max_length
  std::size_t max_cached_tokens = 0;  // bound of the cache over all sequences
};

/// The backend that `name` means for this bundle: "lite" or "native"; "auto" is native when the bundle has weights for
/// it and the device is a CPU, else lite. Throws kInvalidArgument for any other name.
SKYWORK_RT_API std::string ResolveBackend(const std::string& name, const Bundle& bundle, const std::string& device);

/// Opens `bundle` on the named backend. Throws kInvalidArgument (no such backend), kUnsupported (the bundle has nothing
/// for it, or it cannot do an option), kBackendUnavailable, and what reading the bundle's files throws.
SKYWORK_RT_API std::unique_ptr<Backend> MakeBackend(const std::string& name, const Bundle& bundle,
                                                    const BackendOptions& options);

}  // namespace skywork_rt
