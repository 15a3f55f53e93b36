#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <utility>
#include <vector>

#include "backend/backend.h"
#include "backend/native/input_buffer.h"
#include "backend/native/kernels/kernels.h"
#include "backend/native/memory.h"
#include "backend/native/paged_cache.h"
#include "backend/native/weights/model_weights.h"
#include "skywork_rt/model_spec.h"
#include "skywork_rt/span.h"
#include "support/thread_pool.h"

namespace skywork_rt::native {

/// Consecutive new tokens of one sequence within a pass.
struct Piece {
  const std::vector<std::uint8_t*>* pages = nullptr;  // of the sequence, already holding room for the new tokens
  std::size_t start = 0;                              // position of the first
  int first_row = 0;                                  // in the pass
  int count = 0;
};

/// What one pass computes: some rows (tokens), whose keys and values it writes, and some of their logits.
struct Pass {
  std::vector<TokenId> tokens;  // a row each, at most Decoder::kMostRows
  std::vector<Piece> pieces;    // cover the rows in order
  std::vector<int> wanted;      // rows whose logits are wanted, ascending
};

/// The layers of the model over the kernels: it knows matrices, rows and pages, not sequences.
class Decoder {
 public:
  static constexpr int kMostRows = kMostTokens;

  Decoder(const ModelSpec& spec, const ModelWeights& weights, const Kernels& kernels, const PagedCache& cache,
          int threads, Arithmetic arithmetic);

  /// Bytes of the buffers of one decoder, without what grows with a prompt's attention.
  static std::size_t WorkBytes(const ModelSpec& spec);

  /// Asked behind every layer; true ends the pass there.
  using GiveUp = std::function<bool()>;

  /// Runs `pass` on the leased threads; logits is [wanted, vocabulary]. False: it was given up, and what it wrote into
  /// the pages means nothing. Allocates only while the pass is planned, and never fails after it has begun to compute.
  bool Run(ThreadPool::Lease& lease, const Pass& pass, float* logits, const GiveUp& give_up);

 private:
  /// Some tokens of a piece with some query heads of one key/value head: at most kMostQueries queries.
  struct AttentionItem {
    const Piece* piece = nullptr;
    int first_token = 0;  // within the piece
    int tokens = 0;
    int kv_head = 0;
    int first_head = 0;  // query head
    int heads = 0;
    int blocks = 0;       // of positions that its last token sees
    int first_state = 0;  // of its (block, query) states, when blocks are computed apart
  };
  /// Of one thread.
  struct Scratch {
    std::vector<float> scores;   // [queries, kBlockTokens]
    std::vector<float> block;    // [queries, state]
    std::vector<float> running;  // [queries, state]
  };

  void Plan(const Pass& pass);
  void Embed(const Pass& pass);
  bool Layers(const Pass& pass, float* logits, const GiveUp& give_up);
  void Layer(int index, const Pass& pass, Span<const MatmulArgs> next);
  void Logits(const Pass& pass, float* logits);

  InputForms FormsOf(std::initializer_list<const PackedMatrix*> matrices) const;
  InputForms FormsOfAll() const;
  /// Packs `rows` (all when null), `count` of them, for matrices that read `forms`.
  void NormAndPack(const std::vector<int>* rows, int count, const PaddedVector& weight, InputForms forms);
  void PackRows(const float* rows, std::size_t stride, int count, int cols, InputForms forms);
  std::array<MatmulArgs, 3> QkvJobs(const LayerWeights& layer) const;
  MatmulArgs HeadJob(float* logits) const;
  /// Runs the products of `jobs`, which share an input, as one region. Threads that are done call after(slot).
  template <typename After>
  void RunMatmuls(Span<const MatmulArgs> jobs, After&& after);
  int Grain(int panels) const;
  /// Asks for the start of what `slot` will read when RunMatmuls is given `jobs`.
  void WarmMatmuls(Span<const MatmulArgs> jobs, int slot) const;
  void WarmAttention(int layer, int slot) const;
  void RotateAndStore(int layer);
  void RotateAndStoreRow(int row, int layer);
  void PlaceHead(int row, float* head, const PaddedVector& norm, bool rope, float scale);
  template <typename After>
  void Attention(int layer, After&& after);
  template <typename After>
  void AttendBlocksApart(int layer, After&& after);
  /// Keys of the block's first pages: what is read soon after the block before it.
  std::array<const void*, 2> FirstKeys(const AttentionItem& item, int block, int layer) const;
  void AttendBlock(const AttentionItem& item, int block, int layer, Scratch& scratch, float* states,
                   std::array<const void*, 2> next_keys);
  void AttendItem(const AttentionItem& item, int layer, Scratch& scratch);
  void FinishItem(const AttentionItem& item, const float* states);
  float* Query(int row, int head) { return qkv_ + static_cast<std::size_t>(row) * qkv_stride_ + head * spec_.head_dim; }

  const Piece& PieceOf(int row) const { return *row_pieces_[static_cast<std::size_t>(row)]; }
  /// Of the row's token in its sequence.
  std::size_t PositionOf(int row) const;

  template <typename F>
  void ForEach(int tasks, bool worth_it, F&& f);
  /// f(row) for each row of the pass, whichever pieces they belong to: rows of many sequences are as many tasks as
  /// those of one.
  template <typename F>
  void ForEachRow(F&& f);

  const ModelSpec& spec_;
  const ModelWeights& weights_;
  const Kernels& kernels_;
  const PagedCache& cache_;
  const int q_width_;
  const int kv_width_;
  const std::size_t hidden_stride_;
  const std::size_t qkv_stride_;
  const std::size_t wide_stride_;
  const std::size_t state_stride_;

  const Arithmetic arithmetic_;
  InputBuffer input_;
  AnonymousMemory memory_;
  float* x_ = nullptr;         // [rows, hidden]: the residual stream
  float* normed_ = nullptr;    // [rows, hidden]
  float* qkv_ = nullptr;       // [rows, q | k | v]
  float* attended_ = nullptr;  // [rows, q], in the stride of qkv_
  float* wide_ = nullptr;      // [rows, intermediate]
  float* cosine_ = nullptr;    // [rows, head_dim / 2]
  float* sine_ = nullptr;
  std::vector<Scratch> scratch_;          // a thread each
  std::vector<const Piece*> row_pieces_;  // of each row of the pass
  std::vector<AttentionItem> items_;
  std::vector<std::pair<int, int>> item_blocks_;  // (item, block), when blocks are computed apart
  std::vector<float> states_;                     // [state, state_stride_] likewise
  ThreadPool::Lease* lease_ = nullptr;            // during Run
  bool streaming_ = false;                        // few rows: a step is as long as its weights take to read
};

}  // namespace skywork_rt::native
