#pragma once

#include <cstddef>
#include <string>

#include "backend/ascend/gears.h"
#include "bundle/bundle.h"
#include "skywork_rt/model_spec.h"

namespace skywork_rt::ascend {

/// How the graphs of MindFormers' device-cache contract write their cache (docs/bundle-format.md).
enum class Form {
  kAssign,   // Assign of a sum: a prompt's call replaces the whole cache, a token is added to its position
  kIndexed,  // PromptKVCache and DecoderKVCache: a prompt goes into the row of its batch_index
  kPaged,    // ReshapeAndCache and PagedAttention: blocks, which slot_mapping and block_tables name
};

const char* NameOf(Form form);

/// What a pair of graphs is: form, cache and shapes. Checked against each other and against the model.
struct DeviceForm {
  Form form;
  int pad_id = 0;
  BundleDeviceCache cache;
  Gears full;
  Gears incremental;
  /// Most tokens of one sequence that the cache and the gears of a step hold.
  std::size_t max_length = 0;

  /// Most sequences that a step of one token can have.
  int MostRows() const;
  /// Most tokens of all sequences.
  std::size_t MostTokens() const;
};

/// Reads what model.json says of the two graphs. Throws Error(kCorruptBundle) that names both numbers when they do not
/// fit each other, or the model.
DeviceForm ReadDeviceForm(const ModelSpec& model, const BundleGraph& full, const BundleGraph& incremental);

}  // namespace skywork_rt::ascend
