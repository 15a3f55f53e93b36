#pragma once

#include "backend/native/kernels/digits.h"
#include "backend/native/kernels/panel.h"
#include "backend/native/kernels/types/codes.h"
#include "backend/native/kernels/unroll.h"

// A group of integer weights, unpacked by Load and multiplied by a token's record by Dot<Part>, whose result is one of
// the sums over the group's kParts parts: exact in integers, and rounded to float once. Which group a type of codes has
// on an instruction set is chosen by GroupOf.

namespace skywork_rt::native::types {

template <typename S, typename Codes, int Q = 0>
SKYWORK_RT_INLINE void LoadQuads(const std::uint8_t* codes, typename S::Raw (&quads)[kGroup / 4]) {
  quads[Q] = Codes::template Quad<S, Q>(codes);
  if constexpr (Q + 1 < kGroup / 4) LoadQuads<S, Codes, Q + 1>(codes, quads);
}

/// Three sums over digits that lie 8 bits apart, as one float. They do not fit two floats' 24 bits as they are, so the
/// middle one is split. Each is at most 2^19: high is at most 2^23 + 2^15, low at most 2^19 + 2^12, both exact.
template <typename S>
SKYWORK_RT_INLINE typename S::F Joined(const typename S::I (&sums)[3]) {
  const auto high = S::AddInt(S::template ShiftLeft<4>(sums[2]), S::template ShiftRight<4>(sums[1]));
  const auto low = S::AddInt(S::template ShiftLeft<8>(S::LowFour(sums[1])), sums[0]);
  return S::Fma(S::ToFloat(high), S::Set1(4096.0f), S::ToFloat(low));
}

/// The same where each is below 2^16.
template <typename S>
SKYWORK_RT_INLINE typename S::F JoinedSmall(const typename S::I (&sums)[3]) {
  const auto low = S::AddInt(S::template ShiftLeft<8>(sums[1]), sums[0]);  // below 2^24
  return S::Fma(S::ToFloat(sums[2]), S::Set1(65536.0f), S::ToFloat(low));
}

/// Unsigned codes of up to six bits, times digits of 8 bits.
template <typename S, int Digits, typename Codes, int Parts>
struct SmallGroup {
  using Record = ByteRecord<Digits>;
  static constexpr int kQuads = kGroup / 4 / Parts;  // of a part
  /// Quads whose products a sum of 16 bits holds, where S has no better: each is two products of a code and 128.
  static constexpr int kFit = S::kWideSums || Codes::kMost <= 15 ? kQuads : Codes::kMost <= 31 ? 4 : 2;
  static constexpr bool kSmallSums = Codes::kMost * 128 * kGroup / Parts < 65536;
  typename S::Raw quads[kGroup / 4];

  SKYWORK_RT_INLINE void Load(const std::uint8_t* codes) { LoadQuads<S, Codes>(codes, quads); }

  template <int Part>
  SKYWORK_RT_INLINE typename S::F Dot(const Record& x) const {
    typename S::I sums[Digits];
    SKYWORK_RT_UNROLL
    for (int d = 0; d < Digits; ++d) sums[d] = Sum<Part>(x.codes[d]);
    if constexpr (Digits == 1) {
      return S::ToFloat(sums[0]);
    } else if constexpr (kSmallSums) {
      return JoinedSmall<S>(sums);
    } else {
      return Joined<S>(sums);
    }
  }

