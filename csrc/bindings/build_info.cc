#include "bindings/build_info.h"

namespace skywork_rt::bindings {
namespace py = pybind11;
namespace {

py::dict BuildInfo() {
  py::dict info;
  info["version"] = SKYWORK_RT_VERSION;
  info["compiler"] = SKYWORK_RT_COMPILER;
  info["build_type"] = SKYWORK_RT_BUILD_TYPE;
  info["cplusplus"] = static_cast<long>(__cplusplus);
  info["sanitizers"] = SKYWORK_RT_SANITIZERS;
  info["lite_plugin"] = SKYWORK_RT_HAS_LITE != 0;
  return info;
}

}  // namespace

void BindBuildInfo(py::module_& module) {
  module.attr("__version__") = SKYWORK_RT_VERSION;
  module.def("build_info", &BuildInfo, "How this module was built: version, compiler, build type, what is in it.");
}

}  // namespace skywork_rt::bindings
