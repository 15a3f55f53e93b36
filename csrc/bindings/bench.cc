#include "bindings/bench.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <chrono>
#include <cstring>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "backend/native/kernel_probe.h"
#include "backend/registry.h"
#include "bench/memory_stream.h"
#include "bench/time_host.h"
#include "bench/time_sampling.h"
#include "bindings/options.h"
#include "bundle/bundle.h"
#include "skywork_rt/error.h"
#include "support/format.h"

namespace skywork_rt::bindings {
namespace py = pybind11;
namespace {

const char* NameOf(GraphSession::ElementType type) {
  switch (type) {
    case GraphSession::ElementType::kFloat32: return "float32";
    case GraphSession::ElementType::kInt32: return "int32";
    case GraphSession::ElementType::kInt64: return "int64";
    case GraphSession::ElementType::kOther: break;
  }
  return "other";
}

/// A graph of a bundle, and the arrays that it reads at the moment.
class BareGraph {
 public:
  BareGraph(const std::string& directory, const std::string& file, int threads) {
    const py::gil_scoped_release release;
    const BackendEntry& backend = FindBackend("lite");
    if (backend.open_graph == nullptr) {
      throw Error(ErrorCode::kUnsupported, StrCat("the backend \"", backend.name, "\" has no bare graphs"));
    }
    session_ = backend.open_graph(Bundle::Open(directory), file, threads);
    const py::gil_scoped_acquire acquire;
    bound_.assign(session_->inputs().size(), py::none());
  }

  py::list Inputs() const {
    py::list inputs;
    for (const auto& input : session_->inputs()) {
      inputs.append(py::make_tuple(input.name, NameOf(input.type), input.shape));
    }
    return inputs;
  }

  void Resize(const std::vector<GraphSession::Shape>& shapes) {
    if (shapes.size() != bound_.size()) {
      throw Error(ErrorCode::kInvalidArgument,
                  StrCat("the graph has ", bound_.size(), " inputs; there are ", shapes.size(), " shapes"));
    }
    for (py::object& array : bound_) array = py::none();
    const py::gil_scoped_release release;
    session_->Resize(shapes);
  }

  void Bind(std::size_t index, const py::array& array) {
    if (index >= bound_.size()) {
      throw Error(ErrorCode::kInvalidArgument,
                  StrCat("the graph has ", bound_.size(), " inputs, but no input ", index));
    }
    const std::string wanted = NameOf(session_->inputs()[index].type);
    const auto given = py::cast<std::string>(py::str(array.dtype()));
    if (given != wanted || (array.flags() & py::array::c_style) == 0) {
      throw Error(ErrorCode::kInvalidArgument, StrCat("input ", session_->inputs()[index].name, " takes a contiguous ",
                                                      wanted, " array, but this is ", given));
    }
    session_->Bind(index, array.data(), static_cast<std::size_t>(array.nbytes()));
    bound_[index] = array;
  }

  void Run() {
    RequireBound();
    const py::gil_scoped_release release;
    session_->Run();
  }

  py::array_t<float> Output(std::size_t index) {
    const Span<const float> values = session_->Output(index);
    py::array_t<float> copy(static_cast<py::ssize_t>(values.size()));
    std::memcpy(copy.mutable_data(), values.data(), values.size() * sizeof(float));
    return copy;
  }

  /// Seconds of each of `count` runs on the bound inputs; nothing else happens in between.
  std::vector<double> TimeRuns(std::size_t count) {
    using Clock = std::chrono::steady_clock;
    RequireBound();
    const py::gil_scoped_release release;
    std::vector<double> seconds;
    seconds.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
      const auto begin = Clock::now();
      session_->Run();
      seconds.push_back(std::chrono::duration<double>(Clock::now() - begin).count());
    }
    return seconds;
  }

 private:
  void RequireBound() const {
    for (std::size_t i = 0; i < bound_.size(); ++i) {
      if (!bound_[i].is_none()) continue;
      throw Error(ErrorCode::kInvalidArgument,
                  StrCat("input ", session_->inputs()[i].name, " is not bound; bind every input after resize"));
    }
  }

