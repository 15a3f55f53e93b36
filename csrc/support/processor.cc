#include "support/processor.h"

#include <optional>
#include <string>

#include "skywork_rt/error.h"
#include "support/environment.h"
#include "support/format.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace skywork_rt {
namespace {

#if defined(__x86_64__)

// Asked of the processor itself, since neither Clang 14 nor GCC 12 knows the names of all features.
constexpr unsigned kF16cOfLeaf1Ecx = 1u << 29;
constexpr unsigned kShaOfLeaf7Ebx = 1u << 29;

bool HasF16c() noexcept {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & kF16cOfLeaf1Ecx) != 0;
}

bool HasSha() noexcept {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) return false;
  return (ebx & kShaOfLeaf7Ebx) != 0 && __builtin_cpu_supports("sse4.1") != 0;
}

#endif

std::string KnownNames() {
  std::string names;
  for (const InstructionSet set : kInstructionSets) {
    if (!names.empty()) names += set == kInstructionSets.back() ? " or " : ", ";
    names += InstructionSetName(set);
  }
  return names;
}

}  // namespace

const char* InstructionSetName(InstructionSet set) noexcept {
  switch (set) {
    case InstructionSet::kScalar: return "scalar";
    case InstructionSet::kAvx2: return "avx2";
    case InstructionSet::kAvx512: return "avx512";
    case InstructionSet::kAvx512Vnni: return "avx512vnni";
  }
  return "unknown";
}

bool ProcessorRuns(InstructionSet set) noexcept {
#if defined(__x86_64__)
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  switch (set) {
    case InstructionSet::kScalar: return true;
    case InstructionSet::kAvx2: return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && HasF16c();
    case InstructionSet::kAvx512: return avx512;
    case InstructionSet::kAvx512Vnni: return avx512 && __builtin_cpu_supports("avx512vnni");
  }
#endif
  return set == InstructionSet::kScalar;
}

InstructionSet ChosenInstructionSet() {
  const std::optional<std::string> wanted = environment::kInstructionSet.Value();
  InstructionSet best = InstructionSet::kScalar;
  for (const InstructionSet set : kInstructionSets) {
    if (!ProcessorRuns(set)) continue;
    if (wanted.has_value() && *wanted == InstructionSetName(set)) return set;
    best = set;
  }
  if (!wanted.has_value()) return best;
  throw Error(ErrorCode::kUnsupported,
              StrCat(environment::kInstructionSet.name, " is \"", *wanted,
                     "\", but this processor and build have no such kernels. Unset it, or use ", KnownNames(), "."));
}

bool UsesShaExtensions() noexcept {
#if defined(__x86_64__)
  return HasSha() && environment::kInstructionSet.Value() != InstructionSetName(InstructionSet::kScalar);
#else
  return false;
#endif
}

}  // namespace skywork_rt
