#include "backend/native/simd_scalar.h"
// Simd must come first.
#include "backend/native/cpu.h"
#include "backend/native/kernels_impl.h"

namespace skywork_rt::native {

extern const Kernels kScalarKernels = MakeKernels("scalar");

}  // namespace skywork_rt::native
