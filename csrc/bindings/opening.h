#pragma once

#include <pybind11/pybind11.h>

namespace skywork_rt::bindings {

/// What Python asks of the core before it opens a model on a backend of its own.
void BindOpening(pybind11::module_& module);

}  // namespace skywork_rt::bindings
