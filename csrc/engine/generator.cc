#include "skywork_rt/generator.h"

#include <deque>
#include <system_error>
#include <thread>
#include <utility>

#include "backend/registry.h"
#include "bundle/bundle.h"
#include "engine/engine.h"
#include "engine/memory_plan.h"
#include "engine/options.h"
#include "support/current_error.h"
#include "support/format.h"
#include "support/log.h"
#include "text/vocabulary.h"

namespace skywork_rt {
namespace {

std::shared_ptr<const Vocabulary> LoadVocabulary(const Bundle& bundle) {
  const BundleFile* file = bundle.FindRole("vocabulary");
  if (file == nullptr) return nullptr;
  bundle.VerifyFile(file->name);  // small, and a flipped bit in it would be wrong text that nobody notices
  auto vocabulary = std::make_shared<const Vocabulary>(Vocabulary::Load(bundle.PathOf(file->name)));
  const auto expected = static_cast<std::size_t>(bundle.model().vocab_size);
  if (vocabulary->size() != expected) {
    throw Error(ErrorCode::kCorruptBundle, StrCat(file->name, " holds ", vocabulary->size(),
                                                  " tokens, but the model's "
                                                  "vocabulary has ",
                                                  expected, ": export the bundle again"));
  }
  return vocabulary;
}

std::unique_ptr<Engine> OpenBundle(const std::string& path, const GeneratorOptions& options) {
  const Bundle bundle = Bundle::Open(path);
  EngineConfig config;
  config.options = ResolveForBundle(options, bundle);
  config.vocabulary = LoadVocabulary(bundle);
  std::unique_ptr<Backend> backend = MakeBackend(bundle, ToBackendOptions(config.options));
  auto engine = std::make_unique<Engine>(std::move(backend), std::move(config));
  const GeneratorOptions& chosen = engine->options();
  LogText(LogLevel::kInfo, "opened ", path, " on ", chosen.backend, ": weights ", chosen.weights, ", activations ",
          chosen.activations, ", ", chosen.threads, " threads, ", chosen.max_cached_tokens, " tokens of cache");
  return engine;
}

std::shared_ptr<const Vocabulary> LoadVocabulary(const std::string& path, const ModelSpec& model) {
  if (path.empty()) return nullptr;
  auto vocabulary = std::make_shared<const Vocabulary>(Vocabulary::Load(path));
  if (vocabulary->size() != static_cast<std::size_t>(model.vocab_size)) {
    throw Error(ErrorCode::kInvalidArgument,
                StrCat(path, " holds ", vocabulary->size(), " tokens, but the backend's model has ", model.vocab_size,
                       ": give the vocabulary of this model, or none"));
  }
  return vocabulary;
}

std::unique_ptr<Engine> WrapBackend(std::unique_ptr<Backend> backend, const GeneratorOptions& options,
                                    const std::string& vocabulary) {
  if (backend == nullptr) throw Error(ErrorCode::kInvalidArgument, "backend is null: give one that is open");
  EngineConfig config;
  config.options = options;
  config.vocabulary = LoadVocabulary(vocabulary, backend->model());
  return std::make_unique<Engine>(std::move(backend), std::move(config));
}

// A callback let go of its generator: the engine's thread cannot wait for itself, so another one does.
void EndElsewhere(std::unique_ptr<Engine> engine) noexcept {
  Engine* const ended = engine.release();
  try {
    std::thread([ended] { const std::unique_ptr<Engine> owner(ended); }).detach();
  } catch (const std::exception& error) {
    LogText(LogLevel::kError, "a generator that its own callback let go of stays open: ", error.what());
  }
}

/// Refuses the whole list before any of it has started.
void CheckAll(const Engine& engine, const std::vector<Request>& requests) {
  for (std::size_t i = 0; i < requests.size(); ++i) {
    try {
      engine.Check(requests[i]);
    } catch (const Error& error) {
      if (requests.size() == 1 || error.code() == ErrorCode::kClosed) throw;
      throw MakeError(error.code(), "request ", i, " of ", requests.size(), ": ", error.what());
    }
  }
}

}  // namespace

class Generator::Impl {
 public:
  explicit Impl(std::unique_ptr<Engine> engine) : engine_(std::move(engine)) {}
  ~Impl() {
    // The child of a fork() has no engine thread to join and maybe a locked mutex: the only safe end is none.
    if (engine_->forked()) {
      static_cast<void>(engine_.release());
    } else if (engine_->OnOwnThread()) {
      EndElsewhere(std::move(engine_));
    }
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  Engine& engine() { return *engine_; }

 private:
  std::unique_ptr<Engine> engine_;
};

namespace {

/// Cancels what is still pending when a list of requests is given up halfway.
class PendingList {
 public:
  PendingList() = default;
  ~PendingList() {
    for (Engine::StatePtr& state : pending_) state->Cancel();
  }
  PendingList(const PendingList&) = delete;
  PendingList& operator=(const PendingList&) = delete;

