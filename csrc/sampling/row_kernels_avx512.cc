#define SKYWORK_RT_ROWS kAvx512Rows
#define SKYWORK_RT_ROWS_NAME "avx512"
#include "sampling/row_kernels_impl.inc"
