#include "engine/memory_plan.h"

#include <algorithm>
#include <iomanip>
#include <limits>
#include <sstream>
#include <string>
#include <utility>

#include "backend/registry.h"
#include "engine/engine.h"
#include "engine/options.h"
#include "skywork_rt/error.h"
#include "support/format.h"
#include "support/log.h"
#include "support/memory_limits.h"

namespace skywork_rt {
namespace {

constexpr std::size_t kMost = std::numeric_limits<std::size_t>::max();
/// What the rule leaves is for the allocator, page tables and requests: tokens, text and log-probabilities.
constexpr std::size_t kShareTenths = 9;
/// A shorter sequence is of no use to anybody: better an error at the start than at every request.
constexpr std::size_t kShortestSequence = 16;

std::size_t Sum(std::size_t a, std::size_t b) {
  return a > kMost - b ? kMost : a + b;
}

std::size_t Product(std::size_t a, std::size_t b) {
  return b != 0 && a > kMost / b ? kMost : a * b;
}

/// "126.00 GiB (135291469824 bytes)"
std::string Size(std::size_t bytes) {
  std::ostringstream text;
  text << std::fixed << std::setprecision(2) << static_cast<double>(bytes) / (1 << 30) << " GiB (" << bytes
       << " bytes)";
  return text.str();
}

/// The numbers of one plan, and its refusals.
class Plan {
 public:
  Plan(const GeneratorOptions& given, const BackendMemory& needs, std::size_t available)
      : given_(given), needs_(needs), available_(available) {
    const std::size_t beside = Sum(needs.weights, needs.work);
    if (beside >= available) {
      throw Error(ErrorCode::kCapacity,
                  StrCat("the model needs ", Size(beside), " for weights and work buffers, and ", Size(available),
                         " of memory are available: take smaller weights (option weights), lower max_batch, or free "
                         "memory"));
    }
    room_ = available - beside;
  }

  /// Most bytes of the cache: what was given, else our share of the room.
  std::size_t Bytes() const { return given_.max_cache_bytes != 0 ? given_.max_cache_bytes : room_ / 10 * kShareTenths; }
  std::size_t TokensOf(std::size_t bytes) const { return bytes / std::max<std::size_t>(1, needs_.per_token); }
  std::size_t BytesOf(std::size_t tokens) const { return Product(tokens, needs_.per_token); }

  /// Refuses a promise of `tokens` that the user has asked for by `option` when the room does not hold it.
  void RequireRoom(const char* option, std::size_t value, const char* unit, std::size_t tokens,
                   const char* advice) const {
    if (BytesOf(tokens) <= room_) return;
    throw Error(ErrorCode::kCapacity, StrCat(option, " is ", value, unit, ", for which the cache needs ",
                                             Size(BytesOf(tokens)), ", and ", Available(), ": ", advice));
  }

  /// Refuses a cache that does not hold one sequence.
  void RequireSequence(std::size_t tokens, std::size_t least) const {
    if (tokens >= least) return;
    throw Error(ErrorCode::kCapacity,
                StrCat("the cache holds ", tokens, " tokens of ", needs_.per_token,
                       " bytes, fewer than one sequence of ", least, "; ", Available(),
                       ": raise max_cached_tokens or max_cache_bytes where they are set, take smaller weights or "
                       "kv_cache=\"f16\", or free memory"));
  }

  std::string Available() const {
    return StrCat("of ", Size(available_), " of memory that are available, weights take ", Size(needs_.weights),
                  " and work buffers ", Size(needs_.work));
  }

