// The mailbox of an event loop: each key once, ends not lost, nothing after closing, nothing lost without memory.

#include "bindings/mailbox.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <atomic>
#include <new>
#include <thread>
#include <vector>

#include "engine/failing_allocator.h"

namespace skywork_rt::bindings {
namespace {

bool Readable(const Mailbox& mailbox) {
  pollfd watched{mailbox.descriptor(), POLLIN, 0};
  return poll(&watched, 1, 0) == 1;
}

std::vector<Mailbox::Key> Keys(const std::vector<Mailbox::Event>& events) {
  std::vector<Mailbox::Key> keys;
  for (const Mailbox::Event& event : events) keys.push_back(event.key);
  return keys;
}

TEST(Mailbox, TellsEachKeyOnceInTheOrderOfItsFirstPost) {
  Mailbox mailbox;
  const Mailbox::Key first = mailbox.Open();
  const Mailbox::Key second = mailbox.Open();
  mailbox.Open();
  EXPECT_FALSE(Readable(mailbox));
  for (int i = 0; i < 1000; ++i) {
    mailbox.Post(second, false);
    mailbox.Post(first, false);
  }
  EXPECT_TRUE(Readable(mailbox));
  EXPECT_EQ(Keys(mailbox.Take()), (std::vector<Mailbox::Key>{second, first}));
  EXPECT_FALSE(Readable(mailbox));
  EXPECT_TRUE(mailbox.Take().empty());
  mailbox.Post(first, false);
  EXPECT_TRUE(Readable(mailbox)) << "a key that was taken may be posted again";
  EXPECT_EQ(Keys(mailbox.Take()), std::vector<Mailbox::Key>{first});
}

TEST(Mailbox, AnEndIsNotLostToANewsBeforeOrAfterIt) {
  Mailbox mailbox;
  const Mailbox::Key key = mailbox.Open();
  mailbox.Post(key, false);
  mailbox.Post(key, true);
  mailbox.Post(key, false);
  const std::vector<Mailbox::Event> events = mailbox.Take();
  ASSERT_EQ(events.size(), 1U);
  EXPECT_TRUE(events[0].ended);
}

TEST(Mailbox, AClosedKeyIsSilent) {
  Mailbox mailbox;
  const Mailbox::Key closed = mailbox.Open();
  const Mailbox::Key open = mailbox.Open();
  mailbox.Post(closed, false);
  mailbox.Close(closed);
  EXPECT_FALSE(Readable(mailbox)) << "what was posted is dropped";
  mailbox.Post(closed, true);
  mailbox.Close(closed);
  EXPECT_FALSE(Readable(mailbox)) << "what comes later too";
  mailbox.Post(open, true);
  EXPECT_EQ(Keys(mailbox.Take()), std::vector<Mailbox::Key>{open});
  EXPECT_NE(mailbox.Open(), closed) << "keys are not used again";
}

TEST(Mailbox, NothingIsLostWhereMemoryRunsOut) {
  Mailbox mailbox;
  const Mailbox::Key key = mailbox.Open();
  FailingAllocator::Arm(0, FailingAllocator::kForEver);
  int failures = 0;
  mailbox.Post(key, true);
  try {
    mailbox.Take();
  } catch (const std::bad_alloc&) {
    ++failures;
  }
  try {
    mailbox.Open();
  } catch (const std::bad_alloc&) {
    ++failures;
  }
  FailingAllocator::Disarm();
  EXPECT_EQ(failures, 2);
  EXPECT_TRUE(Readable(mailbox));
  const std::vector<Mailbox::Event> events = mailbox.Take();
  ASSERT_EQ(events.size(), 1U);
  EXPECT_TRUE(events[0].ended);
  EXPECT_EQ(mailbox.Open(), key + 1);
}

TEST(Mailbox, PostsFromManyThreadsAllArrive) {
  constexpr int kThreads = 4;
  constexpr int kKeys = 200;
  Mailbox mailbox;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kKeys; ++i) {
        const Mailbox::Key key = mailbox.Open();
        mailbox.Post(key, false);
        mailbox.Post(key, true);
      }
    });
  }
  int ends = 0;
  while (ends < kThreads * kKeys) {
    pollfd watched{mailbox.descriptor(), POLLIN, 0};
    ASSERT_EQ(poll(&watched, 1, 20'000), 1) << "a post did not wake up the loop";
    for (const Mailbox::Event& event : mailbox.Take()) {
      if (!event.ended) continue;
      ++ends;
      mailbox.Close(event.key);
    }
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(mailbox.Take().empty());
}

}  // namespace
}  // namespace skywork_rt::bindings
