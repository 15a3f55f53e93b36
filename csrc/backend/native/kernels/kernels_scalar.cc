#include "backend/native/kernels/simd_scalar.h"
// Simd must come first.
#include "backend/native/kernels/choose_kernels.h"
#include "backend/native/kernels/kernels_impl.h"

namespace skywork_rt::native {

extern const Kernels kScalarKernels = MakeKernels("scalar");

}  // namespace skywork_rt::native
