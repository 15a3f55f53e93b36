#include "backend/native/input_buffer.h"

#include <cassert>

namespace skywork_rt::native {
namespace {

// Rows of fixed point packed as one piece of work.
constexpr int kRowsAtATime = 2;

bool Has(InputForms forms, InputForm form) {
  return (forms & FormBit(form)) != 0;
}

}  // namespace

InputBuffer::InputBuffer(const Kernels& kernels, std::size_t widest, InputForms forms, Arithmetic arithmetic)
    : kernels_(kernels), arithmetic_(arithmetic) {
  assert(arithmetic != Arithmetic::kFixed24 || kernels.fixed24);
  const std::size_t groups = RoundUp(widest, kGroup) / kGroup;
  const auto size = [&](InputForm form, std::size_t group_bytes) {
    return Has(forms, form) ? RoundUp(groups * group_bytes * kMostTokens, 64) : 0;
  };
  const std::size_t floats = size(InputForm::kFloats, kGroup * sizeof(float));
  const std::size_t bytes = size(InputForm::kBytes, RecordBytes(InputForm::kBytes, arithmetic));
  const std::size_t halves = size(InputForm::kHalves, RecordBytes(InputForm::kHalves, arithmetic));
  const std::size_t sums = size(InputForm::kFloats, sizeof(float));
  memory_ = AnonymousMemory(floats + bytes + halves + sums, "the activations");
  if (floats != 0) {
    floats_ = reinterpret_cast<float*>(memory_.data());
    sums_ = reinterpret_cast<float*>(memory_.data() + floats + bytes + halves);
  }
  if (bytes != 0) bytes_ = memory_.data() + floats;
  if (halves != 0) halves_ = memory_.data() + floats + bytes;
}

int InputBuffer::Begin(int tokens, int cols, InputForms forms) {
  cols_ = cols;
  input_ = {};
  input_.tokens = tokens;
  input_.arithmetic = arithmetic_;
  if (Has(forms, InputForm::kBytes)) input_.bytes = bytes_;
  if (Has(forms, InputForm::kHalves)) input_.halves = halves_;
  if (!Has(forms, InputForm::kFloats)) return kRowsAtATime;
  input_.floats = floats_;
  input_.sums = sums_;
  return kernels_.tile;
}

void InputBuffer::Pack(const float* rows, std::size_t stride, int begin, int end) {
  if (input_.floats != nullptr) PackTile(rows, stride, begin, end);
  for (int token = begin; token < end; ++token) {
    const float* row = rows + static_cast<std::size_t>(token) * stride;
    if (input_.bytes != nullptr) Split(row, token, InputForm::kBytes, bytes_);
    if (input_.halves != nullptr) Split(row, token, InputForm::kHalves, halves_);
  }
}

void InputBuffer::PackTile(const float* rows, std::size_t stride, int begin, int end) {
  const int tokens = end - begin;
  const int width = tokens == kernels_.tile ? tokens : kernels_.tile_width(tokens);
  const std::size_t before = static_cast<std::size_t>(begin) * RoundUp(static_cast<std::size_t>(cols_), kGroup);
  kernels_.pack(rows + static_cast<std::size_t>(begin) * stride, stride, tokens, width, cols_, floats_ + before,
                sums_ + before / kGroup);
}

void InputBuffer::Split(const float* row, int token, InputForm form, std::uint8_t* records) const {
  const std::size_t before = static_cast<std::size_t>(token) * RecordBytes(form, arithmetic_);
  kernels_.split(row, cols_, form, arithmetic_, records + before, static_cast<std::size_t>(input_.tokens));
}

}  // namespace skywork_rt::native
