#include "backend/native/native_backend.h"
#include "backend/device_options.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "backend/native/decoder.h"
#include "backend/native/kernels/choose_kernels.h"
#include "backend/native/paged_cache.h"
#include "backend/native/weights/model_weights.h"
#include "backend/native/weights/weight_kinds.h"
#include "backend/native/weights/weights_file.h"
#include "skywork_rt/error.h"
#include "support/core_set.h"
#include "support/format.h"
#include "support/memory_limits.h"
#include "support/thread_pool.h"

namespace skywork_rt {
namespace native {
namespace {

// Bounds that keep every product of two sizes within an int; far above any model.
constexpr int kMostWidth = 1 << 22;
constexpr int kMostHeadDim = 512;

void CheckShape(const ModelSpec& spec) {
  const auto require = [](const char* what, std::int64_t value, std::int64_t most) {
    if (value >= 1 && value <= most) return;
    throw Error(ErrorCode::kUnsupported,
                StrCat("The native backend takes 1 to ", most, " for ", what, "; the model has ", value, "."));
  };
  require("layers", spec.layers, 1 << 16);
  require("hidden_size", spec.hidden_size, kMostWidth);
  require("intermediate_size", spec.intermediate_size, kMostWidth);
  require("vocab_size", spec.vocab_size, kMostWidth);
  require("head_dim", spec.head_dim, kMostHeadDim);
  require("heads * head_dim", std::int64_t{spec.heads} * spec.head_dim, kMostWidth);
  require("kv_heads * head_dim", std::int64_t{spec.kv_heads} * spec.head_dim, kMostWidth);
  if (spec.architecture != "llama") {
    throw Error(ErrorCode::kUnsupported,
                StrCat("The native backend runs the architecture llama, not \"", spec.architecture, "\"."));
  }
}

CacheKind ParseCacheKind(const std::string& name) {
  if (name == "f32" || name == "auto") return CacheKind::kF32;
  if (name == "f16") return CacheKind::kF16;
  throw Error(ErrorCode::kInvalidArgument, StrCat("kv_cache is \"", name, "\", but must be f32 or f16."));
}

bool ParseInt8Activations(const std::string& name) {
  if (name == "auto" || name == "f32") return false;
  if (name == "int8") return true;
  throw Error(ErrorCode::kInvalidArgument, StrCat("activations is \"", name, "\", but must be auto, f32 or int8."));
}

/// What the kernels compute fastest among what is as exact as float32, or int8 activations, for the matrices of integer
/// weights: a file may have some in floats, but not all.
Arithmetic ChooseArithmetic(const ModelWeights& weights, const Kernels& kernels, const std::string& name) {
  if (!ParseInt8Activations(name)) return kernels.exact;
  const std::vector<const PackedMatrix*> all = weights.Multiplied();
  if (std::any_of(all.begin(), all.end(), [](const PackedMatrix* m) { return FactsOf(m->kind).integers; })) {
    return Arithmetic::kFixed8;
  }
  throw Error(ErrorCode::kUnsupported,
              StrCat("activations=\"int8\" needs integer weights, such as int8, and these are ",
                     FactsOf(all.front()->kind).name, ". Use activations=\"f32\"."));
}

std::size_t LongestSequence(const ModelSpec& spec, const BackendOptions& options) {
  return options.max_length == 0 ? static_cast<std::size_t>(spec.max_length) : options.max_length;
}

/// What was asked for; unasked, full batches of full length, but not more than half of what is available would hold
/// (pages are taken as they are first used, so a promise that memory cannot keep would end in the system's killer).
/// The engine always asks, by its own rule (engine/memory_plan.h): this is for who opens a backend without one.
std::size_t CacheTokens(const ModelSpec& spec, const BackendOptions& options) {
  if (options.max_cached_tokens != 0) return options.max_cached_tokens;
  const std::size_t longest = LongestSequence(spec, options);
  const std::size_t wanted = longest * static_cast<std::size_t>(options.max_batch);
  const std::size_t bytes = PagedCache::BytesPerToken(spec, ParseCacheKind(options.kv_cache));
  return std::max(longest, std::min(wanted, ReadMemoryLimits().available / 2 / bytes));
}

/// Those that run, and as many kept ones as there are pages: each of these has one at least to itself, or goes.
int MostSequences(int max_batch, std::size_t tokens) {
  constexpr std::size_t kMost = 1 << 20;
  return max_batch + static_cast<int>(std::min(kMost, tokens / kPageTokens));
}

FileContents ReadWeights(const std::filesystem::path& path, const BackendOptions& options) {
  return *options.mmap
             ? FileContents::Map(path)
             : FileContents::Copy(path, ThreadsToUse(options.threads, options.affinity), CoreSet(options.affinity));
}

/// The same options with every choice made that they leave to the backend, but that of the weights.
BackendOptions Choose(BackendOptions options, const std::filesystem::path& weights) {
  if (!options.mmap.has_value()) options.mmap = !FileContents::BetterCopied(weights);
  if (options.activations == "auto") options.activations = "f32";
  if (options.kv_cache == "auto") options.kv_cache = "f32";
  return options;
}

class NativeBackend final : public Backend {
 public:
  /// `options` leaves nothing to choose (Choose).
  NativeBackend(const ModelSpec& spec, const std::filesystem::path& weights, const BackendOptions& options)
      : spec_(spec),
        chosen_(options),
        file_(weights, ReadWeights(weights, options)),
        weights_(spec_, file_),
        cache_(spec_, ParseCacheKind(options.kv_cache), CacheTokens(spec_, options),
               MostSequences(options.max_batch, CacheTokens(spec_, options))),
        threads_(ThreadsToUse(options.threads, options.affinity)),
        cores_(options.affinity),
        kernels_(ChooseKernels()),
        decoder_(spec_, weights_, kernels_, cache_, threads_,
                 ChooseArithmetic(weights_, kernels_, options.activations)),
        longest_(LongestSequence(spec_, options)) {}