  std::unique_ptr<GraphSession> session_;
  std::vector<py::object> bound_;  // kept alive while the graph may read them
};

std::vector<double> TimeSamplingOf(const py::dict& values, const py::array_t<float, py::array::c_style>& logits,
                                   const py::array_t<TokenId, py::array::c_style>& history, std::size_t count) {
  const SamplingParams params = ReadSamplingParams(values);
  const Span<const float> row(logits.data(), static_cast<std::size_t>(logits.size()));
  const Span<const TokenId> tokens(history.data(), static_cast<std::size_t>(history.size()));
  const py::gil_scoped_release release;
  return TimeSampling(params, row, tokens, count);
}

std::size_t CacheSlots(std::size_t longest, std::size_t max_length) {
  const BackendEntry& backend = FindBackend("lite");
  return backend.cache_slots == nullptr ? max_length : backend.cache_slots(longest, max_length);
}

void BindProbes(py::module_& module) {
  module.def(
      "time_products",
      [](std::string weights, bool int8_activations, int rows, int cols, int tokens, int threads, std::size_t size,
         int passes) {
        const py::gil_scoped_release release;
        const native::ProductTimes times =
            native::TimeProducts({std::move(weights), int8_activations, rows, cols, tokens, threads, size, passes});
        return std::make_tuple(times.seconds, times.bytes, times.multiply_adds);
      },
      py::arg("weights"), py::arg("int8_activations"), py::arg("rows"), py::arg("cols"), py::arg("tokens"),
      py::arg("threads"), py::arg("size"), py::arg("passes"),
      "(seconds, bytes of weights, multiply-adds) of the quickest pass through `size` bytes of random weights.");
  module.def(
      "time_attention",
      [](int head_dim, int queries, int threads, std::size_t size, int passes) {
        const py::gil_scoped_release release;
        const native::AttentionTimes times = native::TimeAttention({head_dim, queries, threads, size, passes});
        return std::make_tuple(times.seconds, times.bytes, times.positions);
      },
      py::arg("head_dim"), py::arg("queries"), py::arg("threads"), py::arg("size"), py::arg("passes"),
      "(seconds, bytes, queries times positions) of the quickest pass through `size` bytes of keys and values.");
  module.def(
      "time_region",
      [](int threads) {
        const py::gil_scoped_release release;
        return native::TimeRegion(threads);
      },
      py::arg("threads"), "Seconds of a parallel region in which nothing is to be done.");
}

}  // namespace

void BindBench(py::module_& module) {
  py::class_<BareGraph>(module, "GraphSession", "One graph of a bundle on its runtime, without a loop around it.")
      .def(py::init<const std::string&, const std::string&, int>(), py::arg("bundle"), py::arg("file"),
           py::arg("threads"))
      .def_property_readonly("inputs", &BareGraph::Inputs, "(name, dtype, shape in the file), in the graph's order.")
      .def("resize", &BareGraph::Resize, py::arg("shapes"), "Gives every input a shape; all must be bound again.")
      .def("bind", &BareGraph::Bind, py::arg("index"), py::arg("array"), "Lets the graph read `array` in place.")
      .def("run", &BareGraph::Run)
      .def("output", &BareGraph::Output, py::arg("index"), "A flat copy of output `index` of the last run.")
      .def("time_runs", &BareGraph::TimeRuns, py::arg("count"), "Seconds of each of `count` runs in a row.");
  module.def("cache_slots", &CacheSlots, py::arg("longest"), py::arg("max_length"),
             "Slots of the cache that the lite backend's graphs see when the longest sequence has `longest` tokens.");
  module.def("time_sampling", &TimeSamplingOf, py::arg("params"), py::arg("logits"), py::arg("history"),
             py::arg("count"),
             "Seconds of each of `count` choices of a token from `logits` after `history`, by one sampler.");
  module.def(
      "time_host",
      [](std::size_t rows, std::size_t vocab_size, std::size_t steps, int threads) {
        const HostTimes times = [&] {
          const py::gil_scoped_release release;
          return TimeHost(rows, vocab_size, steps, threads);
        }();
        return py::make_tuple(times.host, times.argmax);
      },
      py::arg("rows"), py::arg("vocab_size"), py::arg("steps"), py::arg("threads"),
      "Seconds a row of `steps` steps between two calls of a backend that computes nothing, with `rows` greedy "
      "requests "
      "side by side; and of as many searches of the same rows for their largest logits alone.");
  module.def(
      "measure_memory_stream",
      [](int threads, std::size_t size, int passes) {
        const py::gil_scoped_release release;
        return MeasureMemoryStream(threads, size, passes);
      },
      py::arg("threads"), py::arg("size"), py::arg("passes"),
      "Bytes a second that `threads` threads read from memory beyond all caches: the best of `passes` passes.");
  BindProbes(module);
}

}  // namespace skywork_rt::bindings