  bool empty() const { return pending_.empty(); }
  void Add(Engine::StatePtr state) { pending_.push_back(std::move(state)); }
  Result TakeOldest() {
    Result result = pending_.front()->Get();
    pending_.pop_front();
    return result;
  }

 private:
  std::deque<Engine::StatePtr> pending_;
};

}  // namespace

Generator::Generator(const std::string& bundle, const GeneratorOptions& options)
    : impl_(std::make_unique<Impl>(OpenBundle(bundle, options))) {}

Generator::Generator(std::unique_ptr<Backend> backend, const GeneratorOptions& options, const std::string& vocabulary)
    : impl_(std::make_unique<Impl>(WrapBackend(std::move(backend), options, vocabulary))) {}

Generator::~Generator() = default;

RequestHandle Generator::Submit(Request request, UpdateCallback callback) {
  return RequestHandle(impl_->engine().Submit(std::move(request), std::move(callback)));
}

std::optional<RequestHandle> Generator::TrySubmit(Request* request, UpdateCallback callback) {
  Engine::StatePtr state = impl_->engine().TrySubmit(request, std::move(callback));
  if (state == nullptr) return std::nullopt;
  return RequestHandle(std::move(state));
}

void Generator::Check(const Request& request) const {
  impl_->engine().Check(request);
}

// A list longer than the queue is fed as the queue empties; only a queue full of others' requests refuses.
std::vector<Result> Generator::Generate(std::vector<Request> requests) {
  CheckAll(impl_->engine(), requests);
  std::vector<Result> results;
  results.reserve(requests.size());
  PendingList pending;
  for (Request& request : requests) {
    Engine::StatePtr state = impl_->engine().TrySubmit(&request, {});
    while (state == nullptr && !pending.empty()) {
      results.push_back(pending.TakeOldest());
      state = impl_->engine().TrySubmit(&request, {});
    }
    if (state == nullptr) state = impl_->engine().Submit(std::move(request), {});
    pending.Add(std::move(state));
  }
  while (!pending.empty()) results.push_back(pending.TakeOldest());
  return results;
}

const ModelSpec& Generator::model() const {
  return impl_->engine().model();
}

const GeneratorOptions& Generator::options() const {
  return impl_->engine().options();
}

Stats Generator::stats() const {
  return impl_->engine().stats();
}

std::string Generator::Decode(Span<const TokenId> ids, bool skip_special_tokens) const {
  const Vocabulary* vocabulary = impl_->engine().vocabulary();
  if (vocabulary == nullptr) {
    throw Error(ErrorCode::kUnsupported, "the bundle has no vocabulary to decode with: export it with its tokenizer");
  }
  return vocabulary->Decode(ids, skip_special_tokens);
}

void Generator::Close(CloseMode mode) {
  impl_->engine().Close(mode);
}

}  // namespace skywork_rt
