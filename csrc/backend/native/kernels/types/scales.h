#pragma once

#include "backend/native/half.h"
#include "backend/native/kernels/panel.h"
#include "backend/native/kernels/unroll.h"

// How the scales of integer weights lie, w = scale * code + minimum. The scales of 1 or 8 consecutive groups of a
// panel's 16 rows are a unit; the 32 inputs of a group have one scale a row, or two, for its halves. A struct here has
//
//   kGroups, kBytes     groups of a unit, and what it takes
//   kParts              scales of a group
//   kMinimums           whether there are minimums other than 0
//   Scale, Minimum      of one row, plainly; `group` is that in the unit
//   Read<S>             those of all rows
//   Fill                (for tests) writes a unit's bytes for one row out of random numbers, scales around `typical`,
//                       and minimums so that the code `centre` becomes about 0
//
// Minimums of codes that are centred at Zero are not stored: they are -Zero * scale, which is exact.

namespace skywork_rt::native::types {

inline float HalfAt(const std::uint8_t* halves, int lane) {
  return HalfToFloat(static_cast<std::uint16_t>(halves[2 * lane] | halves[2 * lane + 1] << 8));
}
inline void PutHalfAt(std::uint8_t* halves, int lane, float value) {
  const std::uint16_t half = FloatToHalf(value);
  halves[2 * lane] = static_cast<std::uint8_t>(half & 0xFF);
  halves[2 * lane + 1] = static_cast<std::uint8_t>(half >> 8);
}

template <typename S>
SKYWORK_RT_INLINE typename S::F LoadHalves(const std::uint8_t* halves) {
  return S::LoadHalf(reinterpret_cast<const std::uint16_t*>(halves));
}

/// A float16 scale a row.
template <int Zero = 0>
struct HalfScales {
  static constexpr int kGroups = 1;
  static constexpr std::size_t kBytes = 32;
  static constexpr int kParts = 1;
  static constexpr bool kMinimums = Zero != 0;

  static float Scale(const std::uint8_t* unit, int, int, int lane) { return HalfAt(unit, lane); }
  static float Minimum(const std::uint8_t* unit, int, int, int lane) {
    return static_cast<float>(-Zero) * HalfAt(unit, lane);
  }
  template <typename S>
  static SKYWORK_RT_INLINE void Read(const std::uint8_t* unit, int, typename S::F (&scale)[1],
                                     typename S::F (&minimum)[1]) {
    scale[0] = LoadHalves<S>(unit);
    minimum[0] = S::Mul(scale[0], S::Set1(static_cast<float>(-Zero)));
  }
  template <typename Random>
  static void Fill(std::uint8_t* unit, int lane, float typical, float, Random& random) {
    PutHalfAt(unit, lane, typical * (0.5f + random()));
  }
};

/// A float16 scale a row, then a float16 minimum a row.
struct HalfPairs {
  static constexpr int kGroups = 1;
  static constexpr std::size_t kBytes = 64;
  static constexpr int kParts = 1;
  static constexpr bool kMinimums = true;

  static float Scale(const std::uint8_t* unit, int, int, int lane) { return HalfAt(unit, lane); }
  static float Minimum(const std::uint8_t* unit, int, int, int lane) { return HalfAt(unit + 32, lane); }
  template <typename S>
  static SKYWORK_RT_INLINE void Read(const std::uint8_t* unit, int, typename S::F (&scale)[1],
                                     typename S::F (&minimum)[1]) {
    scale[0] = LoadHalves<S>(unit);
    minimum[0] = LoadHalves<S>(unit + 32);
  }
  template <typename Random>
  static void Fill(std::uint8_t* unit, int lane, float typical, float centre, Random& random) {
    PutHalfAt(unit, lane, typical * (0.5f + random()));
    PutHalfAt(unit + 32, lane, -centre * typical * (0.5f + random()));
  }
};

/// How a block of 256 inputs keeps its small whole numbers, which times the block's float16 are scales (and minimums).
enum class Small {
  kSigned,       // a signed byte a scale; the minimum is -Zero times the scale
  kBytePairs,    // a byte a scale, then a byte a minimum
  kNibblePairs,  // a byte with the scale in its low and the minimum in its high half
};

/// A block of 8 groups: a float16 a row, where minimums are stored another, then of each group, of each of its parts,
/// the small numbers of 16 rows. A stored minimum is that which is subtracted, as in ggml.
template <Small Form, int Parts, int Zero = 0>
struct BlockScales {
  static constexpr bool kStored = Form != Small::kSigned;
  static constexpr int kGroups = 8;
  static constexpr int kParts = Parts;
  static constexpr bool kMinimums = kStored || Zero != 0;
  static constexpr std::size_t kHead = kStored ? 64 : 32;
  static constexpr std::size_t kPart = Form == Small::kBytePairs ? 32 : 16;
  static constexpr std::size_t kBytes = kHead + kGroups * Parts * kPart;
  static constexpr int kLargest = Form == Small::kNibblePairs ? 15 : Form == Small::kBytePairs ? 63 : 31;

