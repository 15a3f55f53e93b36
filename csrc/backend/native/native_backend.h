#pragma once

#include <filesystem>
#include <memory>

#include "backend/backend.h"
#include "backend/backend_entry.h"
#include "skywork_rt/export.h"
#include "skywork_rt/model_spec.h"

namespace skywork_rt {

/// Our own CPU kernels on the bundle's weights: `options.weights`, or for "auto" the first that it has in the
/// order of PreferredKindsFirst.
///
/// Opening throws Error: kUnsupported (the bundle has no such weights, or an option names something unknown),
/// kCorruptBundle (the weights file is damaged), kNotFound, kCapacity (no memory for the cache).
extern const BackendEntry kNativeBackend;

namespace native {

/// What a backend of the model `spec` takes beside its weights. Throws Error for a shape or cache type that is refused.
SKYWORK_RT_API BackendMemory MemoryOf(const ModelSpec& spec, const BackendOptions& options);

/// One weights file of the model `spec`, without a bundle around it.
SKYWORK_RT_API std::unique_ptr<Backend> OpenBackend(const ModelSpec& spec, const std::filesystem::path& weights,
                                                    const BackendOptions& options);

}  // namespace native
}  // namespace skywork_rt
