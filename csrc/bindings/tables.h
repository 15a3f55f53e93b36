#pragma once

#include <pybind11/pybind11.h>

namespace skywork_rt::bindings {

/// What the core lists of itself: the reference pages are made of it, and tests hold Python's own lists equal to it.
void BindTables(pybind11::module_& module);

}  // namespace skywork_rt::bindings
