#pragma once

#include "backend/native/kernels/kernels.h"

namespace skywork_rt::native {

// Each is defined in its own translation unit; call one only where the processor has its instructions.
extern const Kernels kScalarKernels;
#if defined(__x86_64__)
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;
extern const Kernels kAvx512VnniKernels;  // the same, and int8 and int4 weights in fixed point: digits.h
#endif

/// The kernels with this name ("scalar", "avx2", "avx512", "avx512vnni"), or nullptr when this build or processor has
/// none.
const Kernels* FindKernels(const char* name);

/// The best kernels of this processor, or those that the environment variable SKYWORK_RT_NATIVE_ISA names. Throws
/// Error kUnsupported when the processor lacks them.
const Kernels& ChooseKernels();

}  // namespace skywork_rt::native
