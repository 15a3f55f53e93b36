#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "backend/ascend/device_form.h"
#include "backend/ascend/gears.h"
#include "backend/graph_session.h"
#include "skywork_rt/span.h"

namespace skywork_rt::ascend {

/// The inputs of one call, a row for each row of the gear; what is padding is filled in already.
struct Feeds {
  Gear gear;
  std::vector<std::int32_t> tokens;         // [batch, length of the prompts]; [batch, 1] for a step of one token
  std::vector<std::int32_t> valid_lengths;  // [batch]: tokens of each row, those of this call included; at least 1
  std::vector<std::int64_t> batch_index;    // [batch]: the cache's row of each row
  std::vector<std::int32_t> slot_mapping;   // paged: [batch * tokens of a row]
  std::vector<std::int32_t> block_tables;   // paged: [batch, table], -1 behind a sequence's blocks
};

/// Which of the two graphs: that reads prompts, or that computes one token for each row.
enum class GraphRole { kFull, kIncremental };

/// One graph of the device-cache contract on a session: finds its inputs by name, gives them the gear's shapes and the
/// feeds, and hands out its logits. It knows nothing of sequences.
class DeviceGraph {
 public:
  /// Throws Error(kCorruptBundle) that names the input which the session has or lacks against the contract.
  DeviceGraph(std::unique_ptr<GraphSession> session, GraphRole role, const DeviceForm& form, int vocab_size);

  /// Runs; the logits are [batch, vocab], valid until the next call. Throws Error(kBackend).
  Span<const float> Run(const Feeds& feeds);

 private:
  enum class Input { kTokens, kValidLengths, kBatchIndex, kActiveLength, kBlockTables, kSlotMapping };

  static Input InputNamed(const std::string& full_name);
  void CheckInput(const GraphSession::TensorInfo& info, Input input) const;
  void RequireAll(const Form& form) const;
  GraphSession::Shape ShapeOf(Input input, const Gear& gear) const;
  void BindInput(std::size_t index, const Feeds& feeds);

  std::unique_ptr<GraphSession> session_;
  GraphRole role_;
  int table_;
  int vocab_size_;
  std::vector<Input> inputs_;                // of the session, in its order
  std::vector<GraphSession::Shape> shapes_;  // that the session has now
  std::vector<std::int64_t> active_length_;  // only its shape matters
};

}  // namespace skywork_rt::ascend
