#include "backend/native/kernels/choose_kernels.h"

#include <cstring>

#include "support/processor.h"

namespace skywork_rt::native {
namespace {

const Kernels* KernelsOf(InstructionSet set) {
  switch (set) {
    case InstructionSet::kScalar: return &kScalarKernels;
#if defined(__x86_64__)
    case InstructionSet::kAvx2: return &kAvx2Kernels;
    case InstructionSet::kAvx512: return &kAvx512Kernels;
    case InstructionSet::kAvx512Vnni: return &kAvx512VnniKernels;
#else
    default: break;
#endif
  }
  return nullptr;
}

}  // namespace

const Kernels* FindKernels(const char* name) {
  for (const InstructionSet set : kInstructionSets) {
    if (std::strcmp(name, InstructionSetName(set)) == 0 && ProcessorRuns(set)) return KernelsOf(set);
  }
  return nullptr;
}

const Kernels& ChooseKernels() {
  return *KernelsOf(ChosenInstructionSet());
}

}  // namespace skywork_rt::native
