#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "skywork_rt/export.h"

namespace skywork_rt {

/// Index of a token in the model's vocabulary: 0 <= id < ModelSpec::vocab_size.
using TokenId = std::int32_t;

/// Rotary position embedding (Su et al. 2021, arXiv:2104.09864), half-split layout: dimension i turns with
/// dimension i + head_dim / 2. Scaling (linear, llama3, yarn) is already folded into the frequencies at export.
struct RopeSpec {
  std::string type = "default";
  double theta = 10000.0;
  /// head_dim / 2 angular frequencies in radians a position: angle(p, i) = p * inverse_frequencies[i], in float32.
  std::vector<float> inverse_frequencies;
  /// Multiplies both cosine and sine (yarn's attention temperature); 1 for every other type.
  float attention_factor = 1.0f;
};

/// The shape of a Llama-structured decoder, as model.json states it.
struct ModelSpec {
  std::string name;
  std::string architecture;  // "llama", the only one so far
  int layers = 0;
  int hidden_size = 0;
  int intermediate_size = 0;
  int heads = 0;
  int kv_heads = 0;  // divides heads; equal to heads for MHA
  int head_dim = 0;
  int vocab_size = 0;
  int max_length = 0;  // positions the model was made for; prompt + output never exceed it
  double rms_norm_eps = 1e-5;
  bool qkv_bias = false;
  bool output_bias = false;              // of attention
  bool mlp_bias = false;                 // of all three matrices of the feed-forward
  bool qk_norm = false;                  // every head of q and k goes through an RMS norm before rotary (Qwen3)
  std::vector<int> layers_without_rope;  // ascending; their q and k are not turned (SmolLM3)
  bool tied_embeddings = false;
  RopeSpec rope;

  TokenId bos_id = -1;           // -1: the model has none
  TokenId pad_id = -1;           // -1: the model has none
  std::vector<TokenId> eos_ids;  // any of these ends a sequence

  /// Bytes of keys and values of one cached token at `bytes_per_element` (4 for float32).
  std::size_t CacheBytesPerToken(std::size_t bytes_per_element) const noexcept {
    return 2 * static_cast<std::size_t>(layers) * static_cast<std::size_t>(kv_heads) *
           static_cast<std::size_t>(head_dim) * bytes_per_element;
  }
};

}  // namespace skywork_rt
