#include "skywork_rt/error.h"

#include "support/current_error.h"
#include "support/error_codes.h"

namespace skywork_rt {
namespace {

// Made when the library is loaded, since there may be no memory for it later, and never destroyed.
const Error& g_out_of_memory =
    *new Error(ErrorCode::kCapacity, "out of memory: run fewer or shorter requests at once, or give the process more");

}  // namespace

Error::Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}

Error::~Error() = default;

const Error& OutOfMemory() noexcept {
  return g_out_of_memory;
}

const char* ErrorCodeName(ErrorCode code) noexcept {
  for (const NamedCode& named : kErrorCodes) {
    if (named.code == code) return named.name;
  }
  return "unknown";
}

}  // namespace skywork_rt
