#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <thread>

#include "engine/engine_fixture.h"
#include "support/sanitizers.h"

namespace skywork_rt {
namespace {

/// What a child of fork() finds, as its exit status: 0 when everything that could hang says kClosed instead.
int UseInChild(Generator* generator, RequestHandle* handle) {
  Update update;
  const auto closed = [](const auto& call) { return CodeOf(call) == ErrorCode::kClosed; };
  if (!closed([&] { generator->Submit(GreedyRequest({1}, 1)); })) return 1;
  if (!closed([&] { generator->Generate({GreedyRequest({1}, 1)}); })) return 2;
  if (!closed([&] { generator->stats(); })) return 3;
  if (!closed([&] { generator->Close(); })) return 4;
  if (!closed([&] { handle->Next(&update); })) return 5;
  if (!closed([&] { handle->Get(); })) return 6;
  if (!closed([&] { handle->WaitFor(std::chrono::milliseconds(1)); })) return 7;
  handle->Cancel();
  return 0;
}

TEST(ForkTest, ChildGetsAnErrorInsteadOfWaitingForAThreadThatIsNotThere) {
  if (testing::kAddressSanitizer) {
    GTEST_SKIP() << "AddressSanitizer's allocator does not survive a fork() while another thread allocates";
  }
  PredictableOptions backend;
  backend.hook = [](BackendOp op, std::uint64_t) {
    if (op == BackendOp::kForward) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  };
  auto generator = std::make_unique<Generator>(std::make_unique<PredictableBackend>(backend), GeneratorOptions{});
  RequestHandle handle = generator->Submit(LongRequest(Counting(4), 400));
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const int status = UseInChild(generator.get(), &handle);
    generator.reset();  // must not wait either
    _exit(status);
  }
  int status = -1;
  for (int i = 0; i < 1000 && waitpid(child, &status, WNOHANG) == 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_TRUE(WIFEXITED(status)) << "the child hangs or crashed";
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_EQ(handle.Get().samples[0].token_ids.size(), 400U) << "the parent goes on";
}

TEST(ForkTest, ChildMayOpenItsOwnGenerator) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "ThreadSanitizer does not support threads that are started in a child of fork()";
#endif
  auto parents =
      std::make_unique<Generator>(std::make_unique<PredictableBackend>(PredictableOptions{}), GeneratorOptions{});
  // AddressSanitizer's allocator does not survive a fork() while another thread allocates, as one that starts does: the
  // engine's thread is awaited first.
  parents->Generate({LongRequest({1}, 3)});
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    Generator own(std::make_unique<PredictableBackend>(PredictableOptions{}), {});
    const bool works = own.Generate({LongRequest({1}, 3)})[0].samples[0].token_ids.size() == 3;
    own.Close();
    _exit(works ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace skywork_rt
