#include "backend/native/kernels/choose_kernels.h"

#include <cstdlib>
#include <cstring>

#include "skywork_rt/error.h"
#include "support/format.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace skywork_rt::native {

#if defined(__x86_64__)
namespace {

// Clang 14 does not know the name "f16c" in __builtin_cpu_supports.
bool HasF16c() {
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}

}  // namespace
#endif

const Kernels* FindKernels(const char* name) {
  if (std::strcmp(name, "scalar") == 0) return &kScalarKernels;
#if defined(__x86_64__)
  if (std::strcmp(name, "avx2") == 0) {
    const bool has = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && HasF16c();
    return has ? &kAvx2Kernels : nullptr;
  }
  const bool has_avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (std::strcmp(name, "avx512") == 0) return has_avx512 ? &kAvx512Kernels : nullptr;
  if (std::strcmp(name, "avx512vnni") == 0) {
    return has_avx512 && __builtin_cpu_supports("avx512vnni") ? &kAvx512VnniKernels : nullptr;
  }
#endif
  return nullptr;
}

const Kernels& ChooseKernels() {
  const char* wanted = std::getenv("SKYWORK_RT_NATIVE_ISA");
  if (wanted != nullptr && *wanted != '\0') {
    const Kernels* kernels = FindKernels(wanted);
    if (kernels != nullptr) return *kernels;
    throw Error(ErrorCode::kUnsupported, StrCat("SKYWORK_RT_NATIVE_ISA is \"", wanted,
                                                "\", but this processor and build have no such kernels. Unset it, or "
                                                "use scalar, avx2, avx512 or avx512vnni."));
  }
  for (const char* name : {"avx512vnni", "avx512", "avx2"}) {
    if (const Kernels* kernels = FindKernels(name)) return *kernels;
  }
  return kScalarKernels;
}

}  // namespace skywork_rt::native
