#pragma once

#include <pybind11/pybind11.h>

#include "skywork_rt/generator.h"
#include "skywork_rt/sampling.h"

namespace skywork_rt::bindings {

/// Both read a dict whose keys are the fields' names; absent fields keep their defaults, unknown ones are refused.
SamplingParams ReadSamplingParams(const pybind11::dict& values);
GeneratorOptions ReadGeneratorOptions(const pybind11::dict& values);

/// The inverse: every field by its name.
pybind11::dict ToDict(const GeneratorOptions& options);

void BindOptions(pybind11::module_& module);

}  // namespace skywork_rt::bindings
