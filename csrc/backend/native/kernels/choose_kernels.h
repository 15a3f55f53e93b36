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

/// The kernels of the instruction set with this name, or nullptr when this build or processor has none.
const Kernels* FindKernels(const char* name);

/// The kernels of ChosenInstructionSet(), which throws Error(kUnsupported).
const Kernels& ChooseKernels();

}  // namespace skywork_rt::native
