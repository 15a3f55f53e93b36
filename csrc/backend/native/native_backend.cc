#include "backend/native/native_backend.h"

#include "skywork_rt/error.h"

namespace skywork_rt {

std::unique_ptr<Backend> MakeNativeBackend(const Bundle&, const BackendOptions&) {
  throw Error(ErrorCode::kUnsupported, "The backend \"native\" is not in this build. Use backend=\"lite\".");
}

}  // namespace skywork_rt
