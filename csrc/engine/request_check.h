#pragma once

#include <cstddef>

#include "backend/backend.h"
#include "skywork_rt/generator.h"

namespace skywork_rt {

/// What a request is measured against.
struct RequestLimits {
  const ModelSpec* model = nullptr;
  const GeneratorOptions* options = nullptr;  // resolved and within what the backend can do
  bool can_fork = false;                      // Traits::can_fork
  std::size_t block_tokens = 0;               // Traits::block_tokens
  bool only_last_logits = false;              // Traits::only_last_logits
  bool has_vocabulary = false;
};

/// Sequences that the request needs at once: its samples or its beams.
int RowsOf(const SamplingParams& params);

/// The one place where a request is judged, whole, before anything is touched. Returns the tokens that each of its
/// sequences may hold: prompt + max_tokens, or max_length when max_tokens is empty.
/// Throws Error: kInvalidArgument (a value is wrong), kUnsupported (this bundle or backend cannot), kCapacity (it
/// could never fit).
std::size_t CheckRequest(const Request& request, const RequestLimits& limits);

}  // namespace skywork_rt
