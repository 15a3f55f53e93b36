#define SKYWORK_RT_ROWS kPlainRows
#define SKYWORK_RT_ROWS_NAME "plain"
#include "sampling/row_kernels_impl.inc"
