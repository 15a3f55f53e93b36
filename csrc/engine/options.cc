#include "engine/options.h"

#include <algorithm>
#include <limits>

#include "skywork_rt/error.h"
#include "support/core_set.h"
#include "support/field_check.h"
#include "support/format.h"
#include "support/processor.h"

namespace skywork_rt {
namespace {

void CheckAffinity(const GeneratorOptions& options) {
  const CoreSet cores(options.affinity);
  if (cores.empty() || options.threads <= cores.size()) return;
  throw Error(ErrorCode::kInvalidArgument,
              StrCat("threads is ", options.threads, ", but affinity names ", cores.size(), " cores (",
                     cores.ToString(), "). Name at least one core a thread, or leave threads to follow affinity."));
}

std::size_t SaturatingProduct(std::size_t a, std::size_t b) {
  return b != 0 && a > std::numeric_limits<std::size_t>::max() / b ? std::numeric_limits<std::size_t>::max() : a * b;
}

/// The bound in bytes, on a backend that is open already: one that the bundle's rule has set is met.
void LimitBytes(GeneratorOptions* options, const Traits& traits) {
  if (traits.bytes_per_token == 0) return;
  if (options->max_cache_bytes == 0) {
    options->max_cache_bytes = SaturatingProduct(options->max_cached_tokens, traits.bytes_per_token);
    return;
  }
  const std::size_t tokens = options->max_cache_bytes / traits.bytes_per_token;
  if (tokens == 0) {
    throw Error(ErrorCode::kInvalidArgument,
                StrCat("max_cache_bytes is ", options->max_cache_bytes, ", but one cached token takes ",
                       traits.bytes_per_token, " bytes: raise it"));
  }
  options->max_cached_tokens = std::min(options->max_cached_tokens, tokens);
}

}  // namespace

GeneratorOptions ResolveOptions(const GeneratorOptions& options, const ModelSpec& model) {
  GeneratorOptions resolved = options;
  CheckFields(options);
  ChosenInstructionSet();  // a wrong SKYWORK_RT_NATIVE_ISA is told now, not by the first token
  CheckAffinity(options);
  if (options.admission != "reserve" && options.admission != "optimistic") {
    throw Error(ErrorCode::kInvalidArgument,
                StrCat("admission is \"", options.admission, "\", but must be reserve or optimistic."));
  }
  if (options.prefill_stretch != 0) CheckField("prefill_stretch", options.prefill_stretch, Range::Within(1, 1000));
  const auto model_length = static_cast<std::size_t>(model.max_length);
  if (options.max_length != 0) CheckField("max_length", options.max_length, Range::Within(2, model.max_length));
  resolved.threads = ThreadsToUse(options.threads, options.affinity);
  if (resolved.max_length == 0) resolved.max_length = model_length;
  if (resolved.max_cached_tokens == 0) {
    resolved.max_cached_tokens = SaturatingProduct(resolved.max_length, static_cast<std::size_t>(resolved.max_batch));
  }
  return resolved;
}

GeneratorOptions LimitOptions(GeneratorOptions options, const Traits& traits) {
  if (traits.max_batch < 1 || traits.max_chunk < 1 || traits.max_cached_tokens < 1) {
    throw Error(ErrorCode::kInternal,
                StrCat("the backend's traits leave no room to run: max_batch ", traits.max_batch, ", max_chunk ",
                       traits.max_chunk, ", max_cached_tokens ", traits.max_cached_tokens));
  }
  options.max_batch = std::min(options.max_batch, traits.max_batch);
  options.max_cached_tokens = std::min(options.max_cached_tokens, traits.max_cached_tokens);
  LimitBytes(&options, traits);
  return options;
}

BackendOptions ToBackendOptions(const GeneratorOptions& resolved) {
  BackendOptions options(resolved);
  options.max_batch = resolved.max_batch + (resolved.prefix_cache ? std::max(1, resolved.max_batch / 2) : 0);
  return options;
}

}  // namespace skywork_rt
