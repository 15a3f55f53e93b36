#pragma once

// Clients that send requests of every kind to one engine and account for each: what the stress tests of the predictable
// and of the real backends share.

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "backend/backend.h"
#include "engine/engine.h"
#include "skywork_rt/generator.h"

namespace skywork_rt {

constexpr int kStressThreads = 8;
constexpr int kStressRequestsPerThread = 1250;

/// What became of the requests, counted by their owners.
struct StressCounts {
  std::atomic<std::uint64_t> accepted{0};
  std::atomic<std::uint64_t> refused{0};
  std::atomic<std::uint64_t> finished{0};
  std::atomic<std::uint64_t> cancelled{0};
  std::atomic<std::uint64_t> failed{0};
  std::atomic<std::uint64_t> tokens{0};  // of finished requests
};

/// What the clients may expect of the backend.
struct StressTraits {
  bool failures = false;  // steps fail now and then
  /// Greedy ids behind a prompt, asked by all threads at once; without it their number alone is checked.
  std::function<std::vector<TokenId>(const std::vector<TokenId>& prompt, std::size_t max_tokens)> greedy;
};

/// Passes everything on and counts what is open.
class WatchedBackend : public Backend {
 public:
  /// `open` outlives the backend: the number of sequences it holds, and when it is destroyed, of those it still held.
  WatchedBackend(std::unique_ptr<Backend> backend, std::atomic<int>* open) : backend_(std::move(backend)), open_(open) {
    *open_ = 0;
  }

  const ModelSpec& model() const override { return backend_->model(); }
  Traits traits() const override { return backend_->traits(); }
  SeqId Open(std::size_t max_tokens) override {
    const SeqId seq = backend_->Open(max_tokens);
    ++*open_;
    return seq;
  }
  std::size_t Length(SeqId seq) const override { return backend_->Length(seq); }
  using Backend::Forward;
  bool Forward(Span<const Chunk> chunks, Span<float> logits, ForwardWatch* watch) override {
    return backend_->Forward(chunks, logits, watch);
  }
  void Reorder(Span<const SeqId> from, Span<const SeqId> to) override { backend_->Reorder(from, to); }
  void Copy(SeqId from, SeqId to, std::size_t length) override { backend_->Copy(from, to, length); }
  void Truncate(SeqId seq, std::size_t length) override { backend_->Truncate(seq, length); }
  void Close(SeqId seq) override {
    backend_->Close(seq);
    --*open_;
  }

 private:
  std::unique_ptr<Backend> backend_;
  std::atomic<int>* open_;
};

/// The options under which the stress runs: little room, so that all limits are met.
GeneratorOptions StressOptions();

/// kStressThreads clients send kStressRequestsPerThread requests each; returns once all are settled. Fails the test
/// when something was lost, came twice or came wrong. `seed` and up name the clients.
void RunClients(Engine* engine, const StressTraits& traits, unsigned seed, StressCounts* counts);

/// Whether the engine's own statistics agree with what the clients counted, and every request was settled once.
void ExpectNothingLost(const StressCounts& counts, const Stats& stats, int rounds = 1);

/// Resident memory of this process.
std::size_t ResidentBytes();

}  // namespace skywork_rt
