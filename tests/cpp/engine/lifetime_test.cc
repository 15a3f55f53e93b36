// What a generator leaves behind when it ends, and who may end it.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "engine/engine_fixture.h"

namespace skywork_rt {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

/// A backend that tells when it is destroyed.
class Observed final : public PredictableBackend {
 public:
  Observed(PredictableOptions options, std::atomic<bool>* alive)
      : PredictableBackend(std::move(options)), alive_(alive) {
    alive_->store(true);
  }
  ~Observed() override { alive_->store(false); }

  GeneratorOptions Chosen(GeneratorOptions options) const override {
    options.weights = "pencil";
    options.mmap = true;
    return options;
  }

 private:
  std::atomic<bool>* alive_;
};

template <typename Done>
bool Comes(const Done& done) {
  for (int i = 0; i < 5000 && !done(); ++i) std::this_thread::sleep_for(milliseconds(1));
  return done();
}

TEST(Lifetime, AThreadThatGotTheEnginesOldIdMayCloseAndDestroy) {
  auto generator =
      std::make_unique<Generator>(std::make_unique<PredictableBackend>(PredictableOptions{}), GeneratorOptions{});
  std::promise<std::thread::id> engine;
  generator->Submit(LongRequest({3}, 1), [&](const Update&) {
    engine.set_value(std::this_thread::get_id());
    return true;
  });
  const std::thread::id old = engine.get_future().get();
  generator->Close();
  bool recycled = false;
  ErrorCode code{};
  for (int i = 0; i < 50 && !recycled; ++i) {
    std::thread([&] {
      recycled = std::this_thread::get_id() == old;
      code = CodeOf([&] { generator->Close(); });
      if (recycled && code == ErrorCode{}) generator.reset();
    }).join();
    EXPECT_EQ(code, ErrorCode{});
  }
  if (!recycled) GTEST_SKIP() << "this system gives no thread the id of one that ended";
  EXPECT_EQ(generator, nullptr);
}

TEST(Lifetime, ACallbackMayLetGoOfItsOwnGenerator) {
  std::atomic<bool> alive{false};
  auto generator = std::make_shared<Generator>(std::make_unique<Observed>(Slow(), &alive), GeneratorOptions{});
  std::promise<void> last_owner;
  RequestHandle handle = generator->Submit(
      LongRequest({3}, 400), [owner = generator, alone = last_owner.get_future().share()](const Update&) mutable {
        alone.wait();
        owner.reset();
        return true;
      });
  generator.reset();
  last_owner.set_value();
  EXPECT_EQ(CodeOf([&] { handle.Get(); }), ErrorCode::kCancelled);
  EXPECT_TRUE(Comes([&] { return !alive; }));
}

TEST(Lifetime, TheLastCallbackHasReturnedAndIsGoneBeforeAnybodyHearsOfTheEnd) {
  for (const bool fails : {false, true}) {
    auto engine = MakeEngine({}, fails ? FailingAt(BackendOp::kForward, 1) : PredictableOptions());
    std::atomic<bool> returned{false};
    auto held = std::make_shared<int>(0);
    const std::weak_ptr<int> callback = held;
    const auto state = engine->Submit(LongRequest({3}, 4), [&returned, held = std::move(held)](const Update& update) {
      if (update.finish_reason == FinishReason::kNone) return true;
      std::this_thread::sleep_for(milliseconds(100));
      returned = true;
      return true;
    });
    ASSERT_TRUE(state->WaitFor(std::chrono::seconds(10)));
    EXPECT_TRUE(returned) << "fails: " << fails;
    EXPECT_TRUE(callback.expired()) << "fails: " << fails;
    EXPECT_EQ(CodeOf([&] { state->Get(); }), fails ? ErrorCode::kBackend : ErrorCode{});
  }
}

TEST(Lifetime, ClosingFreesTheModelAndKeepsWhatIsKnown) {
  std::atomic<bool> alive{false};
  Generator generator(std::make_unique<Observed>(Slow(), &alive), GeneratorOptions{});
  RequestHandle finished = generator.Submit(LongRequest({3}, 5));
  EXPECT_EQ(finished.Get().samples[0].token_ids.size(), 5U);
  RequestHandle running = generator.Submit(LongRequest({4}, 400));
  EXPECT_TRUE(alive);
  generator.Close();
  EXPECT_FALSE(alive);
  EXPECT_EQ(finished.Get().samples[0].token_ids.size(), 5U);
  EXPECT_EQ(CodeOf([&] { running.Get(); }), ErrorCode::kCancelled);
  EXPECT_EQ(generator.model().vocab_size, 97);
  EXPECT_EQ(generator.options().max_length, 512U);
  EXPECT_EQ(generator.stats().finished, 1U);
  EXPECT_EQ(generator.stats().cached_tokens, 0U);
  std::string message;
  EXPECT_EQ(CodeOf([&] { generator.Submit(LongRequest({3}, 5)); }, &message), ErrorCode::kClosed);
  EXPECT_THAT(message, HasSubstr("open a new one"));
  EXPECT_EQ(CodeOf([&] { generator.Generate({LongRequest({3}, 5)}); }), ErrorCode::kClosed);
  EXPECT_NO_THROW(generator.Close());
}

TEST(Lifetime, OptionsTellWhatTheBackendChose) {
  std::atomic<bool> alive{false};
  const Generator generator(std::make_unique<Observed>(PredictableOptions{}, &alive), GeneratorOptions{});
  EXPECT_EQ(generator.options().weights, "pencil");
  EXPECT_EQ(generator.options().mmap, true);
  EXPECT_EQ(generator.options().activations, "auto") << "what it does not tell stays";
}

}  // namespace
}  // namespace skywork_rt
