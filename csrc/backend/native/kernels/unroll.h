#pragma once

// Sanitizer builds leave the loops as they are: a check at every access of an unrolled kernel takes minutes to compile.
#ifdef SKYWORK_RT_ROLLED_KERNELS
#define SKYWORK_RT_INLINE inline
#define SKYWORK_RT_UNROLL
#else
#define SKYWORK_RT_INLINE inline __attribute__((always_inline))
#define SKYWORK_RT_UNROLL _Pragma("GCC unroll 32")
#endif
