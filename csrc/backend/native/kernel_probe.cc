#include "backend/native/kernel_probe.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <limits>
#include <vector>

#include "backend/native/input_buffer.h"
#include "backend/native/kernels/choose_kernels.h"
#include "backend/native/memory.h"
#include "backend/native/weights/weight_kinds.h"
#include "skywork_rt/error.h"
#include "support/format.h"
#include "support/thread_pool.h"

namespace skywork_rt::native {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kTasksPerThread = 8;  // as the decoder's products
constexpr int kRegions = 1000;

double SecondsSince(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

void Require(bool holds, const char* what) {
  if (!holds) throw Error(ErrorCode::kInvalidArgument, StrCat("the probe needs ", what));
}

int CeilDiv(int a, int b) {
  return (a + b - 1) / b;
}

WeightKind KindNamed(const std::string& name) {
  for (const WeightKind kind : AllKinds()) {
    if (name == FactsOf(kind).name) return kind;
  }
  throw Error(ErrorCode::kInvalidArgument, StrCat("there are no weights \"", name, "\" to probe"));
}

/// Weights and caches whose every bit pattern is a normal number below 2, as a half and as a float: computing with
/// subnormal ones is slow. Each thread touches its own part first.
AnonymousMemory FiniteNumbers(std::size_t bytes, Pages pages, ThreadPool::Lease& lease) {
  AnonymousMemory memory(bytes, "the probe's numbers", pages);
  constexpr std::size_t kPiece = std::size_t{1} << 20;
  lease.Run(static_cast<int>((bytes + kPiece - 1) / kPiece), [&](int piece, int) {
    const std::size_t begin = static_cast<std::size_t>(piece) * kPiece;
    auto state = static_cast<std::uint32_t>(piece) * 2654435761u + 1u;
    for (std::size_t i = begin; i < std::min(bytes, begin + kPiece); ++i) {
      state = state * 1664525u + 1013904223u;
      memory.data()[i] = static_cast<std::uint8_t>(0x30u | state >> 28);
    }
  });
  return memory;
}

/// The quickest of some passes, after one that does not count.
template <typename Pass>
double Quickest(int passes, Pass&& pass) {
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i <= passes; ++i) {
    const auto begin = Clock::now();
    pass();
    if (i != 0) best = std::min(best, SecondsSince(begin));
  }
  return best;
}

/// Tokens and the matrices that they are multiplied by.
class Products {
 public:
  explicit Products(const ProductProbe& probe)
      : probe_(probe),
        shape_(PackedMatrix::Shape(KindNamed(probe.weights), probe.rows, probe.cols)),
        kernels_(ChooseKernels()),
        arithmetic_(probe.int8_activations ? Arithmetic::kFixed8 : kernels_.exact),
        forms_(FormBit(kernels_.form(shape_.kind, arithmetic_))),
        count_(std::max<std::size_t>(1, (probe.bytes + shape_.Bytes() - 1) / shape_.Bytes())),
        input_(kernels_, static_cast<std::size_t>(probe.cols), forms_, arithmetic_) {}

  ProductTimes Time() {
    ThreadPool::Lease lease(probe_.threads);
    // As a file of that many bytes would lie: copied into huge pages, or mapped.
    const Pages pages = probe_.bytes <= FileContents::kMostCopied ? Pages::kHuge : Pages::kSmall;
    const AnonymousMemory weights = FiniteNumbers(count_ * shape_.Bytes(), pages, lease);
    rows_.assign(static_cast<std::size_t>(probe_.tokens) * Stride(), 0.5f);
    out_.assign(static_cast<std::size_t>(probe_.tokens) * static_cast<std::size_t>(probe_.rows), 0.0f);
    ProductTimes times;
    times.seconds = Quickest(probe_.passes, [&] {
      for (std::size_t i = 0; i < count_; ++i) Multiply(lease, weights.data() + i * shape_.Bytes());
    });
    times.bytes = count_ * shape_.Bytes();
    times.multiply_adds = count_ * static_cast<std::size_t>(probe_.tokens) * static_cast<std::size_t>(probe_.rows) *
                          static_cast<std::size_t>(probe_.cols);
    return times;
  }

 private:
  std::size_t Stride() const { return static_cast<std::size_t>(shape_.groups) * kGroup; }

  void Multiply(ThreadPool::Lease& lease, const std::uint8_t* weights) {
    Pack(lease);
    PackedMatrix matrix = shape_;
    matrix.data = weights;
    MatmulArgs job;
    job.matrix = &matrix;
    job.input = &input_.input();
    job.out = out_.data();
    job.out_stride = static_cast<std::size_t>(probe_.rows);
    const int grain = std::max(1, CeilDiv(matrix.panels, kTasksPerThread * lease.threads()));
    lease.Run(CeilDiv(matrix.panels, grain),
              [&](int task, int) { kernels_.matmul(job, task * grain, std::min(matrix.panels, (task + 1) * grain)); });
  }

  void Pack(ThreadPool::Lease& lease) {
    const int step = input_.Begin(probe_.tokens, probe_.cols, forms_);
    lease.Run(CeilDiv(probe_.tokens, step), [&](int task, int) {
      input_.Pack(rows_.data(), Stride(), task * step, std::min(probe_.tokens, (task + 1) * step));
    });
  }