  const ModelSpec& model() const override { return spec_; }

  GeneratorOptions Chosen(GeneratorOptions options) const override {
    options.device = "cpu";
    options.weights = chosen_.weights;
    options.activations = chosen_.activations;
    options.kv_cache = chosen_.kv_cache;
    options.mmap = chosen_.mmap;
    return options;
  }

  Traits traits() const override {
    Traits traits;
    traits.max_batch = static_cast<int>(cache_.max_sequences());
    traits.max_cached_tokens = cache_.max_tokens();
    traits.block_tokens = kPageTokens;
    traits.max_chunk = longest_;
    traits.pass_tokens = Decoder::kMostRows;
    traits.can_fork = true;
    traits.can_truncate = true;
    traits.mixed_steps = true;
    traits.bytes_per_token = PagedCache::BytesPerToken(spec_, cache_.kind());
    traits.bitwise = true;
    return traits;
  }

  SeqId Open(std::size_t max_tokens) override {
    if (max_tokens == 0 || max_tokens > longest_) {
      throw Error(ErrorCode::kInvalidArgument,
                  StrCat("A sequence of ", max_tokens, " tokens cannot be opened: 1 to ", longest_, " are possible."));
    }
    return cache_.Open(max_tokens);
  }

  std::size_t Length(SeqId seq) const override { return cache_.Length(seq); }
  void Reorder(Span<const SeqId> from, Span<const SeqId> to) override { cache_.Reorder(from, to); }
  void Copy(SeqId from, SeqId to, std::size_t length) override { cache_.Copy(from, to, length); }
  void Truncate(SeqId seq, std::size_t length) override { cache_.Truncate(seq, length); }
  void Close(SeqId seq) override { cache_.Close(seq); }

  using Backend::Forward;
  bool Forward(Span<const Chunk> chunks, Span<float> logits, ForwardWatch* watch) override {
    Check(chunks, logits);
    Prepare(chunks);
    bool whole = false;
    {
      ThreadPool::Lease lease(threads_, cores_);
      whole = RunPasses(lease, chunks, logits.data(), watch);
    }
    for (const Chunk& chunk : chunks) {
      if (whole) {
        cache_.Commit(chunk.seq, chunk.tokens.size());
      } else {
        cache_.Unprepare(chunk.seq);
      }
    }
    return whole;
  }

 private:
  void Check(Span<const Chunk> chunks, Span<float> logits);
  void CheckOnce(Span<const Chunk> chunks);
  void CheckRows(const Chunk& chunk) const;
  void Prepare(Span<const Chunk> chunks);
  bool RunPasses(ThreadPool::Lease& lease, Span<const Chunk> chunks, float* logits, ForwardWatch* watch);
  Decoder::GiveUp Between(Span<const Chunk> chunks, ForwardWatch* watch) const;

