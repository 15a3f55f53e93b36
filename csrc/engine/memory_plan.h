#pragma once

#include <cstddef>

#include "backend/backend_entry.h"
#include "bundle/bundle.h"
#include "skywork_rt/export.h"
#include "skywork_rt/generator_options.h"

namespace skywork_rt {

/// Makes the promises of the options fit into memory. `resolved` is what ResolveOptions made of `given`, `needs` what
/// the backend will take, `available` bytes that are free before it is opened.
///
/// Room is what `available` leaves beside weights and work buffers; a cached token takes needs.per_token of it.
///  - max_cache_bytes, where it was not given, is nine tenths of the room.
///  - max_cached_tokens, where it was not given, is max_length * max_batch, or what max_cache_bytes holds if that is
///    less. Given, it is cut to what all sequences that may be open can use, and to max_cache_bytes where both are
///    given.
///  - max_length, where it was not given, is cut to what the cache holds, so that one sequence of it always fits; one
///    line of the log says so.
/// Throws Error(kCapacity), with bytes needed and available and what to lower, when weights and work buffers leave no
/// room, when the room does not hold what was given (one sequence of max_length, max_cached_tokens, max_cache_bytes),
/// and when it does not hold a sequence that is worth opening for.
GeneratorOptions FitMemory(const GeneratorOptions& given, GeneratorOptions resolved, const BackendMemory& needs,
                           std::size_t available);

/// The options for a model that is not opened yet, complete: ResolveOptions, and FitMemory with what this process may
/// take now. `needs` is what the backend will take; the engine's own work is added. Throws what these throw.
SKYWORK_RT_API GeneratorOptions ResolveForMemory(const GeneratorOptions& given, const ModelSpec& model,
                                                 BackendMemory needs);

/// The options for `bundle`, complete: ResolveOptions, the backend that "auto" means, and FitMemory with what this
/// process may take now. Throws what these throw.
SKYWORK_RT_API GeneratorOptions ResolveForBundle(const GeneratorOptions& given, const Bundle& bundle);

}  // namespace skywork_rt
