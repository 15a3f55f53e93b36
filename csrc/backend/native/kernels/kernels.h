#pragma once

#include <cstddef>
#include <cstdint>

#include "backend/native/kernels/digits.h"
#include "backend/native/kernels/packed_matrix.h"

namespace skywork_rt::native {

constexpr int kPageTokens = 16;    // cached tokens of a page: one a lane, so keys are stored dimension by dimension
constexpr int kBlockTokens = 128;  // attention works in blocks that start at multiples of this position
constexpr int kBlockPages = kBlockTokens / kPageTokens;
constexpr int kMostQueries = 24;  // queries of one AttendBlock call
constexpr int kStateHeader = 16;  // floats before the output of an attention state: maximum, sum, padding

constexpr int kMostTokens = 96;  // of one product: a small model's activations fit the second-level cache of a core

/// Activations of some tokens in the forms that the matrices of a product read (Kernels::form), the others null.
struct PackedInput {
  int tokens = 0;  // 1 … kMostTokens
  Arithmetic arithmetic = Arithmetic::kFloat32;
  /// kFloats: tiles of `tile` tokens, each [groups * 32][width] with the tokens of one input side by side; the last
  /// tile is narrower (Kernels::tile_width). Unused lanes are zero.
  const float* floats = nullptr;
  const float* sums = nullptr;  // per tile [groups][width]: the sum of each group's inputs
  /// kBytes and kHalves: [groups][tokens] of ByteRecord and of HalfRecord.
  const void* bytes = nullptr;
  const void* halves = nullptr;
};

enum class Epilogue { kStore, kAdd, kSwiGlu };

/// out[token][row] = matrix × input (+ bias). kAdd adds it to what `out` holds. kSwiGlu stores
/// silu(gate × input + gate_bias) * (matrix × input + bias).
struct MatmulArgs {
  const PackedMatrix* matrix = nullptr;
  const PackedMatrix* gate = nullptr;  // kSwiGlu only, of the same shape
  const PackedInput* input = nullptr;
  const float* bias = nullptr;  // [rows] or null
  float* out = nullptr;
  std::size_t out_stride = 0;  // floats between tokens
  Epilogue epilogue = Epilogue::kStore;
  const float* gate_bias = nullptr;  // [rows] or null
};

/// One block of cached positions seen by some queries of one key/value head.
struct AttendArgs {
  const float* const* queries = nullptr;  // each [head_dim], rotated and scaled
  const int* counts = nullptr;            // positions of the block that each query sees: 1 … kBlockTokens, ascending
  int query_count = 0;                    // 1 … kMostQueries
  const void* const* keys = nullptr;      // a page of the block each: [head_dim][kPageTokens]
  const void* const* values = nullptr;    // a page of the block each: [kPageTokens][padded head_dim]
  int head_dim = 0;
  int padded_dim = 0;                      // head_dim rounded up to 16
  float* const* states = nullptr;          // written: [kStateHeader + padded_dim] a query
  float* scores = nullptr;                 // scratch, [query_count][kBlockTokens]
  bool streaming = false;                  // the block is read once: ask for its pages ahead, and for those after it,
  const void* const* next_keys = nullptr;  // [2], null where there are none
};

enum class CacheKind : int { kF32 = 0, kF16 = 1 };
constexpr std::size_t CacheElementBytes(CacheKind kind) {
  return kind == CacheKind::kF32 ? 4 : 2;
}

/// The kernels of one instruction set. All sets give the same bits for the same arithmetic: every output is one chain
/// of operations whose order depends on its own indices only, never on the tile, the thread or the set that computes
/// it.
struct Kernels {
  const char* name;
  int tile;                       // tokens of a full tile
  int (*tile_width)(int tokens);  // narrowest tile for 1 … tile tokens
  void (*matmul)(const MatmulArgs& args, int panel_begin, int panel_end);
  Arithmetic exact;  // of weights of integer types with activations="f32": the faster one
  bool fixed24;      // whether it computes kFixed24
  /// In which form weights of a kind read their activations.
  InputForm (*form)(WeightKind kind, Arithmetic arithmetic);
  /// Packs `tokens` rows of `cols` floats (`stride` apart) into one tile of the given width.
  void (*pack)(const float* rows, std::size_t stride, int tokens, int width, int cols, float* floats, float* sums);
  /// One row of `cols` floats as records, one a group, `stride` records apart.
  void (*split)(const float* row, int cols, InputForm form, Arithmetic arithmetic, void* records, std::size_t stride);
  /// out = x / sqrt(mean(x²) + eps) * weight; all padded to a multiple of 16 with zeros, `n` counts the real ones.
  void (*rms_norm)(const float* x, const float* weight, int n, float eps, float* out);
  /// Half-split rotation of one head in place, then times `scale`. cosine, sine: [head_dim / 2].
  void (*rotate)(float* head, const float* cosine, const float* sine, int head_dim, float scale);
  void (*store_key[2])(const float* key, int head_dim, int slot, void* page);  // by CacheKind
  void (*store_value[2])(const float* value, int head_dim, int padded, int slot, void* page);
  void (*attend[2])(const AttendArgs& args);
  /// Adds a later block's state to a running one (the first time: copies it).
  void (*merge)(float* running, const float* block, int padded_dim, bool first);
  void (*finish)(const float* running, int head_dim, float* out);
};

/// One row of a packed matrix, dequantised: out [cols].
void UnpackRow(const PackedMatrix& matrix, int row, float* out);

}  // namespace skywork_rt::native
