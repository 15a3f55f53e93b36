#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backend/ascend/device_cache_backend.h"
#include "backend/ascend/device_form.h"
#include "skywork_rt/model_spec.h"

namespace skywork_rt::ascend {

/// One call of a graph as the session saw it: every input, in the order of the contract.
struct RecordedCall {
  bool full = false;
  std::vector<std::int64_t> tokens_shape;
  std::vector<std::int32_t> tokens;
  std::vector<std::int32_t> valid_lengths;
  std::vector<std::int64_t> batch_index;   // empty where the graph has no such input
  std::int64_t active_length = 0;          // of zactivate_len; 0 without
  std::vector<std::int32_t> slot_mapping;  // paged
  std::vector<std::int32_t> block_tables;  // paged
};

/// What the reference device saw, and what it shall do. Outlives the backend.
struct Recording {
  std::vector<RecordedCall> calls;
  int resizes = 0;
  int fail_call = -1;                 // the call of this number fails, after it has written to the cache
  std::function<void()> before_call;  // called on the engine's thread before a call computes
};

/// Both graphs of a form on one cache, interpreting what they are fed as MindFormers' graphs do (KVCacheMgr: the full
/// graph assigns or writes whole prompts, the incremental one adds, overwrites or writes by slot; row i of a step reads
/// row i of the cache). A position holds its token's number in whole numbers; the logits of a row follow from all that
/// its valid positions hold. So whatever is fed wrongly - a row, a length, a slot - gives other logits. Shapes that are
/// no gear, and numbers outside of the cache, fail the test.
DeviceSessions OpenReferenceDevice(const ModelSpec& model, const DeviceForm& form, Recording* recording);

/// The logits behind `tokens`: what the device must come to.
std::vector<float> LogitsBehind(const ModelSpec& model, const std::vector<TokenId>& tokens);
/// What greedy decoding yields behind `prompt`.
std::vector<TokenId> GreedyBehind(const ModelSpec& model, std::vector<TokenId> prompt, std::size_t count);

/// A model of 101 tokens and 64 positions, pad 0, eos 2.
ModelSpec ReferenceModel();
/// What is read from a bundle of `export --for ascend`: gears for batches of 1 and 4 (assign: 4, and 1 with a cache of
/// its own) and lengths of 16 and 64.
DeviceForm ReferenceForm(Form form);
/// The full graph and the incremental one of that bundle, and the context.cfg beside one of them ("full",
/// "incremental"). Files of tests/python/ascend_export/reference_forms.py.
std::vector<BundleGraph> ReferenceGraphs(Form form);
std::filesystem::path ReferenceContext(Form form, const std::string& role);

}  // namespace skywork_rt::ascend
