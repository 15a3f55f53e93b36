#include "backend/host_cache/host_cache_backend.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <set>
#include <utility>

#include "backend/chunk_check.h"
#include "skywork_rt/error.h"
#include "support/format.h"
#include "support/log.h"

namespace skywork_rt::host_cache {
namespace {

constexpr SeqId kNobody = 0;
// Longer chunks gain no speed, and the scores of one take heads * chunk * (cached + chunk) floats.
constexpr std::size_t kMaxChunk = 512;

}  // namespace

HostCacheBackend::HostCacheBackend(ModelSpec model, const HostCacheLimits& limits, const SessionFactory& open_full,
                                   SessionFactory open_incremental)
    : model_(std::move(model)),
      limits_(limits),
      open_incremental_(std::move(open_incremental)),
      cache_(model_, limits.max_batch, limits.max_length),
      full_(open_full(), model_),
      occupants_(static_cast<std::size_t>(limits.max_batch), kNobody) {}

Traits HostCacheBackend::traits() const {
  Traits traits;
  traits.max_batch = limits_.max_batch;
  traits.max_cached_tokens = limits_.max_cached_tokens;
  traits.max_chunk = std::min(kMaxChunk, limits_.max_length);
  traits.can_fork = true;
  traits.can_truncate = true;
  traits.mixed_steps = true;
  traits.bytes_per_token = model_.CacheBytesPerToken(sizeof(float));
  traits.bitwise = false;  // Lite's kernels choose their blocking by the number of rows
  return traits;
}

// Graphs are float32 throughout, and Lite makes copies of their weights.
GeneratorOptions HostCacheBackend::Chosen(GeneratorOptions options) const {
  options.device = limits_.device;
  options.weights = "f32";
  options.activations = "f32";
  options.kv_cache = "f32";
  options.mmap = false;
  return options;
}

SeqId HostCacheBackend::Open(std::size_t max_tokens) {
  if (max_tokens == 0) throw Error(ErrorCode::kInvalidArgument, "a sequence must reserve at least one token");
  if (max_tokens > limits_.max_length) {
    throw Error(ErrorCode::kInvalidArgument,
                StrCat("a sequence of ", max_tokens, " tokens: the longest is ", limits_.max_length, " (max_length)"));
  }
  if (max_tokens > limits_.max_cached_tokens - reserved_) {
    const auto code = max_tokens > limits_.max_cached_tokens ? ErrorCode::kCapacity : ErrorCode::kBusy;
    throw Error(code, StrCat("no room for ", max_tokens, " more tokens in the KV cache: ", reserved_, " of ",
                             limits_.max_cached_tokens, " are reserved (max_cached_tokens)"));
  }
  const int slot = FreeSlot();
  const SeqId seq = next_++;
  sequences_.emplace(seq, Sequence{slot, max_tokens});
  occupants_[slot] = seq;
  reserved_ += max_tokens;
  return seq;
}

std::size_t HostCacheBackend::Length(SeqId seq) const {
  return cache_.length(Find(seq).slot);
}

bool HostCacheBackend::Forward(Span<const Chunk> chunks, Span<float> logits, ForwardWatch* watch) {
  Validate(chunks, logits);
  FitCache(chunks);
  std::vector<Work> several, single;
  std::size_t row = 0;
  for (const Chunk& chunk : chunks) {
    (chunk.tokens.size() == 1 ? single : several).push_back({&chunk, row});
    row += chunk.logit_rows.size();
  }
  const bool together = TakesIncremental(single.size());
  const int first_slot = together ? Gather(single) : 0;  // before anything is written: slots move with their length
  if (!together) several.insert(several.end(), single.begin(), single.end());
  const std::size_t runs = several.size() + (together ? 1 : 0);
  std::size_t done = 0;
  for (const Work& work : several) {
    RunFull(work, logits);
    if (++done < runs && watch != nullptr && watch->GiveUp(done, runs)) return false;  // no length has changed yet
  }
  if (together) RunIncremental(single, first_slot, logits);
  for (const Chunk& chunk : chunks) {  // nothing has failed: only now do the new tokens exist
    const int slot = Find(chunk.seq).slot;
    cache_.SetLength(slot, cache_.length(slot) + chunk.tokens.size());
  }
  return true;
}

void HostCacheBackend::Reorder(Span<const SeqId> from, Span<const SeqId> to) {
  if (from.size() != to.size()) {
    throw Error(ErrorCode::kInvalidArgument,
                StrCat("Reorder takes as many sources as targets, not ", from.size(), " and ", to.size()));
  }
  std::set<SeqId> targets;
  for (std::size_t i = 0; i < to.size(); ++i) {
    const std::size_t length = Length(from[i]), reserved = Find(to[i]).reserved;
    if (!targets.insert(to[i]).second) {
      throw Error(ErrorCode::kInvalidArgument, StrCat("Reorder names sequence ", to[i], " twice as a target"));
    }
    if (length > reserved) {
      throw Error(ErrorCode::kCapacity, StrCat("sequence ", from[i], " holds ", length, " tokens; sequence ", to[i],
                                               " has reserved ", reserved));
    }
  }
  // Contents stay where they are and sequences change places: of the targets of a source, the first one (itself, if
  // it is one of them) takes over the slot, when the source is a target too and so gives it up. Only the other
  // targets need copies, into the slots that nobody took over.
  std::vector<int> slots_of_targets(to.size(), -1);
  std::set<int> free;
  for (const SeqId target : to) free.insert(Find(target).slot);
  for (const bool itself : {true, false}) {
    for (std::size_t i = 0; i < to.size(); ++i) {
      const int slot = Find(from[i]).slot;
      if (slots_of_targets[i] >= 0 || (itself && from[i] != to[i]) || free.erase(slot) == 0) continue;
      slots_of_targets[i] = slot;
    }
  }
  for (std::size_t i = 0; i < to.size(); ++i) {
    if (slots_of_targets[i] >= 0) continue;
    const int source = Find(from[i]).slot;
    const int slot = *std::min_element(free.begin(), free.end(), [&](int a, int b) {
      return cache_.CopyCost(source, a) < cache_.CopyCost(source, b);  // beams share most of their past
    });
    free.erase(slot);
    cache_.Copy(source, slot);
    slots_of_targets[i] = slot;
  }
  for (std::size_t i = 0; i < to.size(); ++i) {
    sequences_.at(to[i]).slot = slots_of_targets[i];
    occupants_[slots_of_targets[i]] = to[i];
  }
}

void HostCacheBackend::Copy(SeqId from, SeqId to, std::size_t length) {
  const Sequence& source = Find(from);
  const Sequence& target = Find(to);
  if (from == to) {
    throw Error(ErrorCode::kInvalidArgument, StrCat("sequence ", from, " cannot be copied to itself"));
  }
  if (length > cache_.length(source.slot) || length > target.reserved) {
    throw Error(ErrorCode::kInvalidArgument,
                StrCat(length, " tokens cannot be copied: sequence ", from, " holds ", cache_.length(source.slot),
                       ", and sequence ", to, " has reserved ", target.reserved));
  }
  cache_.Copy(source.slot, target.slot, length);
}

void HostCacheBackend::Truncate(SeqId seq, std::size_t length) {
  const int slot = Find(seq).slot;
  if (length > cache_.length(slot)) {
    throw Error(ErrorCode::kInvalidArgument,
                StrCat("sequence ", seq, " holds ", cache_.length(slot), " tokens; it cannot be cut to ", length));
  }
  cache_.SetLength(slot, length);
}

void HostCacheBackend::Close(SeqId seq) {
  const Sequence sequence = Find(seq);
  cache_.Clear(sequence.slot);
  occupants_[sequence.slot] = kNobody;
  reserved_ -= sequence.reserved;
  sequences_.erase(seq);
}

const HostCacheBackend::Sequence& HostCacheBackend::Find(SeqId seq) const {
  const auto found = sequences_.find(seq);
  if (found == sequences_.end()) {
    throw Error(ErrorCode::kInvalidArgument, StrCat("there is no open sequence ", seq));
  }
  return found->second;
}

int HostCacheBackend::FreeSlot() const {
  const auto slot = std::find(occupants_.begin(), occupants_.end(), kNobody);
  if (slot == occupants_.end()) {
    throw Error(ErrorCode::kBusy, StrCat("all ", limits_.max_batch, " sequences are open (max_batch)"));
  }
  return static_cast<int>(slot - occupants_.begin());
}

void HostCacheBackend::Validate(Span<const Chunk> chunks, Span<float> logits) const {
  const std::size_t most = traits().max_chunk;
  std::set<SeqId> seen;
  std::size_t rows = 0;
  for (const Chunk& chunk : chunks) {
    const Sequence& sequence = Find(chunk.seq);
    CheckChunk(chunk, {cache_.length(sequence.slot), sequence.reserved, most, model_.vocab_size});
    if (!seen.insert(chunk.seq).second) {
      throw Error(ErrorCode::kInvalidArgument, StrCat("sequence ", chunk.seq, " has two chunks in one step"));
    }
    rows += chunk.logit_rows.size();
  }
  const std::size_t floats = rows * static_cast<std::size_t>(model_.vocab_size);
  if (logits.size() != floats) {
    throw Error(ErrorCode::kInvalidArgument, StrCat("logits has ", logits.size(), " elements; ", rows, " rows of ",
                                                    model_.vocab_size, " take ", floats));
  }
}

void HostCacheBackend::FitCache(Span<const Chunk> chunks) {
  std::size_t longest = 0;
  for (int slot = 0; slot < cache_.slots(); ++slot) longest = std::max(longest, cache_.length(slot));
  for (const Chunk& chunk : chunks) longest = std::max(longest, Length(chunk.seq) + chunk.tokens.size());
  cache_.Fit(longest);
}

void HostCacheBackend::RunFull(const Work& work, Span<float> logits) {
  static constexpr int kFirstRow[] = {0};
  const Chunk& chunk = *work.chunk;
  const int slot = Find(chunk.seq).slot;
  const bool wanted = !chunk.logit_rows.empty();
  full_.Run(chunk.tokens, wanted ? chunk.logit_rows : Span<const int>(kFirstRow), cache_, slot);
  const std::size_t position = cache_.length(slot), count = chunk.tokens.size();
  for (int layer = 0; layer < model_.layers; ++layer) {
    cache_.WriteKeys(layer, slot, position, count, full_.new_keys(layer).data());
    cache_.WriteValues(layer, slot, position, count, full_.new_values(layer).data());
  }
  if (!wanted) return;  // the graph computes one row at least
  const Span<const float> computed = full_.logits();
  std::copy(computed.begin(), computed.end(), LogitRow(logits, work.first_logit_row).begin());
}

bool HostCacheBackend::TakesIncremental(std::size_t batch) {
  if (incremental_ != nullptr) return batch > 0;
  if (batch < 2 || !open_incremental_) return false;
  if (impatience_ < limits_.patience) {
    impatience_ += batch - 1;
    return false;
  }
  Log(LogLevel::kInfo, "loading the incremental graph: batches have come often enough");
  incremental_ = std::make_unique<IncrementalGraph>(open_incremental_(), model_);
  return true;
}

void HostCacheBackend::RunIncremental(const std::vector<Work>& batch, int first, Span<float> logits) {
  std::vector<TokenId> tokens(batch.size());
  for (const Work& work : batch) tokens[Find(work.chunk->seq).slot - first] = work.chunk->tokens[0];
  incremental_->Run(tokens, cache_, first);
  const auto row_floats = static_cast<std::size_t>(model_.kv_heads) * static_cast<std::size_t>(model_.head_dim);
  for (int layer = 0; layer < model_.layers; ++layer) {
    const float* keys = incremental_->new_keys(layer).data();
    const float* values = incremental_->new_values(layer).data();
    for (std::size_t row = 0; row < batch.size(); ++row) {
      const int slot = first + static_cast<int>(row);
      cache_.WriteKeys(layer, slot, cache_.length(slot), 1, keys + row * row_floats);
      cache_.WriteValues(layer, slot, cache_.length(slot), 1, values + row * row_floats);
    }
  }
  const Span<const float> computed = incremental_->logits();
  const auto vocab = static_cast<std::size_t>(model_.vocab_size);
  for (const Work& work : batch) {
    if (work.chunk->logit_rows.empty()) continue;
    const auto row = static_cast<std::size_t>(Find(work.chunk->seq).slot - first);
    std::copy_n(computed.data() + row * vocab, vocab, LogitRow(logits, work.first_logit_row).data());
  }
}

int HostCacheBackend::Gather(const std::vector<Work>& batch) {
  std::vector<bool> member(occupants_.size());
  for (const Work& work : batch) member[Find(work.chunk->seq).slot] = true;
  const int width = static_cast<int>(batch.size());
  int best = 0;
  std::size_t best_cost = std::numeric_limits<std::size_t>::max();
  for (int first = 0; first + width <= cache_.slots(); ++first) {
    std::size_t cost = 0;  // tokens to move: members from outside, and whom they displace
    for (int slot = 0; slot < cache_.slots(); ++slot) {
      const bool inside = slot >= first && slot < first + width;
      if (member[slot] != inside) cost += cache_.length(slot);
    }
    if (cost < best_cost) {
      best = first;
      best_cost = cost;
    }
  }
  int outside = 0;
  for (int slot = best; slot < best + width; ++slot) {
    if (member[slot]) continue;
    while (!member[outside] || (outside >= best && outside < best + width)) ++outside;
    SwapSlots(slot, outside++);
  }
  return best;
}

void HostCacheBackend::SwapSlots(int a, int b) {
  cache_.Swap(a, b);
  std::swap(occupants_[a], occupants_[b]);
  for (const int slot : {a, b}) {
    if (occupants_[slot] != kNobody) sequences_.at(occupants_[slot]).slot = slot;
  }
}

Span<float> HostCacheBackend::LogitRow(Span<float> logits, std::size_t row) const {
  const auto vocab = static_cast<std::size_t>(model_.vocab_size);
  return {logits.data() + row * vocab, vocab};
}

}  // namespace skywork_rt::host_cache
