#include "backend/native/kernels/simd_avx512.h"
// Simd must come first.
#include "backend/native/kernels/choose_kernels.h"
#include "backend/native/kernels/kernels_impl.h"

namespace skywork_rt::native {

extern const Kernels kAvx512VnniKernels = MakeKernels("avx512vnni");

}  // namespace skywork_rt::native