 private:
  const GeneratorOptions& given_;
  const BackendMemory& needs_;
  const std::size_t available_;
  std::size_t room_ = 0;
};

std::size_t PlanLength(const GeneratorOptions& given, std::size_t model_length, const Plan& plan) {
  if (given.max_length != 0) {
    plan.RequireRoom("max_length", given.max_length, " tokens", given.max_length,
                     "lower max_length, take kv_cache=\"f16\" or smaller weights, or free memory");
    return given.max_length;
  }
  std::size_t length = std::min(model_length, plan.TokensOf(plan.Bytes()));
  if (given.max_cached_tokens != 0) length = std::min(length, given.max_cached_tokens);
  plan.RequireSequence(length, std::min(model_length, kShortestSequence));
  if (length < model_length) {
    Log(LogLevel::kWarning, StrCat("max_length is ", length, " instead of the model's ", model_length,
                                   ", as the cache holds no more (", plan.Available(), ")"));
  }
  return length;
}

/// `usable`: tokens of all sequences that may be open, at full length.
std::size_t PlanTokens(const GeneratorOptions& given, const GeneratorOptions& resolved, std::size_t usable,
                       const Plan& plan) {
  if (given.max_cache_bytes != 0) {
    plan.RequireRoom("max_cache_bytes", given.max_cache_bytes, "",
                     std::min(usable, plan.TokensOf(given.max_cache_bytes)), "lower max_cache_bytes, or free memory");
  }
  if (given.max_cached_tokens != 0) {
    const std::size_t tokens = std::min(given.max_cached_tokens, usable);
    plan.RequireRoom("max_cached_tokens", given.max_cached_tokens, "", tokens,
                     "lower max_cached_tokens, or free memory");
    return given.max_cache_bytes == 0 ? tokens : std::min(tokens, plan.TokensOf(given.max_cache_bytes));
  }
  const std::size_t wanted = Product(resolved.max_length, static_cast<std::size_t>(resolved.max_batch));
  const std::size_t fits = plan.TokensOf(plan.Bytes());
  // A length that was asked for fits into the room, but maybe not into our share of it.
  return std::min(wanted, given.max_cache_bytes == 0 ? std::max(fits, resolved.max_length) : fits);
}

/// What the engine takes itself: the logits of a step, and a copy for the sampler; or those of a prompt.
std::size_t LogitBytes(const ModelSpec& model, int max_batch) {
  const std::size_t row = Product(static_cast<std::size_t>(model.vocab_size), sizeof(float));
  return std::max(Product(2 * static_cast<std::size_t>(std::max(1, max_batch)), row),
                  EngineConfig().prompt_logits_bytes);
}

GeneratorOptions FitMachine(const GeneratorOptions& given, GeneratorOptions resolved, const ModelSpec& model,
                            BackendMemory needs) {
  needs.work = Sum(needs.work, LogitBytes(model, resolved.max_batch));
  return FitMemory(given, std::move(resolved), needs, ReadMemoryLimits().available);
}

}  // namespace

GeneratorOptions FitMemory(const GeneratorOptions& given, GeneratorOptions resolved, const BackendMemory& needs,
                           std::size_t available) {
  const Plan plan(given, needs, available);
  resolved.max_length = PlanLength(given, resolved.max_length, plan);
  const std::size_t open = static_cast<std::size_t>(ToBackendOptions(resolved).max_batch);
  resolved.max_cached_tokens = PlanTokens(given, resolved, Product(resolved.max_length, open), plan);
  plan.RequireSequence(resolved.max_cached_tokens, 1);
  if (given.max_cache_bytes == 0) resolved.max_cache_bytes = plan.BytesOf(resolved.max_cached_tokens);
  return resolved;
}

GeneratorOptions ResolveForBundle(const GeneratorOptions& given, const Bundle& bundle) {
  GeneratorOptions resolved = ResolveOptions(given, bundle.model());
  resolved.backend = ResolveBackend(bundle, ToBackendOptions(resolved));
  const BackendEntry& entry = FindBackend(resolved.backend);
  const BackendOptions asked = ToBackendOptions(resolved);
  // What the backend cannot do is told first: it is the clearer reason.
  if (const std::string reason = entry.why_not(bundle, asked); !reason.empty()) {
    throw Error(ErrorCode::kUnsupported, reason);
  }
  BackendMemory needs;
  needs.per_token = bundle.model().CacheBytesPerToken(sizeof(float));
  if (entry.memory != nullptr) needs = entry.memory(bundle, asked);
  return FitMachine(given, std::move(resolved), bundle.model(), needs);
}

GeneratorOptions ResolveForMemory(const GeneratorOptions& given, const ModelSpec& model, BackendMemory needs) {
  return FitMachine(given, ResolveOptions(given, model), model, needs);
}

}  // namespace skywork_rt
