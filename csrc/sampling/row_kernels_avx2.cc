#define SKYWORK_RT_ROWS kAvx2Rows
#define SKYWORK_RT_ROWS_NAME "avx2"
#include "sampling/row_kernels_impl.inc"
