#pragma once

#include <string>

namespace skywork_rt::ascend {

/// Whether CANN's libraries load and the driver's device is there. Throws Error(kBackendUnavailable) that names what is
/// missing, where it was looked for, the variables that say where, and what to do. Takes milliseconds where they are
/// not.
void RequireCann();

}  // namespace skywork_rt::ascend
