#include "backend/native/simd_avx2.h"
// Simd must come first.
#include "backend/native/cpu.h"
#include "backend/native/kernels_impl.h"

namespace skywork_rt::native {

extern const Kernels kAvx2Kernels = MakeKernels("avx2");

}  // namespace skywork_rt::native
