#pragma once

#include <string>

#include "skywork_rt/generator_options.h"
#include "support/format.h"

namespace skywork_rt {

/// Why a backend that computes on the processor cannot do what the options say of devices; empty when it can.
inline std::string WhyNotOnProcessor(const std::string& backend, const GeneratorOptions& options) {
  if (options.device != "auto" && options.device != "cpu") {
    return StrCat("The backend \"", backend, "\" runs on device \"cpu\", not on \"", options.device,
                  "\"; \"ascend\" is for backend=\"ascend\".");
  }
  const GeneratorOptions defaults;
  const char* option = options.device_id != defaults.device_id         ? "device_id"
                       : options.rank_id != defaults.rank_id           ? "rank_id"
                       : options.ge_config != defaults.ge_config       ? "ge_config"
                       : options.ge_precision != defaults.ge_precision ? "ge_precision"
                                                                       : nullptr;
  if (option == nullptr) return "";
  return StrCat("The backend \"", backend, "\" has no option ", option, ", which is for backend=\"ascend\".");
}

}  // namespace skywork_rt
