#pragma once

#include "backend/native/kernels/types/integers.h"

// The types of blocks of GGUF files (ggml's), with the codes and scales of the file: nothing is rounded, only sorted.
// Small whole numbers of six bits take a byte here. Q4_1 and Q8_0 are Int4 and Int8.

namespace skywork_rt::native::types {

struct Q4_0 : Integers<Unsigned<4>, HalfScales<8>> {
  static constexpr const char* kName = "q4_0";
};
struct Q5_0 : Integers<Unsigned<4, 1>, HalfScales<16>> {
  static constexpr const char* kName = "q5_0";
};
struct Q5_1 : Integers<Unsigned<4, 1>, HalfPairs> {
  static constexpr const char* kName = "q5_1";
};
struct Q2_K : Integers<Unsigned<2>, BlockScales<Small::kNibblePairs, 2>> {
  static constexpr const char* kName = "q2_k";
};
struct Q3_K : Integers<Unsigned<2, 1>, BlockScales<Small::kSigned, 2, 4>> {
  static constexpr const char* kName = "q3_k";
};
struct Q4_K : Integers<Unsigned<4>, BlockScales<Small::kBytePairs, 1>> {
  static constexpr const char* kName = "q4_k";
};
struct Q5_K : Integers<Unsigned<4, 1>, BlockScales<Small::kBytePairs, 1>> {
  static constexpr const char* kName = "q5_k";
};
struct Q6_K : Integers<Unsigned<4, 2>, BlockScales<Small::kSigned, 2, 32>> {
  static constexpr const char* kName = "q6_k";
};
struct Iq4Nl : Integers<Uneven, HalfScales<>> {
  static constexpr const char* kName = "iq4_nl";
};
struct Iq4Xs : Integers<Uneven, BlockScales<Small::kSigned, 1>> {
  static constexpr const char* kName = "iq4_xs";
};

}  // namespace skywork_rt::native::types
