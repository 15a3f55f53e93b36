#pragma once

#include <cstddef>

namespace skywork_rt {

/// What bounds the scheduler: the user's options and the backend's traits, already reconciled.
struct SchedulerLimits {
  int max_running = 1;                // sequences of running requests
  int max_open = 1;                   // the same plus sequences kept for prefix reuse; >= max_running
  std::size_t max_cached_tokens = 0;  // of all open sequences together
  std::size_t max_chunk = 1;          // tokens of one sequence in one step
  std::size_t prefill_budget = 1;     // prompt tokens of all sequences in one step
  std::size_t max_logit_rows = 1;     // logit rows of one step that prompt log-probabilities may add
  bool prefix_cache = false;          // keep finished sequences, reuse what begins alike
  std::size_t min_prefix = 16;        // fewer common tokens are not worth a reuse
  bool can_fork = false;              // Traits::can_fork
  bool can_truncate = false;          // Traits::can_truncate
  std::size_t block_tokens = 0;       // Traits::block_tokens
  bool whole_prompts = false;         // Traits::whole_prompts
  bool static_batch = false;          // Traits::static_batch
  bool optimistic = false;            // admit on what a request has, not on what it may come to; needs block_tokens
};

}  // namespace skywork_rt
