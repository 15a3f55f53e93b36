#include "bindings/opening.h"

#include <pybind11/stl.h>

#include <cstddef>
#include <string>

#include "bindings/options.h"
#include "bundle/bundle.h"
#include "engine/memory_plan.h"
#include "engine/options.h"

namespace skywork_rt::bindings {
namespace py = pybind11;
namespace {

ModelSpec ReadBundleModel(const std::string& directory) {
  const py::gil_scoped_release release;
  return Bundle::Open(directory).model();
}

/// The options that fit, and the most sequences that will be open at once.
py::tuple FitOptions(const py::dict& values, const ModelSpec& model, std::size_t weights, std::size_t work,
                     std::size_t per_token) {
  BackendMemory needs;
  needs.weights = weights;
  needs.work = work;
  needs.per_token = per_token;
  const GeneratorOptions resolved = ResolveForMemory(ReadGeneratorOptions(values), model, needs);
  return py::make_tuple(ToDict(resolved), ToBackendOptions(resolved).max_batch);
}

}  // namespace

void BindOpening(py::module_& module) {
  module.def("read_bundle_model", &ReadBundleModel, py::arg("directory"),
             "The model of a bundle, whose model.json and files' sizes are checked as when it is opened.");
  module.def(
      "fit_options", &FitOptions, py::arg("options"), py::arg("model"), py::arg("weights"), py::arg("work"),
      py::arg("bytes_per_token"),
      "(options, sequences open at once): complete, and bounded by the memory that is available beside `weights` "
      "and `work` bytes. Raises CapacityError when it does not suffice.");
}

}  // namespace skywork_rt::bindings
