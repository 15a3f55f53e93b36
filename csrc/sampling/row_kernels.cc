#include "sampling/row_kernels.h"

#include <array>

#include "support/processor.h"

namespace skywork_rt {

extern const RowKernels kPlainRows;
#ifdef SKYWORK_RT_ROWS_X86
extern const RowKernels kAvx2Rows;
extern const RowKernels kAvx512Rows;
#endif

namespace {

/// The version for an instruction set: the best one that needs no more.
const RowKernels* RowsOf(InstructionSet set) {
#ifdef SKYWORK_RT_ROWS_X86
  if (set >= InstructionSet::kAvx512) return &kAvx512Rows;
  if (set >= InstructionSet::kAvx2) return &kAvx2Rows;
#endif
  static_cast<void>(set);
  return &kPlainRows;
}

struct Supported {
  std::array<const RowKernels*, kInstructionSets.size() + 1> list = {};  // ended by nullptr

  Supported() {
    std::size_t count = 0;
    for (const InstructionSet set : kInstructionSets) {
      const RowKernels* rows = RowsOf(set);
      if (ProcessorRuns(set) && (count == 0 || list[count - 1] != rows)) list[count++] = rows;
    }
  }
};

}  // namespace

const RowKernels& Rows() {
  static const RowKernels* const chosen = RowsOf(ChosenInstructionSet());
  return *chosen;
}

const RowKernels* const* AllRowKernels() {
  static const Supported supported;
  return supported.list.data();
}

}  // namespace skywork_rt
