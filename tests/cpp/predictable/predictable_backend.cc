#include "predictable/predictable_backend.h"

#include <algorithm>
#include <set>
#include <utility>

#include "skywork_rt/error.h"
#include "support/format.h"

namespace skywork_rt {
namespace {

template <typename... Args>
void Promise(bool holds, const Args&... args) {
  if (!holds) throw Error(ErrorCode::kInternal, StrCat("broken contract: ", args...));
}

/// Finds out whether two threads are inside at once.
class Exclusive {
 public:
  explicit Exclusive(std::atomic<bool>* busy) : busy_(busy) {
    Promise(!busy_->exchange(true), "the backend is used by two threads at once");
  }
  ~Exclusive() { busy_->store(false); }
  Exclusive(const Exclusive&) = delete;
  Exclusive& operator=(const Exclusive&) = delete;

 private:
  std::atomic<bool>* busy_;
};

/// SplitMix64 (Steele, Lea and Flood 2014): one step, well mixed.
std::uint64_t Mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15U;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31);
}

std::uint64_t Extend(std::uint64_t hash, TokenId token) {
  return Mix(hash ^ static_cast<std::uint64_t>(static_cast<std::uint32_t>(token)));
}

void Fill(std::uint64_t hash, Span<float> row) {
  std::uint64_t state = hash;
  for (float& logit : row) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    logit = static_cast<float>(state >> 40) * 0x1p-23f;  // 24 bits: [0, 2)
  }
  const std::uint64_t best = hash % row.size();
  const std::uint64_t second = (best + 1 + (hash >> 32) % (row.size() - 1)) % row.size();
  row[best] = 4.0f;
  row[second] = 3.0f;
}

}  // namespace

PredictableOptions::PredictableOptions() {
  traits.max_batch = 16;
  traits.max_cached_tokens = 1 << 20;
  traits.max_chunk = 1 << 20;
  traits.can_fork = true;
  traits.can_truncate = true;
  traits.mixed_steps = true;
  traits.bitwise = true;
}

PredictableBackend::PredictableBackend(PredictableOptions options) : options_(std::move(options)) {
  Promise(options_.vocab_size >= 2, "vocab_size is ", options_.vocab_size);
  model_.name = "predictable";
  model_.architecture = "llama";
  model_.layers = 1;
  model_.heads = 1;
  model_.kv_heads = 1;
  model_.head_dim = 1;
  model_.hidden_size = 1;
  model_.intermediate_size = 1;
  model_.vocab_size = options_.vocab_size;
  model_.max_length = options_.max_length;
  model_.eos_ids = options_.eos_ids;
}

PredictableBackend::~PredictableBackend() = default;

void PredictableBackend::Logits(Span<const TokenId> sequence, Span<float> row) {
  std::uint64_t hash = 0;
  for (const TokenId token : sequence) hash = Extend(hash, token);
  Fill(hash, row);
}

std::vector<TokenId> PredictableBackend::Greedy(std::vector<TokenId> prompt, std::size_t max_tokens) const {
  std::vector<TokenId> output;
  std::vector<float> row(static_cast<std::size_t>(model_.vocab_size));
  while (output.size() < max_tokens) {
    Logits(Span<const TokenId>(prompt), Span<float>(row));
    const auto token = static_cast<TokenId>(std::max_element(row.begin(), row.end()) - row.begin());
    output.push_back(token);
    prompt.push_back(token);
    if (std::count(model_.eos_ids.begin(), model_.eos_ids.end(), token) != 0) break;
  }
  return output;
}

const PredictableBackend::Cache& PredictableBackend::At(SeqId seq) const {
  const auto found = cache_.find(seq);
  Promise(found != cache_.end(), "sequence ", seq, " is not open");
  return found->second;
}

void PredictableBackend::Before(BackendOp op) {
  const std::uint64_t call = calls_[op]++;
  if (options_.hook) options_.hook(op, call);
}

SeqId PredictableBackend::Open(std::size_t max_tokens) {
  const Exclusive exclusive(&busy_);
  Before(BackendOp::kOpen);
  Promise(max_tokens >= 1 && max_tokens <= static_cast<std::size_t>(model_.max_length), "reserved ", max_tokens,
          " tokens, max_length is ", model_.max_length);
  Promise(cache_.size() < static_cast<std::size_t>(options_.traits.max_batch), "opened more than ",
          options_.traits.max_batch, " sequences");
  Promise(options_.traits.block_tokens != 0 || reserved_ + max_tokens <= options_.traits.max_cached_tokens, "reserved ",
          reserved_, " + ", max_tokens, " tokens of ", options_.traits.max_cached_tokens);
  reserved_ += max_tokens;
  most_reserved_ = std::max(most_reserved_, reserved_);
  cache_[++last_].reserved = max_tokens;
  return last_;
}

