#pragma once

#include <pybind11/pybind11.h>

namespace skywork_rt::bindings {

void BindHost(pybind11::module_& module);

}  // namespace skywork_rt::bindings
