#include "bindings/mailbox.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "skywork_rt/error.h"

namespace skywork_rt::bindings {

Signal::Signal() : descriptor_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  if (descriptor_ < 0) {
    throw Error(ErrorCode::kCapacity, std::string("cannot make an event descriptor: ") + std::strerror(errno));
  }
}

Signal::~Signal() {
  close(descriptor_);
}

void Signal::Raise() const noexcept {
  const std::uint64_t one = 1;
  // Fails only when the counter is full, and then the descriptor is readable anyway.
  [[maybe_unused]] const auto written = write(descriptor_, &one, sizeof one);
}

void Signal::Lower() const noexcept {
  std::uint64_t count = 0;
  [[maybe_unused]] const auto got = read(descriptor_, &count, sizeof count);
}

Mailbox::Key Mailbox::Open() {
  const std::lock_guard<std::mutex> lock(mutex_);
  Slots made(1);
  const Key key = last_ + 1;
  made.front().event.key = key;
  open_.emplace(key, made.begin());
  quiet_.splice(quiet_.end(), made);
  return last_ = key;
}

void Mailbox::Post(Key key, bool ended) noexcept {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = open_.find(key);
  if (found == open_.end()) return;
  Slot& slot = *found->second;
  slot.event.ended |= ended;
  if (slot.posted) return;
  if (posted_.empty()) signal_.Raise();
  slot.posted = true;
  posted_.splice(posted_.end(), quiet_, found->second);
}

std::vector<Mailbox::Event> Mailbox::Take() {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::vector<Event> events;
  events.reserve(posted_.size());
  for (Slot& slot : posted_) {
    events.push_back(slot.event);
    slot.posted = false;
  }
  quiet_.splice(quiet_.end(), posted_);
  signal_.Lower();
  return events;
}

void Mailbox::Close(Key key) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = open_.find(key);
  if (found == open_.end()) return;
  const bool posted = found->second->posted;
  (posted ? posted_ : quiet_).erase(found->second);
  open_.erase(found);
  if (posted && posted_.empty()) signal_.Lower();
}

}  // namespace skywork_rt::bindings
