#include "backend/native/decoder.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "bundle/rope.h"

namespace skywork_rt::native {
namespace {

// A parallel region costs about a microsecond: below this many rows, small steps run on the caller alone.
constexpr int kFewRows = 4;
// Pieces of work a thread: enough to even out a core that others use, few enough to keep reads long.
constexpr int kTasksPerThread = 8;
// What a thread asks for while it waits for the next region: as much as the kernels themselves ask for ahead.
constexpr std::size_t kWarmBytes = 16384;

const float* BiasOf(const PaddedVector& bias) {
  return bias.empty() ? nullptr : bias.data();
}

void Warm(const std::uint8_t* begin) {
  for (std::size_t i = 0; i < kWarmBytes; i += 64) __builtin_prefetch(begin + i, 0, 2);
}

int CeilDiv(int a, int b) {
  return (a + b - 1) / b;
}

int CountPanels(Span<const MatmulArgs> jobs) {
  int panels = 0;
  for (const MatmulArgs& job : jobs) panels += job.matrix->panels;
  return panels;
}

std::size_t Padded(int width) {
  return RoundUp(static_cast<std::size_t>(width), kGroup);
}

std::size_t WidestInput(const ModelSpec& spec) {
  return static_cast<std::size_t>(std::max({spec.hidden_size, spec.heads * spec.head_dim, spec.intermediate_size}));
}

}  // namespace

Decoder::Decoder(const ModelSpec& spec, const ModelWeights& weights, const Kernels& kernels, const PagedCache& cache,
                 int threads, Arithmetic arithmetic)
    : spec_(spec),
      weights_(weights),
      kernels_(kernels),
      cache_(cache),
      q_width_(spec.heads * spec.head_dim),
      kv_width_(spec.kv_heads * spec.head_dim),
      hidden_stride_(Padded(spec.hidden_size)),
      qkv_stride_(Padded(q_width_ + 2 * kv_width_)),
      wide_stride_(Padded(spec.intermediate_size)),
      state_stride_(static_cast<std::size_t>(kStateHeader + cache.padded_dim())),
      arithmetic_(arithmetic),
      input_(kernels, WidestInput(spec), FormsOfAll(), arithmetic) {
  const std::size_t half = Padded(spec.head_dim / 2);
  struct Part {
    float** pointer;
    std::size_t floats;  // a row
  };
  const std::array<Part, 7> parts{{{&x_, hidden_stride_},
                                   {&normed_, hidden_stride_},
                                   {&qkv_, qkv_stride_},
                                   {&attended_, qkv_stride_},
                                   {&wide_, wide_stride_},
                                   {&cosine_, half},
                                   {&sine_, half}}};
  std::size_t total = 0;
  for (const Part& part : parts) total += RoundUp(part.floats * kMostRows, 16);
  memory_ = AnonymousMemory(total * sizeof(float), "the activations");
  auto* next = reinterpret_cast<float*>(memory_.data());
  for (const Part& part : parts) {
    *part.pointer = next;
    next += RoundUp(part.floats * kMostRows, 16);
  }
  scratch_.resize(static_cast<std::size_t>(threads));
  for (Scratch& scratch : scratch_) {
    scratch.scores.resize(kMostQueries * kBlockTokens);
    scratch.block.resize(kMostQueries * state_stride_);
    scratch.running.resize(kMostQueries * state_stride_);
  }
}

std::size_t Decoder::WorkBytes(const ModelSpec& spec) {
  constexpr std::size_t kFormsOfInput = 3;  // of InputBuffer: floats, bytes and halves, none larger than floats
  const std::size_t qkv = Padded((spec.heads + 2 * spec.kv_heads) * spec.head_dim);
  const std::size_t row = 2 * Padded(spec.hidden_size) + 2 * qkv + Padded(spec.intermediate_size) +
                          2 * Padded(spec.head_dim / 2) + kFormsOfInput * Padded(static_cast<int>(WidestInput(spec)));
  return row * kMostRows * sizeof(float);
}

template <typename F>
void Decoder::ForEach(int tasks, bool worth_it, F&& f) {
  if (worth_it) {
    lease_->Run(tasks, [&](int task, int) { f(task); });
  } else {
    for (int task = 0; task < tasks; ++task) f(task);
  }
}

template <typename F>
void Decoder::ForEachRow(F&& f) {
  const int rows = static_cast<int>(row_pieces_.size());
  ForEach(rows, rows > kFewRows, f);
}

std::size_t Decoder::PositionOf(int row) const {
  const Piece& piece = PieceOf(row);
  return piece.start + static_cast<std::size_t>(row - piece.first_row);
}

bool Decoder::Run(ThreadPool::Lease& lease, const Pass& pass, float* logits, const GiveUp& give_up) {
  Plan(pass);
  lease_ = &lease;
  streaming_ = static_cast<int>(pass.tokens.size()) <= kFewRows;
  Embed(pass);
  const bool whole = Layers(pass, logits, give_up);
  if (whole && !pass.wanted.empty()) Logits(pass, logits);
  lease_ = nullptr;
  return whole;
}

bool Decoder::Layers(const Pass& pass, float* logits, const GiveUp& give_up) {
  for (int i = 0; i + 1 < spec_.layers; ++i) {
    const std::array<MatmulArgs, 3> next = QkvJobs(weights_.layers[static_cast<std::size_t>(i + 1)]);
    Layer(i, pass, {next.data(), next.size()});
    if (give_up()) return false;
  }
  const MatmulArgs head = HeadJob(logits);
  Layer(spec_.layers - 1, pass, {&head, pass.wanted.empty() ? std::size_t{0} : std::size_t{1}});
  return !give_up();
}

void Decoder::Plan(const Pass& pass) {
  const int group = spec_.heads / spec_.kv_heads;
  const int heads = std::min(group, kMostQueries);
  const int tile = std::max(1, kMostQueries / heads);
  items_.clear();
  item_blocks_.clear();
  row_pieces_.clear();
  for (const Piece& piece : pass.pieces) {
    row_pieces_.insert(row_pieces_.end(), static_cast<std::size_t>(piece.count), &piece);
    for (int token = 0; token < piece.count; token += tile) {
      const int tokens = std::min(tile, piece.count - token);
      const std::size_t last = piece.start + static_cast<std::size_t>(token + tokens - 1);
      for (int kv = 0; kv < spec_.kv_heads; ++kv) {
        for (int head = 0; head < group; head += heads) {
          items_.push_back({&piece, token, tokens, kv, kv * group + head, std::min(heads, group - head),
                            static_cast<int>(last / kBlockTokens) + 1, 0});
        }
      }
    }
  }
  // Few items, as when one long sequence decodes: their blocks are computed apart and merged afterwards, in the same
  // order in which one thread would have merged them.
  if (static_cast<int>(items_.size()) >= 2 * static_cast<int>(scratch_.size()) || scratch_.size() == 1) return;
  int states = 0;
  for (std::size_t i = 0; i < items_.size(); ++i) {
    AttentionItem& item = items_[i];
    item.first_state = states;
    states += item.blocks * item.tokens * item.heads;
    for (int block = 0; block < item.blocks; ++block) item_blocks_.emplace_back(static_cast<int>(i), block);
  }
  states_.resize(std::max(states_.size(), static_cast<std::size_t>(states) * state_stride_));
}

void Decoder::Embed(const Pass& pass) {
  const std::size_t half = Padded(spec_.head_dim / 2);
  const auto angles = static_cast<std::size_t>(spec_.head_dim / 2);
  ForEachRow([&](int row) {
    const auto at = static_cast<std::size_t>(row);
    UnpackRow(weights_.embedding, pass.tokens[at], x_ + at * hidden_stride_);
    RotaryAt(spec_.rope, PositionOf(row), {cosine_ + at * half, angles}, {sine_ + at * half, angles});
  });
}

std::array<MatmulArgs, 3> Decoder::QkvJobs(const LayerWeights& layer) const {
  float* k = qkv_ + q_width_;
  float* v = k + kv_width_;
  return {{{&layer.q, nullptr, &input_.input(), BiasOf(layer.q_bias), qkv_, qkv_stride_, Epilogue::kStore},
           {&layer.k, nullptr, &input_.input(), BiasOf(layer.k_bias), k, qkv_stride_, Epilogue::kStore},
           {&layer.v, nullptr, &input_.input(), BiasOf(layer.v_bias), v, qkv_stride_, Epilogue::kStore}}};
}

MatmulArgs Decoder::HeadJob(float* logits) const {
  const auto stride = static_cast<std::size_t>(spec_.vocab_size);
  return {&weights_.head, nullptr, &input_.input(), nullptr, logits, stride, Epilogue::kStore};
}

/// `next` is what the region after this layer multiplies by.
void Decoder::Layer(int index, const Pass& pass, Span<const MatmulArgs> next) {
  const LayerWeights& layer = weights_.layers[static_cast<std::size_t>(index)];
  const int rows = static_cast<int>(pass.tokens.size());
  const PackedInput* input = &input_.input();
  const MatmulArgs o{&layer.o, nullptr, input, BiasOf(layer.o_bias), x_, hidden_stride_, Epilogue::kAdd};
  const MatmulArgs up{&layer.up,
                      &layer.gate,
                      input,
                      BiasOf(layer.up_bias),
                      wide_,
                      wide_stride_,
                      Epilogue::kSwiGlu,
                      BiasOf(layer.gate_bias)};
  const MatmulArgs down{&layer.down, nullptr, input, BiasOf(layer.down_bias), x_, hidden_stride_, Epilogue::kAdd};
  const auto warm = [this](const MatmulArgs& job) { return [this, &job](int slot) { WarmMatmuls({&job, 1}, slot); }; };

  NormAndPack(nullptr, rows, layer.input_norm, FormsOf({&layer.q, &layer.k, &layer.v}));
  const std::array<MatmulArgs, 3> qkv = QkvJobs(layer);
  RunMatmuls({qkv.data(), qkv.size()}, [&](int slot) { WarmAttention(index, slot); });
  RotateAndStore(index);
  Attention(index, warm(o));
  PackRows(attended_, qkv_stride_, rows, q_width_, FormsOf({&layer.o}));
  RunMatmuls({&o, 1}, warm(up));
  NormAndPack(nullptr, rows, layer.post_attention_norm, FormsOf({&layer.up, &layer.gate}));
  RunMatmuls({&up, 1}, warm(down));
  PackRows(wide_, wide_stride_, rows, spec_.intermediate_size, FormsOf({&layer.down}));
  RunMatmuls({&down, 1}, [&](int slot) { WarmMatmuls(next, slot); });
}

void Decoder::Logits(const Pass& pass, float* logits) {
  NormAndPack(&pass.wanted, static_cast<int>(pass.wanted.size()), weights_.norm, FormsOf({&weights_.head}));
  const MatmulArgs head = HeadJob(logits);
  RunMatmuls({&head, 1}, [](int) {});
}

InputForms Decoder::FormsOf(std::initializer_list<const PackedMatrix*> matrices) const {
  InputForms forms = 0;
  for (const PackedMatrix* matrix : matrices) forms |= FormBit(kernels_.form(matrix->kind, arithmetic_));
  return forms;
}

InputForms Decoder::FormsOfAll() const {
  InputForms forms = 0;
  for (const PackedMatrix* matrix : weights_.Multiplied()) forms |= FormsOf({matrix});
  return forms;
}

void Decoder::NormAndPack(const std::vector<int>* rows, int count, const PaddedVector& weight, InputForms forms) {
  const auto eps = static_cast<float>(spec_.rms_norm_eps);
  const int step = input_.Begin(count, spec_.hidden_size, forms);
  ForEach(CeilDiv(count, step), count > kFewRows, [&](int task) {
    const int end = std::min(count, (task + 1) * step);
    for (int i = task * step; i < end; ++i) {
      const auto row = static_cast<std::size_t>(rows == nullptr ? i : (*rows)[static_cast<std::size_t>(i)]);
      kernels_.rms_norm(x_ + row * hidden_stride_, weight.data(), spec_.hidden_size, eps,
                        normed_ + static_cast<std::size_t>(i) * hidden_stride_);
    }
    input_.Pack(normed_, hidden_stride_, task * step, end);
  });
}

void Decoder::PackRows(const float* rows, std::size_t stride, int count, int cols, InputForms forms) {
  const int step = input_.Begin(count, cols, forms);
  ForEach(CeilDiv(count, step), count > kFewRows,
          [&](int task) { input_.Pack(rows, stride, task * step, std::min(count, (task + 1) * step)); });
}

int Decoder::Grain(int panels) const {
  return std::max(1, CeilDiv(panels, kTasksPerThread * lease_->threads()));
}

template <typename After>
void Decoder::RunMatmuls(Span<const MatmulArgs> jobs, After&& after) {
  const int panels = CountPanels(jobs);
  const int grain = Grain(panels);
  lease_->Run(
      CeilDiv(panels, grain),
      [&](int task, int) {
        int begin = task * grain;
        int end = std::min(panels, begin + grain);
        for (const MatmulArgs& job : jobs) {
          const int here = job.matrix->panels;
          if (begin < std::min(end, here)) kernels_.matmul(job, begin, std::min(end, here));
          begin = std::max(0, begin - here);
          end -= here;
        }
      },
      after);
}

void Decoder::WarmMatmuls(Span<const MatmulArgs> jobs, int slot) const {
  if (!streaming_) return;
  const int panels = CountPanels(jobs);
  const int grain = Grain(panels);
  int panel = lease_->FirstTask(CeilDiv(panels, grain), slot) * grain;
  for (const MatmulArgs& job : jobs) {
    if (panel < job.matrix->panels) {
      Warm(job.matrix->Scales(panel));
      if (job.gate != nullptr) Warm(job.gate->Scales(panel));
      return;
    }
    panel -= job.matrix->panels;
  }
}

void Decoder::WarmAttention(int layer, int slot) const {
  if (!streaming_ || items_.empty()) return;
  const bool apart = !item_blocks_.empty();
  const int tasks = static_cast<int>(apart ? item_blocks_.size() : items_.size());
  const int task = lease_->FirstTask(tasks, slot);
  if (task == tasks) return;
  const auto [item, block] = apart ? item_blocks_[static_cast<std::size_t>(task)] : std::make_pair(task, 0);
  for (const void* keys : FirstKeys(items_[static_cast<std::size_t>(item)], block, layer)) {
    const auto* begin = static_cast<const std::uint8_t*>(keys);
    for (std::size_t i = 0; begin != nullptr && i < cache_.region_bytes(); i += 64) __builtin_prefetch(begin + i, 0, 2);
  }
}

void Decoder::RotateAndStore(int layer) {
  ForEachRow([&](int row) { RotateAndStoreRow(row, layer); });
}

void Decoder::RotateAndStoreRow(int row, int layer) {
  const LayerWeights& weights = weights_.layers[static_cast<std::size_t>(layer)];
  const int dim = spec_.head_dim;
  const float scale = 1.0f / std::sqrt(static_cast<float>(dim));
  for (int head = 0; head < spec_.heads; ++head) PlaceHead(row, Query(row, head), weights.q_norm, weights.rope, scale);
  const std::size_t position = PositionOf(row);
  std::uint8_t* page = (*PieceOf(row).pages)[position / kPageTokens];
  const auto slot = static_cast<int>(position % kPageTokens);
  const auto kind = static_cast<int>(cache_.kind());
  for (int head = 0; head < spec_.kv_heads; ++head) {
    float* key = Query(row, spec_.heads + head);
    PlaceHead(row, key, weights.k_norm, weights.rope, 1.0f);
    kernels_.store_key[kind](key, dim, slot, page + cache_.KeysOffset(layer, head));
    kernels_.store_value[kind](key + kv_width_, dim, cache_.padded_dim(), slot,
                               page + cache_.ValuesOffset(layer, head));
  }
}

/// What a head of q or k goes through between its projection and attention: norm, rotation, scale.
void Decoder::PlaceHead(int row, float* head, const PaddedVector& norm, bool rope, float scale) {
  const int dim = spec_.head_dim;
  if (!norm.empty()) {
    // The kernel reads and writes whole vectors, and behind a head lies the next one. Nobody has attended yet, so the
    // row of that output is free.
    const auto eps = static_cast<float>(spec_.rms_norm_eps);
    float* padded = attended_ + static_cast<std::size_t>(row) * qkv_stride_;
    std::fill(std::copy(head, head + dim, padded), padded + norm.size(), 0.0f);
    kernels_.rms_norm(padded, norm.data(), dim, eps, padded);
    std::copy(padded, padded + dim, head);
  }
  if (rope) {
    const std::size_t angles = static_cast<std::size_t>(row) * Padded(dim / 2);
    kernels_.rotate(head, cosine_ + angles, sine_ + angles, dim, scale);
  } else {
    for (int i = 0; i < dim; ++i) head[i] *= scale;
  }
}

template <typename After>
void Decoder::Attention(int layer, After&& after) {
  if (!item_blocks_.empty()) {
    AttendBlocksApart(layer, after);
    return;
  }
  lease_->Run(
      static_cast<int>(items_.size()),
      [&](int i, int slot) {
        AttendItem(items_[static_cast<std::size_t>(i)], layer, scratch_[static_cast<std::size_t>(slot)]);
      },
      after);
}

template <typename After>
void Decoder::AttendBlocksApart(int layer, After&& after) {
  const auto states = [&](const AttentionItem& item, int block) {
    return states_.data() +
           static_cast<std::size_t>(item.first_state + block * item.tokens * item.heads) * state_stride_;
  };
  lease_->Run(
      static_cast<int>(item_blocks_.size()),
      [&](int i, int slot) {
        const auto at = static_cast<std::size_t>(i);
        const auto [index, block] = item_blocks_[at];
        const AttentionItem& item = items_[static_cast<std::size_t>(index)];
        std::array<const void*, 2> next{};
        if (at + 1 < item_blocks_.size()) {
          const auto [next_index, next_block] = item_blocks_[at + 1];
          next = FirstKeys(items_[static_cast<std::size_t>(next_index)], next_block, layer);
        }
        AttendBlock(item, block, layer, scratch_[static_cast<std::size_t>(slot)], states(item, block), next);
      },
      after);
  for (const AttentionItem& item : items_) {
    float* running = states(item, 0);
    for (int block = 1; block < item.blocks; ++block) {
      for (int q = 0; q < item.tokens * item.heads; ++q) {
        const std::size_t position = item.piece->start + static_cast<std::size_t>(item.first_token + q / item.heads);
        if (position < static_cast<std::size_t>(block) * kBlockTokens) continue;
        const std::size_t offset = static_cast<std::size_t>(q) * state_stride_;
        kernels_.merge(running + offset, states(item, block) + offset, cache_.padded_dim(), false);
      }
    }
    FinishItem(item, running);
  }
}

std::array<const void*, 2> Decoder::FirstKeys(const AttentionItem& item, int block, int layer) const {
  std::array<const void*, 2> keys{};
  const std::vector<std::uint8_t*>& pages = *item.piece->pages;
  const std::size_t first = static_cast<std::size_t>(block) * kBlockPages;
  for (std::size_t i = 0; i < keys.size() && first + i < pages.size(); ++i) {
    keys[i] = pages[first + i] + cache_.KeysOffset(layer, item.kv_head);
  }
  return keys;
}

/// Writes the states of the item's queries that see the block; the others' are left alone.
void Decoder::AttendBlock(const AttentionItem& item, int block, int layer, Scratch& scratch, float* states,
                          std::array<const void*, 2> next_keys) {
  std::array<const float*, kMostQueries> queries;
  std::array<int, kMostQueries> counts;
  std::array<float*, kMostQueries> outputs;
  std::array<const void*, kBlockPages> keys;
  std::array<const void*, kBlockPages> values;
  const std::size_t begin = static_cast<std::size_t>(block) * kBlockTokens;
  int seeing = 0;
  for (int q = 0; q < item.tokens * item.heads; ++q) {
    const int token = item.first_token + q / item.heads;
    const std::size_t position = item.piece->start + static_cast<std::size_t>(token);
    if (position < begin) continue;
    const auto at = static_cast<std::size_t>(seeing++);
    queries[at] = Query(item.piece->first_row + token, item.first_head + q % item.heads);
    counts[at] = static_cast<int>(std::min<std::size_t>(kBlockTokens, position + 1 - begin));
    outputs[at] = states + static_cast<std::size_t>(q) * state_stride_;
  }
  if (seeing == 0) return;
  const int pages = CeilDiv(counts[static_cast<std::size_t>(seeing - 1)], kPageTokens);
  for (int i = 0; i < pages; ++i) {
    const std::uint8_t* page = (*item.piece->pages)[begin / kPageTokens + static_cast<std::size_t>(i)];
    keys[static_cast<std::size_t>(i)] = page + cache_.KeysOffset(layer, item.kv_head);
    values[static_cast<std::size_t>(i)] = page + cache_.ValuesOffset(layer, item.kv_head);
  }
  kernels_.attend[static_cast<int>(cache_.kind())]({queries.data(), counts.data(), seeing, keys.data(), values.data(),
                                                    spec_.head_dim, cache_.padded_dim(), outputs.data(),
                                                    scratch.scores.data(), streaming_, next_keys.data()});
}

void Decoder::AttendItem(const AttentionItem& item, int layer, Scratch& scratch) {
  float* running = scratch.running.data();
  for (int block = 0; block < item.blocks; ++block) {
    const bool last = block + 1 == item.blocks;
    const std::array<const void*, 2> next = last ? std::array<const void*, 2>{} : FirstKeys(item, block + 1, layer);
    AttendBlock(item, block, layer, scratch, block == 0 ? running : scratch.block.data(), next);
    if (block == 0) continue;
    for (int q = 0; q < item.tokens * item.heads; ++q) {
      const std::size_t position = item.piece->start + static_cast<std::size_t>(item.first_token + q / item.heads);
      if (position < static_cast<std::size_t>(block) * kBlockTokens) continue;
      const std::size_t offset = static_cast<std::size_t>(q) * state_stride_;
      kernels_.merge(running + offset, scratch.block.data() + offset, cache_.padded_dim(), false);
    }
  }
  FinishItem(item, running);
}

void Decoder::FinishItem(const AttentionItem& item, const float* states) {
  for (int q = 0; q < item.tokens * item.heads; ++q) {
    const auto row = static_cast<std::size_t>(item.piece->first_row + item.first_token + q / item.heads);
    const int head = item.first_head + q % item.heads;
    kernels_.finish(states + static_cast<std::size_t>(q) * state_stride_, spec_.head_dim,
                    attended_ + row * qkv_stride_ + head * spec_.head_dim);
  }
}

}  // namespace skywork_rt::native
