#pragma once

#include <string>

namespace skywork_rt::ascend {

/// Whether CANN's libraries and the driver's device are there, by looking and without loading anything but
/// libascendcl.so. Throws Error(kBackendUnavailable) that names what is missing, where it was looked for, the variables
/// that say where, and what to do. Takes milliseconds.
void RequireCann();

}  // namespace skywork_rt::ascend
