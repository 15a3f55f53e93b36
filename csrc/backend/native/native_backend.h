#pragma once

#include <filesystem>
#include <memory>

#include "backend/backend.h"
#include "backend/factory.h"
#include "bundle/bundle.h"
#include "skywork_rt/export.h"
#include "skywork_rt/model_spec.h"

namespace skywork_rt {

/// Opens the bundle's weights (`options.weights`, or for "auto" the best that it has) on our own CPU kernels.
///
/// Throws Error: kUnsupported (the bundle has no such weights, or an option names something unknown),
/// kCorruptBundle (the weights file is damaged), kNotFound, kCapacity (no memory for the cache).
std::unique_ptr<Backend> MakeNativeBackend(const Bundle& bundle, const BackendOptions& options);

namespace native {

/// The same for one weights file of the model `spec`, without a bundle around it.
SKYWORK_RT_API std::unique_ptr<Backend> OpenBackend(const ModelSpec& spec, const std::filesystem::path& weights,
                                                    const BackendOptions& options);

}  // namespace native
}  // namespace skywork_rt