  const ModelSpec spec_;
  const BackendOptions chosen_;
  const WeightsFile file_;
  const ModelWeights weights_;
  PagedCache cache_;
  const int threads_;
  const CoreSet cores_;
  const Kernels& kernels_;
  Decoder decoder_;
  const std::size_t longest_;
  Pass pass_;
  std::vector<SeqId> seen_;  // scratch of CheckOnce
};

// At most one chunk a sequence.
void NativeBackend::CheckOnce(Span<const Chunk> chunks) {
  seen_.clear();
  for (const Chunk& chunk : chunks) seen_.push_back(chunk.seq);
  std::sort(seen_.begin(), seen_.end());
  const auto twice = std::adjacent_find(seen_.begin(), seen_.end());
  if (twice == seen_.end()) return;
  throw Error(ErrorCode::kInvalidArgument, StrCat("Sequence ", *twice, " has two chunks in one step"));
}

void NativeBackend::Check(Span<const Chunk> chunks, Span<float> logits) {
  CheckOnce(chunks);
  std::size_t rows = 0;
  for (const Chunk& chunk : chunks) {
    const std::size_t length = cache_.Length(chunk.seq);
    const std::size_t reserved = cache_.Reserved(chunk.seq);
    if (chunk.tokens.empty()) {
      throw Error(ErrorCode::kInvalidArgument, StrCat("The chunk of sequence ", chunk.seq, " has no tokens"));
    }
    if (chunk.tokens.size() > reserved - length) {
      throw Error(ErrorCode::kCapacity, StrCat("Sequence ", chunk.seq, " has ", length, " tokens and reserved ",
                                               reserved, "; ", chunk.tokens.size(), " more do not fit."));
    }
    for (std::size_t i = 0; i < chunk.tokens.size(); ++i) {
      if (chunk.tokens[i] >= 0 && chunk.tokens[i] < spec_.vocab_size) continue;
      throw Error(ErrorCode::kInvalidArgument,
                  StrCat("Token ", i, " of sequence ", chunk.seq, "'s chunk is ", chunk.tokens[i],
                         ", outside the vocabulary of ", spec_.vocab_size, "."));
    }
    CheckRows(chunk);
    rows += chunk.logit_rows.size();
  }
  const std::size_t vocab = static_cast<std::size_t>(spec_.vocab_size);
  if (logits.size() != rows * vocab) {
    throw Error(ErrorCode::kInvalidArgument, StrCat("The logits have ", logits.size(), " values; ", rows, " rows of ",
                                                    vocab, " are ", rows * vocab, "."));
  }
}

void NativeBackend::CheckRows(const Chunk& chunk) const {
  int least = 0;
  for (const int row : chunk.logit_rows) {
    if (row < least || static_cast<std::size_t>(row) >= chunk.tokens.size()) {
      throw Error(ErrorCode::kInvalidArgument,
                  StrCat("Logit row ", row, " of sequence ", chunk.seq, "'s chunk must be at least ", least,
                         " (rows ascend) and below its ", chunk.tokens.size(), " tokens."));
    }
    least = row + 1;
  }
}

void NativeBackend::Prepare(Span<const Chunk> chunks) try {
  for (const Chunk& chunk : chunks) cache_.Prepare(chunk.seq, chunk.tokens.size());
} catch (...) {
  for (const Chunk& chunk : chunks) cache_.Unprepare(chunk.seq);
  throw;
}

/// Asks the watch behind each layer of each pass but the very last.
Decoder::GiveUp NativeBackend::Between(Span<const Chunk> chunks, ForwardWatch* watch) const {
  std::size_t tokens = 0;
  for (const Chunk& chunk : chunks) tokens += chunk.tokens.size();
  const std::size_t passes = (tokens + Decoder::kMostRows - 1) / Decoder::kMostRows;
  const std::size_t layers = passes * static_cast<std::size_t>(spec_.layers);
  return [watch, layers, done = std::size_t{0}]() mutable {
    return ++done < layers && watch != nullptr && watch->GiveUp(done, layers);
  };
}

bool NativeBackend::RunPasses(ThreadPool::Lease& lease, Span<const Chunk> chunks, float* logits, ForwardWatch* watch) {
  const Decoder::GiveUp give_up = Between(chunks, watch);
  const auto flush = [&] {
    if (!decoder_.Run(lease, pass_, logits, give_up)) return false;
    logits += pass_.wanted.size() * static_cast<std::size_t>(spec_.vocab_size);
    pass_.tokens.clear();
    pass_.pieces.clear();
    pass_.wanted.clear();
    return true;
  };
  pass_ = {};
  for (const Chunk& chunk : chunks) {
    const std::size_t length = cache_.Length(chunk.seq);
    const int* wanted = chunk.logit_rows.begin();
    for (std::size_t done = 0; done < chunk.tokens.size();) {
      const std::size_t room = Decoder::kMostRows - pass_.tokens.size();
      const std::size_t take = std::min(room, chunk.tokens.size() - done);
      const auto first_row = static_cast<int>(pass_.tokens.size());
      pass_.pieces.push_back({&cache_.Pages(chunk.seq), length + done, first_row, static_cast<int>(take)});
      pass_.tokens.insert(pass_.tokens.end(), chunk.tokens.begin() + done, chunk.tokens.begin() + done + take);
      for (; wanted != chunk.logit_rows.end() && static_cast<std::size_t>(*wanted) < done + take; ++wanted) {
        pass_.wanted.push_back(first_row + *wanted - static_cast<int>(done));
      }
      done += take;
      if (pass_.tokens.size() == Decoder::kMostRows && !flush()) return false;
    }
  }
  return pass_.tokens.empty() || flush();
}

}  // namespace

BackendMemory MemoryOf(const ModelSpec& spec, const BackendOptions& options) {
  CheckShape(spec);
  BackendMemory memory;
  memory.per_token = PagedCache::BytesPerToken(spec, ParseCacheKind(options.kv_cache));
  memory.work = Decoder::WorkBytes(spec) + memory.per_token * kPageTokens;  // the last page is whole
  return memory;
}

std::unique_ptr<Backend> OpenBackend(const ModelSpec& spec, const std::filesystem::path& weights,
                                     const BackendOptions& options) {
  CheckShape(spec);
  ParseInt8Activations(options.activations);
  if (options.max_batch < 1) {
    throw Error(ErrorCode::kInvalidArgument, StrCat("max_batch is ", options.max_batch, ", but must be at least 1."));
  }
  return std::make_unique<NativeBackend>(spec, weights, Choose(options, weights));
}

}  // namespace native

namespace {

std::string WhyNot(const Bundle& bundle, const BackendOptions& options) {
  if (const std::string reason = WhyNotOnProcessor("native", options); !reason.empty()) return reason;
  if (!bundle.weights().empty()) return "";
  return StrCat("The bundle ", bundle.directory().string(),
                " has no weights for the backend \"native\" (it has: ", bundle.Contents(),
                "). Export with --for native, or open it with backend=\"lite\".");
}

/// Weights as they are in a GGUF file, each matrix in a type of its own.
constexpr const char* kGguf = "gguf";

/// Name of the weights that the options ask for; the bundle has them. What nobody rounded comes first.
std::string ChooseWeights(const Bundle& bundle, const BackendOptions& options) {
  std::string name = options.weights;
  if (name == "auto" && bundle.weights().count(kGguf) != 0) name = kGguf;
  for (const native::WeightKind kind : native::PreferredKindsFirst()) {
    const char* candidate = native::FactsOf(kind).name;
    if (name == "auto" && bundle.weights().count(candidate) != 0) name = candidate;
  }
  const auto found = bundle.weights().find(name);
  if (found != bundle.weights().end()) return name;
  std::string known;
  for (const auto& [key, file] : bundle.weights()) known += StrCat(known.empty() ? "" : ", ", key);
  throw Error(ErrorCode::kUnsupported, StrCat("The bundle ", bundle.directory().string(), " has no weights \"", name,
                                              "\"; it has: ", known.empty() ? "none" : known,
                                              ". Export with --weights ", name, " --for native."));
}

BackendMemory Memory(const Bundle& bundle, const BackendOptions& options) {
  BackendMemory memory = native::MemoryOf(bundle.model(), options);
  const std::string& file = bundle.weights().at(ChooseWeights(bundle, options));
  for (const BundleFile& listed : bundle.files()) {
    if (listed.name == file) memory.weights = listed.size;
  }
  return memory;
}

std::unique_ptr<Backend> Make(const Bundle& bundle, const BackendOptions& options) {
  BackendOptions chosen = options;
  chosen.weights = ChooseWeights(bundle, options);
  const std::string& file = bundle.weights().at(chosen.weights);
  if (options.verify) bundle.VerifyFile(file);
  return native::OpenBackend(bundle.model(), bundle.PathOf(file), chosen);
}

}  // namespace

extern const BackendEntry kNativeBackend{"native", "our own kernels for packed weights, of 4 to 32 bits, on x86-64",
                                         &WhyNot, &Make, &Memory};

}  // namespace skywork_rt
