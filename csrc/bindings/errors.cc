#include "bindings/errors.h"

#include <exception>

#include "skywork_rt/error.h"

namespace skywork_rt::bindings {
namespace py = pybind11;
namespace {

void Translate(std::exception_ptr pointer) {
  try {
    if (pointer) std::rethrow_exception(pointer);
  } catch (const Error& error) {
    const py::object type = py::module_::import("skywork_rt.errors").attr("class_of")(ErrorCodeName(error.code()));
    // A path in a message may hold bytes that are no UTF-8.
    const auto text = py::reinterpret_steal<py::object>(PyUnicode_DecodeUTF8(
        error.what(), static_cast<Py_ssize_t>(std::char_traits<char>::length(error.what())), "replace"));
    PyErr_SetObject(type.ptr(), text.ptr());
  }
}

}  // namespace

void BindErrors(py::module_& /*module*/) {
  py::register_local_exception_translator([](std::exception_ptr pointer) { Translate(pointer); });
}

}  // namespace skywork_rt::bindings
