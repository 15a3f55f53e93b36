#pragma once

#include "backend/native/kernels/types/groups.h"
#include "backend/native/kernels/types/scales.h"

namespace skywork_rt::native::types {

/// A type of integer weights: how its codes lie, and how its scales. Deriving from it and giving a name makes a type.
template <typename CodesOfType, typename ScalesOfType>
struct Integers {
  using Codes = CodesOfType;
  using Scales = ScalesOfType;
  static constexpr std::size_t kScaleBytes = Scales::kBytes;
  static constexpr int kScaleGroups = Scales::kGroups;
  static constexpr int kParts = Scales::kParts;
  static constexpr std::size_t kCodeBytes = Codes::kBytes;
  static constexpr bool kMinimums = Scales::kMinimums;
  static constexpr bool kIntegers = true;
  static constexpr bool kFloatLines = false;
  static constexpr int kLeastCode = Codes::kLeast;
  static constexpr int kMostCode = Codes::kMost;

  static float Code(const std::uint8_t* codes, int k, int lane) { return Codes::Code(codes, k, lane); }
  static float Put(std::uint8_t* codes, int k, int lane, float code) { return Codes::Put(codes, k, lane, code); }

  template <typename S, int Digits>
  using Group = GroupOf<S, Digits, Codes, kParts>;
};

/// What types without scales have instead.
struct NoScales {
  static constexpr int kGroups = 1;
  static constexpr std::size_t kBytes = 0;
  static constexpr int kParts = 1;
  static constexpr bool kMinimums = false;
  template <typename Random>
  static void Fill(std::uint8_t*, int, float, float, Random&) {}
};

/// A type of weights that are numbers themselves.
template <std::size_t Bytes>
struct Floats {
  using Scales = NoScales;
  static constexpr std::size_t kScaleBytes = 0;
  static constexpr int kScaleGroups = 1;
  static constexpr int kParts = 1;
  static constexpr std::size_t kCodeBytes = Bytes;
  static constexpr bool kMinimums = false;
  static constexpr bool kIntegers = false;
  static constexpr bool kFloatLines = true;
  static constexpr float kUnit = 1.0f;
};

}  // namespace skywork_rt::native::types
