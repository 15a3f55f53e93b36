#pragma once

// The types of weights. A type is a struct with
//
//   kName                       the name in files, options and messages
//   Scales, kScaleBytes,        how its scales lie (scales.h): what those of kScaleGroups groups of 16 rows take in the
//   kScaleGroups, kParts,       panel's scales (nothing for floats), scales of a group, and whether there are minimums
//   kMinimums
//   kCodeBytes                  what a group of 16 rows takes in the panel's codes, whole lines of 64 bytes
//   kIntegers                   whether codes are small integers, which can be multiplied in fixed point (digits.h);
//                               then also Codes, how they lie (codes.h), kLeastCode, kMostCode, and
//   Group<S, Digits>            a group, unpacked by Load, multiplied by a token's record by Dot (groups.h)
//   Code, Put                   read and write one code, as plainly as can be: what the kernels are tested against. Put
//                               returns what Code will read: a float may have been rounded
//   kFloatLines                 whether a line of codes has whole inputs and these become floats quickly; then also
//   Float<S, J>, kUnit          the rows' codes of input J of a line, as floats that kUnit times are the codes; 1 where
//                               no scales could take it in
//
// Most are a combination of what codes.h and scales.h have: see gguf.h. S is the Simd of an instruction set. What takes
// it is instantiated where the kernels are compiled and has internal linkage there, as Simd has; nothing else of a type
// may be called from them (see panel.h).

#include <type_traits>

#include "backend/native/kernels/panel.h"
#include "backend/native/kernels/types/bf16.h"
#include "backend/native/kernels/types/f16.h"
#include "backend/native/kernels/types/f32.h"
#include "backend/native/kernels/types/gguf.h"
#include "backend/native/kernels/types/int4.h"
#include "backend/native/kernels/types/int8.h"

namespace skywork_rt::native {

/// A type of weights as a number: its place in WeightTypes.
enum class WeightKind : int {};

/// What is known of a type at run time.
struct WeightFacts {
  const char* name;
  std::size_t scale_bytes;  // of 16 rows of scale_groups groups
  int scale_groups;
  std::size_t code_bytes;  // of 16 rows of a group
  bool integers;
  int parts;  // scales of a group and row
  bool minimums;
  int least_code;  // of integers, else 0
  int most_code;
};

template <typename Type>
constexpr WeightFacts MakeFacts() {
  static_assert(!Type::kMinimums || Type::kScaleBytes != 0, "minimums go with scales");
  static_assert(!Type::kIntegers || Type::kScaleBytes != 0, "integers have scales");
  static_assert(Type::kCodeBytes % 64 == 0, "whole lines");
  WeightFacts facts{Type::kName,
                    Type::kScaleBytes,
                    Type::kScaleGroups,
                    Type::kCodeBytes,
                    Type::kIntegers,
                    Type::kParts,
                    Type::kMinimums,
                    0,
                    0};
  if constexpr (Type::kIntegers) {
    facts.least_code = Type::kLeastCode;
    facts.most_code = Type::kMostCode;
  }
  return facts;
}

template <typename... Types>
struct TypeList {
  static constexpr int kSize = sizeof...(Types);
  static constexpr WeightFacts kFacts[] = {MakeFacts<Types>()...};
};

/// Every type, in the order in which messages name them.
using WeightTypes =
    TypeList<types::F32, types::F16, types::Bf16, types::Int8, types::Int4, types::Q4_0, types::Q5_0, types::Q5_1,
             types::Q2_K, types::Q3_K, types::Q4_K, types::Q5_K, types::Q6_K, types::Iq4Nl, types::Iq4Xs>;

template <typename Type, typename... Types>
constexpr WeightKind KindOf(TypeList<Types...>) {
  constexpr bool kSame[] = {std::is_same_v<Type, Types>...};
  int kind = 0;
  while (!kSame[kind]) ++kind;
  return static_cast<WeightKind>(kind);
}
template <typename Type>
constexpr WeightKind KindOf() {
  return KindOf<Type>(WeightTypes{});
}

constexpr const WeightFacts& FactsOf(WeightKind kind) {
  return WeightTypes::kFacts[static_cast<int>(kind)];
}

/// What visit(type) returns, `type` being an object of the kind's type.
template <typename Visit, typename First, typename... Rest>
constexpr auto WithType(WeightKind kind, const Visit& visit, TypeList<First, Rest...>) {
  if constexpr (sizeof...(Rest) != 0) {
    if (kind != WeightKind{}) {
      return WithType(static_cast<WeightKind>(static_cast<int>(kind) - 1), visit, TypeList<Rest...>{});
    }
  }
  return visit(First{});
}
template <typename Visit>
constexpr auto WithType(WeightKind kind, const Visit& visit) {
  return WithType(kind, visit, WeightTypes{});
}

}  // namespace skywork_rt::native
