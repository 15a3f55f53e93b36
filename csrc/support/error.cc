#include "skywork_rt/error.h"

#include "support/error_codes.h"

namespace skywork_rt {

Error::Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}

Error::~Error() = default;

const char* ErrorCodeName(ErrorCode code) noexcept {
  for (const NamedCode& named : kErrorCodes) {
    if (named.code == code) return named.name;
  }
  return "unknown";
}

}  // namespace skywork_rt
