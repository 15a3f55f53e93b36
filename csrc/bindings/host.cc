#include "bindings/host.h"

#include <pybind11/stl.h>

#include <string>

#include "support/cpu_quota.h"
#include "support/memory_limits.h"

namespace skywork_rt::bindings {
namespace py = pybind11;
namespace {

HostFolders Folders(const std::string& proc, const std::string& control_groups) {
  HostFolders folders;
  folders.proc = proc;
  folders.control_groups = control_groups;
  return folders;
}

py::dict Memory(const std::string& proc, const std::string& control_groups) {
  const MemoryLimits limits = ReadMemoryLimits(Folders(proc, control_groups));
  py::dict values;
  values["total"] = limits.total;
  values["limit"] = limits.limit;
  values["available"] = limits.available;
  return values;
}

}  // namespace

void BindHost(py::module_& module) {
  const HostFolders own;
  module.def("memory_limits", &Memory, py::arg("proc") = own.proc.string(),
             py::arg("control_groups") = own.control_groups.string(),
             "Bytes of memory as this process may use it: `total` of the machine, `limit` of its control groups or "
             "None, and what is `available` within both. Other folders than the kernel's are for tests.");
  module.def(
      "cpu_quota",
      [](const std::string& proc, const std::string& control_groups) {
        return ReadCpuQuota(Folders(proc, control_groups));
      },
      py::arg("proc") = own.proc.string(), py::arg("control_groups") = own.control_groups.string(),
      "Processors' worth of time that its control groups allow, or None.");
}

}  // namespace skywork_rt::bindings
