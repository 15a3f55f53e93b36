#pragma once

#include <array>

namespace skywork_rt {

/// The instruction sets that parts of the core are compiled for. Each has all that the ones before it have.
enum class InstructionSet : int {
  kScalar = 0,      // what every processor of the architecture runs
  kAvx2 = 1,        // and FMA, F16C
  kAvx512 = 2,      // F, BW, DQ, VL
  kAvx512Vnni = 3,  // and VNNI
};

constexpr std::array<InstructionSet, 4> kInstructionSets = {InstructionSet::kScalar, InstructionSet::kAvx2,
                                                            InstructionSet::kAvx512, InstructionSet::kAvx512Vnni};

/// "scalar", "avx2", "avx512" or "avx512vnni".
const char* InstructionSetName(InstructionSet set) noexcept;

/// Whether this processor runs code that was compiled for `set`.
bool ProcessorRuns(InstructionSet set) noexcept;

/// The best set that this processor runs, or the one that the environment variable SKYWORK_RT_NATIVE_ISA names: the one
/// place where kernels of every kind are chosen. Throws Error(kUnsupported) when it names something else, or a set that
/// the processor lacks.
InstructionSet ChosenInstructionSet();

/// Whether to use the SHA extensions: the processor has them and the variable does not ask for scalar code.
bool UsesShaExtensions() noexcept;

}  // namespace skywork_rt
