#include "bindings/options.h"

#include <pybind11/stl.h>

#include <limits>

#include "bindings/option_reader.h"

namespace skywork_rt::bindings {
namespace py = pybind11;
namespace {

template <typename Struct>
Struct Read(const py::dict& values, const char* owner) {
  Struct read;
  OptionReader reader(values, owner);
  Struct::VisitFields(read, [&](const char* name, auto& field, const Range&) { reader.Read(name, &field); });
  reader.Finish();
  return read;
}

template <typename Struct>
py::dict Write(const Struct& fields) {
  py::dict values;
  Struct::VisitFields(fields, [&](const char* name, const auto& field, const Range&) { values[name] = field; });
  return values;
}

}  // namespace

SamplingParams ReadSamplingParams(const py::dict& values) {
  return Read<SamplingParams>(values, "SamplingParams");
}

GeneratorOptions ReadGeneratorOptions(const py::dict& values) {
  return Read<GeneratorOptions>(values, "Generator");
}

py::dict ToDict(const GeneratorOptions& options) {
  return Write(options);
}

void BindOptions(py::module_& module) {
  module.def(
      "validate_sampling_params",
      [](const py::dict& values, int vocab_size) { Validate(ReadSamplingParams(values), vocab_size); },
      py::arg("values"), py::arg("vocab_size") = std::numeric_limits<int>::max(),
      "Checks the fields of SamplingParams given by name; raises InvalidArgumentError that names the wrong one.");
}

}  // namespace skywork_rt::bindings