  const ProductProbe probe_;
  const PackedMatrix shape_;
  const Kernels& kernels_;
  const Arithmetic arithmetic_;
  const InputForms forms_;
  const std::size_t count_;
  InputBuffer input_;
  std::vector<float> rows_;
  std::vector<float> out_;
};

/// Queries of one head and the blocks that they see.
class Attention {
 public:
  explicit Attention(const AttentionProbe& probe)
      : probe_(probe),
        padded_dim_(static_cast<int>(RoundUp(static_cast<std::size_t>(probe.head_dim), kPanelRows))),
        kernels_(ChooseKernels()),
        region_floats_(static_cast<std::size_t>(padded_dim_) * kPageTokens),
        blocks_(std::max<std::size_t>(1, probe.bytes / BlockBytes())) {}

  AttentionTimes Time() {
    ThreadPool::Lease lease(probe_.threads);
    const AnonymousMemory cache = FiniteNumbers(blocks_ * BlockBytes(), Pages::kHuge, lease);
    query_.assign(static_cast<std::size_t>(padded_dim_), 0.5f);
    scratch_.resize(static_cast<std::size_t>(lease.threads()));
    const std::size_t state = static_cast<std::size_t>(kStateHeader + padded_dim_);
    for (Scratch& scratch : scratch_) {
      scratch.scores.resize(std::size_t{kMostQueries} * kBlockTokens);
      scratch.states.resize(kMostQueries * state);
      scratch.running.resize(kMostQueries * state);
    }
    AttentionTimes times;
    times.seconds = Quickest(probe_.passes, [&] {
      lease.Run(static_cast<int>(blocks_), [&](int block, int slot) {
        Attend(reinterpret_cast<const float*>(cache.data()), static_cast<std::size_t>(block),
               scratch_[static_cast<std::size_t>(slot)]);
      });
    });
    times.bytes = blocks_ * BlockBytes();
    times.positions = blocks_ * kBlockTokens * static_cast<std::size_t>(probe_.queries);
    return times;
  }

 private:
  struct Scratch {
    std::vector<float> scores, states, running;
  };

  std::size_t BlockBytes() const { return 2 * region_floats_ * kBlockPages * sizeof(float); }

  void Attend(const float* cache, std::size_t block, Scratch& scratch) const {
    std::array<const float*, kMostQueries> queries;
    std::array<int, kMostQueries> counts;
    std::array<float*, kMostQueries> states;
    std::array<const void*, kBlockPages> keys;
    std::array<const void*, kBlockPages> values;
    const std::array<const void*, 2> next_keys{};
    const std::size_t state = static_cast<std::size_t>(kStateHeader + padded_dim_);
    for (std::size_t q = 0; q < static_cast<std::size_t>(probe_.queries); ++q) {
      queries[q] = query_.data();
      counts[q] = kBlockTokens;
      states[q] = scratch.states.data() + q * state;
    }
    for (std::size_t page = 0; page < kBlockPages; ++page) {
      // A page holds every layer and head, so the pages of one head lie far apart.
      keys[page] = cache + 2 * (page * blocks_ + block) * region_floats_;
      values[page] = cache + (2 * (page * blocks_ + block) + 1) * region_floats_;
    }
    kernels_.attend[static_cast<int>(CacheKind::kF32)]({queries.data(), counts.data(), probe_.queries, keys.data(),
                                                        values.data(), probe_.head_dim, padded_dim_, states.data(),
                                                        scratch.scores.data(), probe_.queries == 1, next_keys.data()});
    for (std::size_t q = 0; q < static_cast<std::size_t>(probe_.queries); ++q) {
      kernels_.merge(scratch.running.data() + q * state, states[q], padded_dim_, true);
    }
  }

  const AttentionProbe probe_;
  const int padded_dim_;
  const Kernels& kernels_;
  const std::size_t region_floats_;
  const std::size_t blocks_;
  std::vector<float> query_;
  std::vector<Scratch> scratch_;
};

}  // namespace

ProductTimes TimeProducts(const ProductProbe& probe) {
  Require(probe.rows >= 1 && probe.cols >= 1, "matrices of at least one row and column");
  Require(probe.tokens >= 1 && probe.tokens <= kMostTokens, "1 to 96 tokens");
  Require(probe.threads >= 1 && probe.passes >= 1, "at least one thread and one pass");
  const bool integers = FactsOf(KindNamed(probe.weights)).integers;
  Require(integers || !probe.int8_activations, "integer weights for int8 activations");
  return Products(probe).Time();
}

AttentionTimes TimeAttention(const AttentionProbe& probe) {
  Require(probe.head_dim >= 1, "heads of at least one dimension");
  Require(probe.queries >= 1 && probe.queries <= kMostQueries, "1 to 24 queries");
  Require(probe.threads >= 1 && probe.passes >= 1, "at least one thread and one pass");
  return Attention(probe).Time();
}

double TimeRegion(int threads) {
  Require(threads >= 1, "at least one thread");
  ThreadPool::Lease lease(threads);
  std::vector<double> seconds;
  seconds.reserve(kRegions);
  for (int i = 0; i < kRegions; ++i) {
    const auto begin = Clock::now();
    lease.Run(kTasksPerThread * lease.threads(), [](int, int) {});
    seconds.push_back(SecondsSince(begin));
  }
  std::nth_element(seconds.begin(), seconds.begin() + kRegions / 2, seconds.end());
  return seconds[kRegions / 2];
}

}  // namespace skywork_rt::native
