#include "bindings/mailbox.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

namespace skywork_rt::bindings {

Wakeup::Wakeup() : descriptor_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  if (descriptor_ < 0) {
    throw Error(ErrorCode::kCapacity, std::string("cannot make an event descriptor: ") + std::strerror(errno));
  }
}

Wakeup::~Wakeup() {
  close(descriptor_);
}

void Wakeup::Signal() const {
  const std::uint64_t one = 1;
  // Fails only when the counter is full, and then the descriptor is readable anyway.
  [[maybe_unused]] const auto written = write(descriptor_, &one, sizeof one);
}

void Wakeup::Clear() const {
  std::uint64_t count = 0;
  [[maybe_unused]] const auto got = read(descriptor_, &count, sizeof count);
}

bool Mailbox::Push(const Update& update) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (closed_) return false;
  updates_.push_back(update);
  wakeup_->Signal();
  return true;
}

std::vector<Update> Mailbox::Drain() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return std::exchange(updates_, {});
}

void Mailbox::Close() {
  const std::lock_guard<std::mutex> lock(mutex_);
  closed_ = true;
  updates_.clear();
}

}  // namespace skywork_rt::bindings
