#pragma once

#include <pybind11/pybind11.h>

namespace skywork_rt::bindings {

/// Makes skywork_rt::Error arrive in Python as the class of skywork_rt.errors that its code stands for.
void BindErrors(pybind11::module_& module);

}  // namespace skywork_rt::bindings
