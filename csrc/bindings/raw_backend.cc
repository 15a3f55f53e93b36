#include "bindings/raw_backend.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "backend/registry.h"
#include "bindings/options.h"
#include "bindings/python_backend.h"
#include "bundle/bundle.h"
#include "engine/memory_plan.h"
#include "skywork_rt/error.h"

namespace skywork_rt::bindings {
namespace py = pybind11;
namespace {

std::unique_ptr<Backend> OpenBackend(const std::string& directory, const py::dict& values) {
  const GeneratorOptions options = ReadGeneratorOptions(values);
  const py::gil_scoped_release release;
  const Bundle bundle = Bundle::Open(directory);
  return MakeBackend(bundle, BackendOptions(ResolveForBundle(options, bundle)));
}

/// (sequence, its new tokens, rows of them whose logits are wanted)
using PyChunk = std::tuple<SeqId, std::vector<TokenId>, std::vector<int>>;

/// Gives a step up when it is asked for the time that it was made with, counted from 1; 0 is never.
class GivingUp final : public ForwardWatch {
 public:
  explicit GivingUp(std::size_t at) : at_(at) {}
  bool GiveUp(std::size_t /*done*/, std::size_t /*total*/) override { return ++asked_ == at_; }

 private:
  std::size_t at_;
  std::size_t asked_ = 0;
};

py::object Forward(Backend& backend, const std::vector<PyChunk>& chunks, std::size_t give_up_at) {
  std::vector<Chunk> views;
  std::size_t rows = 0;
  for (const auto& [seq, tokens, logit_rows] : chunks) {
    views.push_back({seq, Span<const TokenId>(tokens), Span<const int>(logit_rows)});
    rows += logit_rows.size();
  }
  const auto vocab = static_cast<std::size_t>(backend.model().vocab_size);
  py::array_t<float> logits({rows, vocab});
  const Span<float> out(logits.mutable_data(), rows * vocab);
  GivingUp watch(give_up_at);
  bool whole = false;
  {
    const py::gil_scoped_release release;
    whole = backend.Forward(Span<const Chunk>(views), out, &watch);
  }
  if (!whole) return py::none();
  return std::move(logits);
}

}  // namespace

void BindRawBackend(py::module_& module) {
  py::class_<Backend>(module, "RawBackend",
                      "One backend without an engine, for parity tests. Not safe for two threads at once.")
      .def(py::init(&OpenBackend), py::arg("bundle"), py::arg("options") = py::dict())
      .def_static(
          "over",
          [](py::object backend) -> std::unique_ptr<Backend> {
            return std::make_unique<PythonBackend>(std::move(backend));
          },
          py::arg("backend"), "Over a skywork_rt.backends.PythonBackend.")
      .def_property_readonly("model", &Backend::model, py::return_value_policy::reference_internal)
      .def_property_readonly("traits",
                             [](const Backend& backend) {
                               const Traits traits = backend.traits();
                               py::dict values;
                               values["max_batch"] = traits.max_batch;
                               values["max_cached_tokens"] = traits.max_cached_tokens;
                               values["max_chunk"] = traits.max_chunk;
                               values["block_tokens"] = traits.block_tokens;
                               values["bytes_per_token"] = traits.bytes_per_token;
                               values["can_fork"] = traits.can_fork;
                               values["can_truncate"] = traits.can_truncate;
                               values["mixed_steps"] = traits.mixed_steps;
                               values["bitwise"] = traits.bitwise;
                               return values;
                             })
      .def("open", &Backend::Open, py::arg("max_tokens"))
      .def("length", &Backend::Length, py::arg("seq"))
      .def(
          "forward", &Forward, py::arg("chunks"), py::arg("give_up_at") = 0,
          "Logits float32 [sum of logit rows, vocabulary] of chunks (sequence, token ids, logit rows). With give_up_at "
          "the step is given up when the backend asks for the so-many-th time; then None.")
      .def(
          "reorder",
          [](Backend& backend, const std::vector<SeqId>& from, const std::vector<SeqId>& to) {
            backend.Reorder(Span<const SeqId>(from), Span<const SeqId>(to));
          },
          py::arg("source"), py::arg("target"))
      .def("copy", &Backend::Copy, py::arg("source"), py::arg("target"), py::arg("length"))
      .def("truncate", &Backend::Truncate, py::arg("seq"), py::arg("length"))
      .def("close", &Backend::Close, py::arg("seq"));
}

}  // namespace skywork_rt::bindings
