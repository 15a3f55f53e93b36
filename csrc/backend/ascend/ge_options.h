#pragma once

#include <array>
#include <string>
#include <vector>

#include "backend/ascend/ge_config.h"
#include "backend/backend_entry.h"
#include "bundle/bundle.h"

namespace skywork_rt::ascend {

/// Section, key and value.
using GeOption = std::array<std::string, 3>;

/// What is set of one graph after the user's `config` was read. Our own options override it, as does what the backend
/// needs (the provider); what it leaves open gets the recipe's values; and the bundle's gears are told to GE unless the
/// file has gears of its own.
std::vector<GeOption> OverridesFor(const BundleGraph& graph, const GeConfig& config, const BackendOptions& options);

}  // namespace skywork_rt::ascend
