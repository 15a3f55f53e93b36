// The kernels, written once over sixteen lanes. A translation unit an instruction set includes a simd_*.h, which
// defines Simd, and then this. Everything has internal linkage: see the note in panel.h.
//
// All is compiled with -ffp-contract=off, so an operation is fused where it says Fma and nowhere else.

#include "backend/native/kernels/kernels_activations.h"
#include "backend/native/kernels/kernels_attention.h"
#include "backend/native/kernels/kernels_common.h"
#include "backend/native/kernels/kernels_digits.h"
#include "backend/native/kernels/kernels_matmul.h"

namespace skywork_rt::native {
namespace {

constexpr Kernels MakeKernels(const char* name) {
  return {name,
          Simd::kTile,
          TileWidth,
          Matmul,
          Simd::kExact,
          Simd::kHasFixed24,
          Form,
          Pack,
          Split,
          RmsNorm,
          Rotate,
          {StoreKey<float>, StoreKey<std::uint16_t>},
          {StoreValue<float>, StoreValue<std::uint16_t>},
          {Attend<float>, Attend<std::uint16_t>},
          Merge,
          FinishAttention};
}

}  // namespace
}  // namespace skywork_rt::native
