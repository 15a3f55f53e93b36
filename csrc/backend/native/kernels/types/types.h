#pragma once

// The types of weights. A type is a struct in a header of its own, which says how its codes lie in memory and has
//
//   kName                    the name in files, options and messages
//   kScaleBytes, kMinimums   what a group of 16 rows takes in the panel's scales: nothing, 32 bytes of float16 scales,
//                            or 64 of scales and minimums
//   kCodeBytes               and in its codes, whole lines of 64 bytes
//   kIntegers                whether codes are small integers, which can be multiplied in fixed point (digits.h); then
//                            also kLeastCode, kMostCode
//   Code, Put                read and write one code, as plainly as can be: what the kernels are tested against. Put
//                            returns what Code will read: a float may have been rounded
//   Float<S, J>, kUnit       the rows' codes of input J of a line, as floats that kUnit times are the codes; 1 where no
//                            scales could take it in
//   Group<S, Digits>         of integers: a group, unpacked by Load, multiplied by a token's record by Dot
//
// S is the Simd of an instruction set. What takes it is instantiated where the kernels are compiled and has internal
// linkage there, as Simd has; nothing else of a type may be called from them (see panel.h).

#include <type_traits>

#include "backend/native/kernels/panel.h"
#include "backend/native/kernels/types/bf16.h"
#include "backend/native/kernels/types/f32.h"
#include "backend/native/kernels/types/int4.h"
#include "backend/native/kernels/types/int8.h"

namespace skywork_rt::native {

/// A type of weights as a number: its place in WeightTypes.
enum class WeightKind : int {};

/// What is known of a type at run time.
struct WeightFacts {
  const char* name;
  std::size_t scale_bytes;  // of a group of 16 rows
  std::size_t code_bytes;
  bool minimums;
  bool integers;
  int least_code;  // of integers, else 0
  int most_code;
};

template <typename Type>
constexpr WeightFacts MakeFacts() {
  static_assert(Type::kScaleBytes == 0 || Type::kScaleBytes == (Type::kMinimums ? 64 : 32), "float16 scales, minimums");
  static_assert(!Type::kMinimums || Type::kScaleBytes != 0, "minimums go with scales");
  static_assert(!Type::kIntegers || Type::kScaleBytes != 0, "integers have scales");
  static_assert(Type::kScaleBytes != 0 || Type::kUnit == 1.0f, "a unit goes with scales");
  static_assert(Type::kCodeBytes % 64 == 0 && kGroup % (Type::kCodeBytes / 64) == 0, "lines of equally many inputs");
  WeightFacts facts{Type::kName, Type::kScaleBytes, Type::kCodeBytes, Type::kMinimums, Type::kIntegers, 0, 0};
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
using WeightTypes = TypeList<types::F32, types::Bf16, types::Int8, types::Int4>;

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