std::size_t PredictableBackend::Length(SeqId seq) const {
  const Exclusive exclusive(&busy_);
  return At(seq).tokens.size();
}

void PredictableBackend::CheckChunks(Span<const Chunk> chunks, Span<float> logits) const {
  Promise(!chunks.empty(), "Forward without chunks");
  std::set<SeqId> seen;
  std::size_t rows = 0;
  for (const Chunk& chunk : chunks) {
    const Cache& cache = At(chunk.seq);
    Promise(seen.insert(chunk.seq).second, "two chunks of sequence ", chunk.seq);
    Promise(!chunk.tokens.empty() && chunk.tokens.size() <= options_.traits.max_chunk, "a chunk of ",
            chunk.tokens.size(), " tokens, max_chunk is ", options_.traits.max_chunk);
    Promise(cache.tokens.size() + chunk.tokens.size() <= cache.reserved, "sequence ", chunk.seq, " grows to ",
            cache.tokens.size() + chunk.tokens.size(), " tokens of ", cache.reserved, " reserved");
    for (const TokenId token : chunk.tokens) {
      Promise(token >= 0 && token < model_.vocab_size, "token ", token, " of ", model_.vocab_size);
    }
    int before = -1;
    for (const int row : chunk.logit_rows) {
      Promise(row > before && static_cast<std::size_t>(row) < chunk.tokens.size(), "logit row ", row, " after ", before,
              " in a chunk of ", chunk.tokens.size());
      before = row;
    }
    rows += chunk.logit_rows.size();
  }
  Promise(logits.size() == rows * static_cast<std::size_t>(model_.vocab_size), "room for ", logits.size(), " logits, ",
          rows, " rows are wanted");
  if (!options_.traits.mixed_steps) CheckMix(chunks);
  if (options_.traits.whole_prompts) CheckWholePrompts(chunks);
  if (options_.traits.static_batch) CheckStaticBatch(chunks);
}

std::size_t PredictableBackend::BlocksFor(std::size_t tokens) const {
  const std::size_t block = options_.traits.block_tokens;
  return block == 0 ? 0 : (tokens + block - 1) / block;
}

// Makes the sequence's next tokens writable.
void PredictableBackend::TakeBlocks(Cache* cache, std::size_t tokens) {
  const std::size_t block = options_.traits.block_tokens;
  if (block == 0) return;
  const bool begun = cache->tokens.size() % block != 0;
  if (begun && cache->blocks.back().use_count() > 1) cache->blocks.back() = std::make_shared<Block>(&blocks_);
  while (cache->blocks.size() < BlocksFor(cache->tokens.size() + tokens)) {
    cache->blocks.push_back(std::make_shared<Block>(&blocks_));
  }
  most_blocks_ = std::max(most_blocks_, blocks_);
  const std::size_t most = BlocksFor(options_.traits.max_cached_tokens);
  Promise(blocks_ <= most, "took ", blocks_, " blocks of ", most);
}

void PredictableBackend::CheckMix(Span<const Chunk> chunks) const {
  const auto decodes = [&](const Chunk& chunk) { return chunk.tokens.size() == 1 && !At(chunk.seq).tokens.empty(); };
  const auto count = std::count_if(chunks.begin(), chunks.end(), decodes);
  Promise(count == 0 || static_cast<std::size_t>(count) == chunks.size(), "prefill and decode in one Forward");
}

// A first chunk may be any, as nobody here knows how long the prompt is; what follows it is a token.
void PredictableBackend::CheckWholePrompts(Span<const Chunk> chunks) const {
  for (const Chunk& chunk : chunks) {
    Promise(At(chunk.seq).tokens.empty() || chunk.tokens.size() == 1, "a prompt of sequence ", chunk.seq, " was cut");
  }
}

