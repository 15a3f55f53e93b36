#include "backend/native/simd_avx512.h"
// Simd must come first.
#include "backend/native/cpu.h"
#include "backend/native/kernels_impl.h"

namespace skywork_rt::native {

extern const Kernels kAvx512VnniKernels = MakeKernels("avx512vnni");

}  // namespace skywork_rt::native
