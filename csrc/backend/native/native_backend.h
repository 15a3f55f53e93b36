#pragma once

#include <memory>

#include "backend/factory.h"

namespace skywork_rt {

/// Opens the bundle's weights on our own CPU kernels. `options` names which weights ("auto": the smallest there are).
/// Throws Error: kUnsupported, kCorruptBundle, kInvalidArgument, kCapacity.
std::unique_ptr<Backend> MakeNativeBackend(const Bundle& bundle, const BackendOptions& options);

}  // namespace skywork_rt
