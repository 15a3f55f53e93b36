#include "bindings/options.h"

#include <pybind11/stl.h>

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "bindings/option_reader.h"
#include "support/field_check.h"

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

// What a field is in Python, for the reference page and for the test that compares the classes written there.
const char* TypeName(const bool&) {
  return "bool";
}
const char* TypeName(const int&) {
  return "int";
}
const char* TypeName(const std::size_t&) {
  return "int";
}
const char* TypeName(const float&) {
  return "float";
}
const char* TypeName(const std::string&) {
  return "str";
}
const char* TypeName(const std::optional<bool>&) {
  return "bool | None";
}
const char* TypeName(const std::optional<int>&) {
  return "int | None";
}
const char* TypeName(const std::optional<std::uint64_t>&) {
  return "int | None";
}
const char* TypeName(const std::vector<std::int32_t>&) {
  return "Sequence[int] | None";
}
const char* TypeName(const std::vector<std::vector<std::int32_t>>&) {
  return "Sequence[Sequence[int]] | None";
}
const char* TypeName(const std::vector<std::string>&) {
  return "str | Sequence[str] | None";
}
const char* TypeName(const std::vector<std::pair<std::int32_t, float>>&) {
  return "Mapping[int, float] | None";
}

template <typename Field>
constexpr bool kReal = std::is_floating_point_v<Field>;

/// The table of a struct: one dict a field, in order.
template <typename Struct>
py::list Table() {
  py::list rows;
  const Struct defaults;
  Struct::VisitFields(defaults, [&](const char* name, const auto& field, const Range& range) {
    py::dict row;
    row["name"] = name;
    row["type"] = TypeName(field);
    row["default"] = field;
    row["range"] = DescribeRange(range, kReal<std::decay_t<decltype(field)>>);
    rows.append(row);
  });
  return rows;
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
  module.def("sampling_fields", &Table<SamplingParams>,
             "Every field of SamplingParams, in order: a dict of name, type, default and range.");
  module.def("generator_fields", &Table<GeneratorOptions>, "The same of the options of Generator.");
}

}  // namespace skywork_rt::bindings
