#include "bindings/tables.h"

#include <pybind11/stl.h>

#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "backend/registry.h"
#include "skywork_rt/generator_options.h"
#include "skywork_rt/sampling.h"
#include "support/environment.h"
#include "support/error_codes.h"
#include "support/field_check.h"

namespace skywork_rt::bindings {
namespace py = pybind11;
namespace {

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

py::object FiniteOrNone(double bound) {
  return std::isfinite(bound) ? py::object(py::float_(bound)) : py::object(py::none());
}

/// The table of a struct: one dict a field, in order. `range` says in words what the three bounds say in numbers.
template <typename Struct>
py::list Fields() {
  py::list rows;
  const Struct defaults;
  Struct::VisitFields(defaults, [&](const char* name, const auto& field, const Range& range) {
    py::dict row;
    row["name"] = name;
    row["type"] = TypeName(field);
    row["default"] = field;
    row["range"] = DescribeRange(range, kReal<std::decay_t<decltype(field)>>);
    row["least"] = FiniteOrNone(range.least);
    row["most"] = FiniteOrNone(range.most);
    row["without_least"] = range.without_least;
    rows.append(row);
  });
  return rows;
}

py::list ErrorCodes() {
  py::list rows;
  for (const NamedCode& named : kErrorCodes) {
    rows.append(py::make_tuple(named.name, static_cast<int>(named.code)));
  }
  return rows;
}

py::list EnvironmentVariables() {
  py::list rows;
  for (const EnvironmentVariable* variable : environment::kAll) {
    rows.append(py::make_tuple(variable->name, variable->text));
  }
  return rows;
}

py::list Backends() {
  py::list rows;
  for (const BackendSummary& backend : KnownBackends()) rows.append(py::make_tuple(backend.name, backend.description));
  return rows;
}

py::list WeightTypes() {
  py::list rows;
  for (const PackedType& type : PackedTypes()) {
    py::dict row;
    row["name"] = type.name;
    row["scale_bytes"] = type.scale_bytes;
    row["scale_groups"] = type.scale_groups;
    row["code_bytes"] = type.code_bytes;
    row["integers"] = type.integers;
    rows.append(row);
  }
  return rows;
}

}  // namespace

void BindTables(py::module_& module) {
  module.def("sampling_fields", &Fields<SamplingParams>,
             "Every field of SamplingParams, in order: a dict of name, type, default, range in words, and its bounds "
             "least, most (None: none) and without_least (whether least itself is outside).");
  module.def("generator_fields", &Fields<GeneratorOptions>, "The same of the options of Generator.");
  module.def("error_codes", &ErrorCodes, "(name, number) of every error code.");
  module.def("environment_variables", &EnvironmentVariables,
             "(name, text) of what the core reads from the environment.");
  module.def("backends", &Backends, "(name, description) of every backend, in the order in which \"auto\" asks them.");
  module.def(
      "weight_types", &WeightTypes,
      "Every type of weights that the native backend computes with: a dict of name, bytes of scales and of codes "
      "that a group of 16 rows takes, and whether codes are integers, as activations=\"int8\" needs.");
}

}  // namespace skywork_rt::bindings
