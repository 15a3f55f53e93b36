#pragma once

#include <pybind11/pybind11.h>

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "skywork_rt/log.h"

namespace skywork_rt::bindings {

/// Takes the core's messages from any thread to one thread of Python, so that nobody in the core waits for the GIL: who
/// holds it may be waiting for that very thread, or be ending the interpreter.
class LogQueue {
 public:
  struct Entry {
    LogLevel level;
    std::string message;
  };

  /// Drops the message when nobody has taken very many; the next one that is taken says how many.
  void Push(LogLevel level, std::string_view message);
  /// Waits for a message; empty when the queue is closed and all were taken.
  std::optional<Entry> Take();
  void Close();

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Entry> entries_;
  std::size_t dropped_ = 0;
  bool closed_ = false;
};

void BindLog(pybind11::module_& module);

}  // namespace skywork_rt::bindings