 private:
  template <int Part>
  SKYWORK_RT_INLINE typename S::I Sum(const std::int32_t* x) const {
    constexpr int kFirst = Part * kQuads;
    typename S::I total = Run<kFirst>(x);
    SKYWORK_RT_UNROLL
    for (int q = kFirst + kFit; q < kFirst + kQuads; q += kFit) {
      typename S::NibbleSum sum = S::NoNibbles();
      SKYWORK_RT_UNROLL
      for (int i = q; i < q + kFit; ++i) sum = S::AddNibbles(sum, quads[i], x[i]);
      total = S::AddInt(total, S::Total(sum));
    }
    return total;
  }
  template <int First>
  SKYWORK_RT_INLINE typename S::I Run(const std::int32_t* x) const {
    typename S::NibbleSum sum = S::NoNibbles();
    SKYWORK_RT_UNROLL
    for (int i = First; i < First + kFit; ++i) sum = S::AddNibbles(sum, quads[i], x[i]);
    return S::Total(sum);
  }
};

/// Signed bytes where the processor multiplies bytes, one of them unsigned: weights are taken as 128 more, which the
/// record's offsets make good. The sum of 32 products with a digit is then at most 2^19.
template <typename S, int Digits, typename Codes>
struct ByteGroup {
  using Record = ByteRecord<Digits>;
  typename S::Raw quads[kGroup / 4];

  SKYWORK_RT_INLINE void Load(const std::uint8_t* codes) {
    LoadQuads<S, Codes>(codes, quads);
    SKYWORK_RT_UNROLL
    for (auto& quad : quads) quad = S::AddBias(quad);
  }
  template <int>
  SKYWORK_RT_INLINE typename S::F Dot(const Record& x) const {
    typename S::I sums[Digits];
    SKYWORK_RT_UNROLL
    for (int d = 0; d < Digits; ++d) sums[d] = S::SetInt(x.offsets[d]);
    SKYWORK_RT_UNROLL
    for (int q = 0; q < kGroup / 4; ++q) {
      SKYWORK_RT_UNROLL
      for (int d = 0; d < Digits; ++d) sums[d] = S::Dot4(sums[d], quads[q], x.codes[d][q]);
    }
    if constexpr (Digits == 1) {
      return S::ToFloat(sums[0]);
    } else {
      return Joined<S>(sums);
    }
  }
};

/// The same, for activations rounded to int8, by halves of 16 bits.
template <typename S, typename Codes>
struct HalfGroup {
  using Record = HalfRecord;
  typename S::Raw even[kGroup / 4];
  typename S::Raw odd[kGroup / 4];

  SKYWORK_RT_INLINE void Load(const std::uint8_t* codes) {
    typename S::Raw quads[kGroup / 4];
    LoadQuads<S, Codes>(codes, quads);
    SKYWORK_RT_UNROLL
    for (int q = 0; q < kGroup / 4; ++q) {
      even[q] = S::EvenBytes(quads[q]);
      odd[q] = S::OddBytes(quads[q]);
    }
  }
  template <int>
  SKYWORK_RT_INLINE typename S::F Dot(const Record& x) const {
    typename S::I sum = S::SetInt(0);
    SKYWORK_RT_UNROLL
    for (int q = 0; q < kGroup / 4; ++q) {
      sum = S::AddHalves(sum, even[q], x.codes[2 * q]);
      sum = S::AddHalves(sum, odd[q], x.codes[2 * q + 1]);
    }
    return S::ToFloat(sum);
  }
};

template <typename S, int Digits, typename Codes, int Parts, bool Signed, bool Bytes>
struct GroupChoice {
  static_assert(Codes::kMost <= 63, "sums of 16 bits hold no larger codes");
  using Group = SmallGroup<S, Digits, Codes, Parts>;
};
template <typename S, int Digits, typename Codes, int Parts>
struct GroupChoice<S, Digits, Codes, Parts, true, true> {
  static_assert(Parts == 1, "offsets are of whole groups");
  using Group = ByteGroup<S, Digits, Codes>;
};
template <typename S, int Digits, typename Codes, int Parts>
struct GroupChoice<S, Digits, Codes, Parts, true, false> {
  static_assert(Parts == 1, "a group is one sum here");
  using Group = HalfGroup<S, Codes>;
};

template <typename S, int Digits, typename Codes, int Parts>
using GroupOf = typename GroupChoice<S, Digits, Codes, Parts, Codes::kSigned, S::kInt8Form == InputForm::kBytes>::Group;

}  // namespace skywork_rt::native::types
