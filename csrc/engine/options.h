#pragma once

#include <cstddef>

#include "backend/backend.h"
#include "backend/backend_entry.h"
#include "skywork_rt/export.h"
#include "skywork_rt/generator.h"

namespace skywork_rt {

/// Checks every option that does not depend on a bundle's files and replaces what is 0 by what it means for `model`.
/// Throws kInvalidArgument that names the option, its value and the allowed range.
GeneratorOptions ResolveOptions(const GeneratorOptions& options, const ModelSpec& model);

/// The same options within what the backend can do.
GeneratorOptions LimitOptions(GeneratorOptions options, const Traits& traits);

/// What the backend is asked for: the user's options, and some sequences more than run at once, which keep finished
/// ones for prefix reuse.
SKYWORK_RT_API BackendOptions ToBackendOptions(const GeneratorOptions& resolved);

}  // namespace skywork_rt