  static float Scale(const std::uint8_t* unit, int group, int part, int lane) {
    const std::uint8_t byte = At(unit, group, part)[lane];
    int small = byte;
    if constexpr (Form == Small::kSigned) small = static_cast<std::int8_t>(byte);
    if constexpr (Form == Small::kNibblePairs) small = byte & 0xF;
    return HalfAt(unit, lane) * static_cast<float>(small);
  }
  static float Minimum(const std::uint8_t* unit, int group, int part, int lane) {
    if constexpr (!kStored) return static_cast<float>(-Zero) * Scale(unit, group, part, lane);
    const std::uint8_t* at = At(unit, group, part);
    const int small = Form == Small::kNibblePairs ? at[lane] >> 4 : at[16 + lane];
    return -HalfAt(unit + 32, lane) * static_cast<float>(small);
  }
  template <typename S>
  static SKYWORK_RT_INLINE void Read(const std::uint8_t* unit, int group, typename S::F (&scale)[Parts],
                                     typename S::F (&minimum)[Parts]) {
    const typename S::F whole = LoadHalves<S>(unit);
    SKYWORK_RT_UNROLL
    for (int part = 0; part < Parts; ++part) {
      const std::uint8_t* at = At(unit, group, part);
      if constexpr (Form == Small::kSigned) {
        scale[part] = S::Mul(whole, S::SignedNumbers(at));
        minimum[part] = S::Mul(scale[part], S::Set1(static_cast<float>(-Zero)));
      } else {
        const typename S::F negative = S::Mul(LoadHalves<S>(unit + 32), S::Set1(-1.0f));
        constexpr bool kNibbles = Form == Small::kNibblePairs;
        scale[part] = S::Mul(whole, S::template Numbers < 0, kNibbles ? 0xF : 0xFF > (at));
        minimum[part] = S::Mul(negative, S::template Numbers < kNibbles ? 4 : 0, 0xFF > (kNibbles ? at : at + 16));
      }
    }
  }
  template <typename Random>
  static void Fill(std::uint8_t* unit, int lane, float typical, float centre, Random& random) {
    // Small numbers average two thirds of the largest.
    const float whole = typical / (0.67f * static_cast<float>(kLargest));
    PutHalfAt(unit, lane, whole);
    if constexpr (kStored) PutHalfAt(unit + 32, lane, centre * whole);
    for (int i = 0; i < kGroups * Parts; ++i) {
      std::uint8_t* at = unit + kHead + static_cast<std::size_t>(i) * kPart;
      const auto small = [&random] {
        return static_cast<int>(static_cast<float>(kLargest) * (0.34f + 0.66f * random()));
      };
      const int scale = small();
      const int minimum = small();
      if constexpr (Form == Small::kSigned) at[lane] = static_cast<std::uint8_t>(i % 3 == 0 ? -scale : scale);
      if constexpr (Form == Small::kNibblePairs) at[lane] = static_cast<std::uint8_t>(scale | minimum << 4);
      if constexpr (Form == Small::kBytePairs) {
        at[lane] = static_cast<std::uint8_t>(scale);
        at[16 + lane] = static_cast<std::uint8_t>(minimum);
      }
    }
  }

 private:
  static constexpr const std::uint8_t* At(const std::uint8_t* unit, int group, int part) {
    return unit + kHead + static_cast<std::size_t>(group * Parts + part) * kPart;
  }
};

}  // namespace skywork_rt::native::types
