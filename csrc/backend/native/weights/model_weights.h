#pragma once

#include <string>
#include <vector>

#include "backend/native/kernels/packed_matrix.h"
#include "backend/native/weights/weights_file.h"
#include "skywork_rt/model_spec.h"

namespace skywork_rt::native {

/// A small float32 vector, copied and padded with zeros to whole vectors; empty when the model has none.
using PaddedVector = std::vector<float>;

struct LayerWeights {
  PaddedVector input_norm;  // [hidden]
  PackedMatrix q, k, v;     // [heads * head_dim or kv_heads * head_dim, hidden]
  PaddedVector q_bias, k_bias, v_bias;
  PaddedVector q_norm, k_norm;  // [head_dim]
  bool rope = true;             // whether q and k are turned by their positions
  PackedMatrix o;               // [hidden, heads * head_dim]
  PaddedVector o_bias;
  PaddedVector post_attention_norm;
  PackedMatrix gate, up;  // [intermediate, hidden]
  PackedMatrix down;      // [hidden, intermediate]
  PaddedVector gate_bias, up_bias, down_bias;
};

/// The tensors of a model, found in its weights file and checked against its shape. Matrices point into the file, where
/// the name of a matrix ends in that of its type, as in "layers.0.q_proj.int8".
struct ModelWeights {
  /// Throws Error kCorruptBundle for a tensor that is missing, unknown or of another shape than `spec` asks for.
  ModelWeights(const ModelSpec& spec, const WeightsFile& file);

  /// What activations are multiplied by: the layers' matrices and the head.
  std::vector<const PackedMatrix*> Multiplied() const;

  PackedMatrix embedding;  // [vocabulary, hidden]
  std::vector<LayerWeights> layers;
  PaddedVector norm;
  PackedMatrix head;  // [vocabulary, hidden]; the embedding itself when tied
};

}  // namespace skywork_rt::native
