#include "bindings/log.h"

#include <memory>
#include <utility>

#include "support/format.h"

namespace skywork_rt::bindings {
namespace py = pybind11;
namespace {

constexpr std::size_t kMostWaiting = 1000;

/// The number of Python's logging.
int PythonLevel(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug: return 10;
    case LogLevel::kInfo: return 20;
    case LogLevel::kWarning: return 30;
    case LogLevel::kError: return 40;
  }
  return 40;
}

py::object Take(LogQueue& queue) {
  std::optional<LogQueue::Entry> entry;
  {
    const py::gil_scoped_release release;
    entry = queue.Take();
  }
  if (!entry.has_value()) return py::none();
  // A path in a message may hold bytes that are no UTF-8.
  const auto text = py::reinterpret_steal<py::object>(
      PyUnicode_DecodeUTF8(entry->message.data(), static_cast<Py_ssize_t>(entry->message.size()), "replace"));
  return py::make_tuple(PythonLevel(entry->level), text);
}

void Forward(const std::shared_ptr<LogQueue>& queue) {
  if (queue == nullptr) return SetLogCallback({});
  const auto push = [queue](LogLevel level, std::string_view message) { queue->Push(level, message); };
  SetLogCallback(push, LogLevel::kDebug);  // Python's loggers choose
}

}  // namespace

void LogQueue::Push(LogLevel level, std::string_view message) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (closed_) return;
    if (entries_.size() >= kMostWaiting) {
      ++dropped_;
      return;
    }
    entries_.push_back({level, std::string(message)});
  }
  changed_.notify_one();
}

std::optional<LogQueue::Entry> LogQueue::Take() {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [&] { return closed_ || !entries_.empty(); });
  if (entries_.empty()) return std::nullopt;
  Entry entry = std::move(entries_.front());
  entries_.pop_front();
  if (const std::size_t dropped = std::exchange(dropped_, 0); dropped != 0) {
    entry.message += StrCat(" (", dropped, " later messages were dropped)");
  }
  return entry;
}

void LogQueue::Close() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    closed_ = true;
  }
  changed_.notify_all();
}

void BindLog(py::module_& module) {
  py::class_<LogQueue, std::shared_ptr<LogQueue>>(module, "LogQueue", "Messages of the core on their way to Python.")
      .def(py::init<>())
      .def("take", &Take, "Waits for one: its level as in logging, and its text. None when closed and empty.")
      .def("close", &LogQueue::Close, "Takes no more; ends the waiting.");
  module.def("forward_log", &Forward, py::arg("queue").none(true), py::call_guard<py::gil_scoped_release>(),
             "What the core has to say goes to this queue; None: is dropped.");
}

}  // namespace skywork_rt::bindings
