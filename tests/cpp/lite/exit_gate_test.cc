#include "backend/lite_runtime/exit_gate.h"

#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <thread>

#include "skywork_rt/error.h"

namespace skywork_rt::lite_runtime {
namespace {

TEST(ExitGate, ClosingWaitsForWhoeverIsInsideAndLetsNobodyElseIn) {
  ExitGate gate;
  std::promise<void> entered;
  std::promise<void> leave;
  const auto user = std::async(std::launch::async, [&] {
    const ExitGate::Pass pass(&gate);
    entered.set_value();
    leave.get_future().wait();
  });
  entered.get_future().wait();
  const auto closing = std::async(std::launch::async, [&] { gate.Close(); });
  while (!gate.closed()) std::this_thread::yield();
  EXPECT_EQ(closing.wait_for(std::chrono::milliseconds(50)), std::future_status::timeout);
  try {
    const ExitGate::Pass late(&gate);
    ADD_FAILURE() << "was let in";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kClosed);
  }
  leave.set_value();
  EXPECT_EQ(closing.wait_for(std::chrono::seconds(10)), std::future_status::ready);
}

TEST(ExitGate, AThreadThatExitsFromInsideDoesNotWaitForItself) {
  ExitGate gate;
  const ExitGate::Pass pass(&gate);
  gate.Close();
  EXPECT_TRUE(gate.closed());
}

}  // namespace
}  // namespace skywork_rt::lite_runtime
