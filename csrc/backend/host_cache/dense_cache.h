#pragma once

#include <cstddef>
#include <vector>

#include "backend/host_cache/pages.h"
#include "skywork_rt/model_spec.h"
#include "skywork_rt/span.h"

namespace skywork_rt::host_cache {

/// Keys and values of several sequences, as the host-cache graphs take them: for each layer two arrays
/// [slots, kv_heads, positions, head_dim] float32, so that one slot, and any run of neighbouring slots, is a graph's
/// input without a copy.
///
/// The array's third dimension, the same for all slots, follows the longest sequence in steps. Memory is taken only for
/// what is written: an empty slot, or the unused end of a short one, costs nothing. Positions at or after a slot's
/// length hold finite numbers, which the graphs mask. Not thread-safe.
class DenseCache {
 public:
  /// `max_positions` bounds the longest sequence.
  DenseCache(const ModelSpec& model, int slots, std::size_t max_positions);

  int slots() const { return static_cast<int>(lengths_.size()); }
  /// Third dimension of the arrays: room of every slot, in tokens. At least 1.
  std::size_t positions() const { return positions_; }
  /// Tokens that the slot holds.
  std::size_t length(int slot) const { return lengths_[slot]; }

  /// Makes room for `longest` tokens in each slot; also gives room back when far less is needed than there is, so
  /// `longest` must cover every slot. Throws Error(kCapacity), changing nothing.
  void Fit(std::size_t longest);

  /// Start of the slot's keys or values in a layer: [kv_heads, positions, head_dim].
  const float* keys(int layer, int slot) const { return arrays_[2 * layer].floats() + slot * slot_stride(); }
  const float* values(int layer, int slot) const { return arrays_[2 * layer + 1].floats() + slot * slot_stride(); }
  /// Floats of one slot in one array.
  std::size_t slot_stride() const { return kv_heads_ * positions_ * head_dim_; }

  /// Stores new keys or values [kv_heads, count, head_dim] of a layer at `position`, which is not before the slot's
  /// length: nothing is visible until `SetLength`. Throws Error(kBackend) when one is not finite.
  void WriteKeys(int layer, int slot, std::size_t position, std::size_t count, const float* from);
  void WriteValues(int layer, int slot, std::size_t position, std::size_t count, const float* from);

  /// Tokens before `length` count from now on; those after it are forgotten.
  void SetLength(int slot, std::size_t length);
  /// Empties the slot and gives its memory back.
  void Clear(int slot);
  /// Makes `to` equal to `from`; what both are known to share already is not copied.
  void Copy(int from, int to) { Copy(from, to, length(from)); }
  /// Makes `to` equal to the first `length` tokens of `from`, which has as many.
  void Copy(int from, int to, std::size_t length);
  /// Exchanges the contents of two slots.
  void Swap(int a, int b);

  /// Leading tokens that the two slots are known to have in common, by having been copied.
  std::size_t shared(int a, int b) const { return shared_[a * slots() + b]; }
  /// Bytes that `Copy(from, to)` would move.
  std::size_t CopyCost(int from, int to) const;

 private:
  void Write(std::size_t array, int slot, std::size_t position, std::size_t count, const float* from);
  void CopyRange(int from, int to, std::size_t begin, std::size_t end);
  void SetShared(int a, int b, std::size_t length);
  std::size_t array_floats(std::size_t positions) const { return lengths_.size() * kv_heads_ * positions * head_dim_; }

  std::size_t kv_heads_;
  std::size_t head_dim_;
  std::size_t max_positions_;
  std::size_t positions_ = 0;
  std::vector<Pages> arrays_;         // keys and values of layer 0, of layer 1, ...
  std::vector<std::size_t> lengths_;  // a slot
  std::vector<std::size_t> shared_;   // [slots, slots], symmetric
};

/// The third dimension for sequences of `longest` tokens: steps of 64, then of an eighth of the length, so that
/// growing costs little and so does attending to masked positions. Between 1 and `max_positions`.
std::size_t PositionsFor(std::size_t longest, std::size_t max_positions);

}  // namespace skywork_rt::host_cache
