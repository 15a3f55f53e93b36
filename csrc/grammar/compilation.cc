#include "grammar/compilation.h"

#include <new>
#include <utility>

#include "support/current_error.h"
#include "support/format.h"

namespace skywork_rt::grammar {

bool Pending::Ready(std::function<void()> wake) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!pending_) return true;
    const Clock::duration longest = owner_->bounds().longest_job;
    if (!since_.has_value() || Clock::now() - *since_ <= longest) {
      if (wake) {
        if (!wake_) ++owner_->waits;
        wake_ = std::move(wake);
      }
    } else {
      pending_ = false;
      failed_ = Error(
          ErrorCode::kInvalidArgument,
          StrCat(what_, " takes longer than ", std::chrono::duration_cast<std::chrono::milliseconds>(longest).count(),
                 " ms, and is given up: make it simpler, with shorter bounds of repetitions, lengths and "
                 "numbers"));
    }
  }
  const bool goes_on = pool_->ReplaceStuck();
  const std::lock_guard<std::mutex> lock(mutex_);
  if (pending_ && !goes_on) {
    pending_ = false;
    failed_ = Error(ErrorCode::kBusy, WorkPool::kAllStuck);
  }
  return !pending_;
}

void Pending::Check() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (failed_.has_value()) throw Error(*failed_);
}

void Pending::Order(WorkPool::Job job) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    pending_ = true;
    since_.reset();
  }
  pool_->Post(std::move(job));
}

void Pending::Begin() {
  const std::lock_guard<std::mutex> lock(mutex_);
  since_ = Clock::now();
}

void Pending::End(std::optional<Error> failed) {
  std::function<void()> wake;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    wake.swap(wake_);
    pending_ = false;
    failed_ = std::move(failed);
  }
  if (wake) wake();
}

std::optional<ErrorCode> Pending::failure() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!failed_.has_value()) return std::nullopt;
  return failed_->code();
}

bool Pending::pending() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return pending_;
}

Compilation::Compilation(std::shared_ptr<Workshop> workshop, std::string type, std::string text)
    : Pending("compiling the grammar", workshop.get(), &workshop->compilers()),
      workshop_(std::move(workshop)),
      type_(std::move(type)),
      text_(std::move(text)),
      habits_(workshop_->tokens().rows()) {}

void Compilation::Start() {
  Order([self = shared_from_this()] {
    if (self.use_count() > 1) self->Run();  // otherwise everybody who waited for it has gone
  });
}

void Compilation::Run() {
  Begin();
  std::optional<Error> failed;
  const auto began = Clock::now();
  try {
    std::unique_ptr<Matcher> matcher = workshop_->Compile(type_, text_);
    const std::string wrong = matcher->error();
    RawMask first;
    if (!wrong.empty()) {
      failed = Error(ErrorCode::kInvalidArgument,
                     StrCat("the grammar (", type_, ") is wrong or not supported: ", wrong.substr(0, 2000)));
    } else if (!matcher->ComputeMask(&first)) {
      failed = WrongAfter(0, matcher->error());
    }
    matcher_ = std::move(matcher);  // nobody looks at these before End
    first_ = std::move(first);
  } catch (...) {
    failed = CurrentError(ErrorCode::kInternal);
  }
  workshop_->compiling.Add(Clock::now() - began);
  if (failed.has_value()) ++workshop_->failed;
  End(std::move(failed));
}

std::unique_ptr<Matcher> Compilation::NewMatcher() const {
  const std::lock_guard<std::mutex> lock(matcher_mutex_);
  return matcher_->Clone();
}

}  // namespace skywork_rt::grammar
