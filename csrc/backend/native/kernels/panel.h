#pragma once

#include <cstddef>
#include <cstdint>

// What all packed matrices share. No standard containers here, nor in what this folder's headers include: the kernels'
// translation units include them, and an inline function of the library that they compiled for a newer instruction set
// could be the copy that the linker keeps.

namespace skywork_rt::native {

constexpr int kPanelRows = 16;  // rows (outputs) of a panel: one a lane of the widest vector
constexpr int kGroup = 32;      // consecutive inputs of a row that share a scale

constexpr std::size_t RoundUp(std::size_t n, std::size_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

}  // namespace skywork_rt::native
