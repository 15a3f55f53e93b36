#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "backend/host_cache/session.h"
#include "skywork_rt/model_spec.h"

namespace skywork_rt::host_cache {

/// What the doubles of one backend saw, and what they shall do. Outlives the backend.
struct Recording {
  int full_opened = 0;
  int incremental_opened = 0;
  int full_runs = 0;
  int incremental_runs = 0;
  int resizes = 0;
  std::vector<std::int64_t> batches;  // rows of each incremental run
  std::vector<Shape> caches;          // shape of key_0 at each run
  int fail_run = -1;                  // the run of this number, counted over both graphs, fails
  int poison_run = -1;                // the run of this number gives a key that is NaN
};

/// A small model in whole numbers, exact in float32, whose logits depend on every visible token, its place and nothing
/// else: two runs agree to the bit exactly when the cache was handled rightly.
ModelSpec TinySpec();
/// Its logits after the last of `tokens`.
std::vector<float> ExpectedLogits(const ModelSpec& model, const std::vector<TokenId>& tokens);

/// Doubles of MindSpore Lite's session that compute that model over the host-cache contracts.
SessionFactory FullDouble(const ModelSpec& model, Recording* recording);
SessionFactory IncrementalDouble(const ModelSpec& model, Recording* recording);

/// A session that has the inputs it is told to have and computes nothing.
std::unique_ptr<Session> SessionWithInputs(std::vector<TensorInfo> inputs);

}  // namespace skywork_rt::host_cache
