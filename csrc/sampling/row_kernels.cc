#include "sampling/row_kernels.h"

#include <array>

namespace skywork_rt {

extern const RowKernels kPlainRows;
#ifdef SKYWORK_RT_ROWS_X86
extern const RowKernels kAvx2Rows;
extern const RowKernels kAvx512Rows;
#endif

namespace {

struct Supported {
  std::array<const RowKernels*, 4> list = {};  // ended by nullptr
  std::size_t count = 0;

  Supported() {
    list[count++] = &kPlainRows;
#ifdef SKYWORK_RT_ROWS_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2")) list[count++] = &kAvx2Rows;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl")) {
      list[count++] = &kAvx512Rows;
    }
#endif
  }
};

const Supported& SupportedRows() {
  static const Supported supported;
  return supported;
}

}  // namespace

const RowKernels& Rows() {
  return *SupportedRows().list[SupportedRows().count - 1];
}

const RowKernels* const* AllRowKernels() {
  return SupportedRows().list.data();
}

}  // namespace skywork_rt
