#pragma once

#include <cstddef>
#include <cstdint>

#include "backend/native/kernels/kernels.h"
#include "backend/native/memory.h"

namespace skywork_rt::native {

/// A set of InputForm.
using InputForms = unsigned;

constexpr InputForms FormBit(InputForm form) {
  return 1u << static_cast<unsigned>(form);
}

/// The activations that the next product reads, packed for its matrices.
class InputBuffer {
 public:
  /// For rows of at most `widest` floats in `forms`. Throws Error kCapacity when there is no memory.
  InputBuffer(const Kernels& kernels, std::size_t widest, InputForms forms, Arithmetic arithmetic);

  /// Begins an input of `tokens` rows of `cols` floats. Returns how many consecutive rows to pack at a time (fewer at
  /// the end); different threads may pack different such batches.
  int Begin(int tokens, int cols, InputForms forms);
  /// Packs rows begin … end - 1 of `rows`, `stride` floats apart.
  void Pack(const float* rows, std::size_t stride, int begin, int end);

  const PackedInput& input() const { return input_; }

 private:
  void PackTile(const float* rows, std::size_t stride, int begin, int end);
  void Split(const float* row, int token, InputForm form, std::uint8_t* records) const;

  const Kernels& kernels_;
  const Arithmetic arithmetic_;
  AnonymousMemory memory_;
  float* floats_ = nullptr;
  float* sums_ = nullptr;
  std::uint8_t* bytes_ = nullptr;
  std::uint8_t* halves_ = nullptr;
  int cols_ = 0;
  PackedInput input_;
};

}  // namespace skywork_rt::native