void PredictableBackend::CheckStaticBatch(Span<const Chunk> chunks) const {
  const auto takes_part = [&](SeqId seq) {
    return std::any_of(chunks.begin(), chunks.end(), [seq](const Chunk& chunk) { return chunk.seq == seq; });
  };
  const bool begins = At(chunks[0].seq).tokens.empty();
  for (const auto& [seq, cache] : cache_) {
    Promise(!takes_part(seq) || cache.tokens.empty() == begins, "sequence ", seq, " joins a batch that is under way");
    Promise(takes_part(seq) || cache.tokens.empty(), "sequence ", seq, " is missing from a step of its batch");
  }
}

/// False when the watch gives up.
bool PredictableBackend::RunLayers(ForwardWatch* watch) const {
  for (std::size_t done = 1; done < options_.layers; ++done) {
    if (options_.between) options_.between(done);
    if (watch != nullptr && watch->GiveUp(done, options_.layers)) return false;
  }
  return true;
}

bool PredictableBackend::Forward(Span<const Chunk> chunks, Span<float> logits, ForwardWatch* watch) {
  const Exclusive exclusive(&busy_);
  Before(BackendOp::kForward);
  CheckChunks(chunks, logits);
  if (!RunLayers(watch)) return false;
  float* next = logits.data();
  const auto vocab = static_cast<std::size_t>(model_.vocab_size);
  for (const Chunk& chunk : chunks) {
    TakeBlocks(&cache_.at(chunk.seq), chunk.tokens.size());
    computed_ += chunk.tokens.size();
    std::vector<TokenId>& tokens = cache_.at(chunk.seq).tokens;
    std::uint64_t hash = 0;
    for (const TokenId token : tokens) hash = Extend(hash, token);
    const int* row = chunk.logit_rows.begin();
    for (std::size_t i = 0; i < chunk.tokens.size(); ++i) {
      hash = Extend(hash, chunk.tokens[i]);
      if (row == chunk.logit_rows.end() || static_cast<std::size_t>(*row) != i) continue;
      Fill(hash, Span<float>(next, vocab));
      next += vocab;
      ++row;
    }
    tokens.insert(tokens.end(), chunk.tokens.begin(), chunk.tokens.end());
  }
  return true;
}

void PredictableBackend::Reorder(Span<const SeqId> from, Span<const SeqId> to) {
  const Exclusive exclusive(&busy_);
  Before(BackendOp::kReorder);
  Promise(from.size() == to.size(), from.size(), " sources, ", to.size(), " targets");
  const std::set<SeqId> targets(to.begin(), to.end());
  Promise(targets.size() == to.size(), "a target twice in one Reorder");
  const std::set<SeqId> sources(from.begin(), from.end());
  Promise(options_.traits.can_fork || sources.size() == from.size(), "forked without can_fork");
  std::vector<Cache> read;
  for (std::size_t i = 0; i < from.size(); ++i) {
    read.push_back(At(from[i]));
    read.back().reserved = At(to[i]).reserved;
    Promise(read.back().tokens.size() <= read.back().reserved, "sequence ", to[i], " gets ", read.back().tokens.size(),
            " tokens, has ", read.back().reserved, " reserved");
  }
  for (std::size_t i = 0; i < to.size(); ++i) cache_.at(to[i]) = std::move(read[i]);
}

void PredictableBackend::Copy(SeqId from, SeqId to, std::size_t length) {
  const Exclusive exclusive(&busy_);
  Before(BackendOp::kCopy);
  Promise(options_.traits.can_fork, "copied without can_fork");
  Promise(from != to, "copied sequence ", from, " to itself");
  Promise(length <= At(from).tokens.size() && length <= At(to).reserved, "copied ", length, " of ",
          At(from).tokens.size(), " tokens into ", At(to).reserved);
  Cache copy = At(from);
  copy.reserved = At(to).reserved;
  copy.tokens.resize(length);
  copy.blocks.resize(BlocksFor(length));
  cache_.at(to) = std::move(copy);
}

void PredictableBackend::Truncate(SeqId seq, std::size_t length) {
  const Exclusive exclusive(&busy_);
  Before(BackendOp::kTruncate);
  Promise(options_.traits.can_truncate, "truncated without can_truncate");
  Promise(length <= At(seq).tokens.size(), "truncated ", At(seq).tokens.size(), " tokens to ", length);
  cache_.at(seq).tokens.resize(length);
  cache_.at(seq).blocks.resize(BlocksFor(length));
}

void PredictableBackend::Close(SeqId seq) {
  const Exclusive exclusive(&busy_);
  Before(BackendOp::kClose);
  reserved_ -= At(seq).reserved;
  cache_.erase(seq);
}

}  // namespace skywork_rt
