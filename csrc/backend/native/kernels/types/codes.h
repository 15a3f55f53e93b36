#pragma once

#include "backend/native/kernels/panel.h"
#include "backend/native/kernels/unroll.h"

// How the codes of a group of integer weights lie. Codes of a panel's group are 32 inputs of 16 rows; a quad is four
// consecutive inputs of all rows, a dword a row with a byte an input, which is what the products of bytes read. A
// struct here has
//
//   kBytes            what a group takes, whole lines of 64 bytes
//   kLeast, kMost     the codes that there are
//   kSigned           whether a quad's bytes are signed
//   Code, Put         read and write one code plainly; Put returns what Code will read
//   Quad<S, Q>        quad Q of a group

namespace skywork_rt::native::types {

/// A part of the bits of each code, `Bits` of them. A line of 64 bytes holds 8 / Bits quads: byte b of a dword has
/// input b of the line's first quad in its lowest bits, then of the second, and so on.
template <int Bits>
struct Plane {
  static constexpr int kQuads = 8 / Bits;  // of a line
  static constexpr std::size_t kBytes = 64 * (kGroup / 4 / kQuads);
  static constexpr int kMask = (1 << Bits) - 1;

  static constexpr int Place(int k, int lane) { return 64 * (k / 4 / kQuads) + 4 * lane + k % 4; }
  static constexpr int Shift(int k) { return Bits * (k / 4 % kQuads); }
  static int Code(const std::uint8_t* plane, int k, int lane) { return plane[Place(k, lane)] >> Shift(k) & kMask; }
  static void Put(std::uint8_t* plane, int k, int lane, int code) {
    std::uint8_t& all = plane[Place(k, lane)];
    all = static_cast<std::uint8_t>((all & ~(kMask << Shift(k))) | (code & kMask) << Shift(k));
  }
  /// The bits of quad Q, moved up by `Up`.
  template <typename S, int Q, int Up>
  static SKYWORK_RT_INLINE typename S::Raw Quad(const std::uint8_t* plane) {
    return S::template Bits<Shift(4 * Q) - Up, kMask << Up>(S::LoadRaw(plane + Place(4 * Q, 0)));
  }
};

/// Codes from 0 on: a plane of their low bits and, where there are more, one of the high ones after it.
template <int LowBits, int HighBits = 0>
struct Unsigned {
  static constexpr std::size_t kBytes = Plane<LowBits>::kBytes + (HighBits == 0      ? 0
                                                                  : Plane < HighBits ? HighBits
                                                                                     : 1 > ::kBytes);
  static constexpr int kLeast = 0;
  static constexpr int kMost = (1 << (LowBits + HighBits)) - 1;
  static constexpr bool kSigned = false;
  using Low = Plane<LowBits>;
  using High = Plane<HighBits ? HighBits : 1>;

  static float Code(const std::uint8_t* codes, int k, int lane) {
    int code = Low::Code(codes, k, lane);
    if constexpr (HighBits != 0) code |= High::Code(codes + Low::kBytes, k, lane) << LowBits;
    return static_cast<float>(code);
  }
  static float Put(std::uint8_t* codes, int k, int lane, float code) {
    Low::Put(codes, k, lane, static_cast<int>(code));
    if constexpr (HighBits != 0) High::Put(codes + Low::kBytes, k, lane, static_cast<int>(code) >> LowBits);
    return code;
  }
  template <typename S, int Q>
  static SKYWORK_RT_INLINE typename S::Raw Quad(const std::uint8_t* codes) {
    const typename S::Raw low = Low::template Quad<S, Q, 0>(codes);
    if constexpr (HighBits == 0) return low;
    if constexpr (HighBits != 0) return S::Or(low, High::template Quad<S, Q, LowBits>(codes + Low::kBytes));
  }
};

/// Bytes: [8][16] dwords.
struct SignedBytes {
  static constexpr std::size_t kBytes = 512;
  static constexpr int kLeast = -128;
  static constexpr int kMost = 127;
  static constexpr bool kSigned = true;

  static float Code(const std::uint8_t* codes, int k, int lane) {
    return static_cast<float>(static_cast<std::int8_t>(codes[Place(k, lane)]));
  }
  static float Put(std::uint8_t* codes, int k, int lane, float code) {
    codes[Place(k, lane)] = static_cast<std::uint8_t>(static_cast<int>(code));
    return code;
  }
  template <typename S, int Q>
  static SKYWORK_RT_INLINE typename S::Raw Quad(const std::uint8_t* codes) {
    return S::LoadRaw(codes + 64 * Q);
  }

 private:
  static constexpr int Place(int k, int lane) { return 64 * (k / 4) + 4 * lane + k % 4; }
};

/// Four bits that stand for one of sixteen unevenly spaced numbers, ggml's kvalues_iq4nl.
struct Uneven {
  static constexpr std::int8_t kNumbers[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                               1,    13,   25,  38,  53,  69,  89,  113};
  static constexpr std::size_t kBytes = Plane<4>::kBytes;
  static constexpr int kLeast = -127;
  static constexpr int kMost = 113;
  static constexpr bool kSigned = true;

  static float Code(const std::uint8_t* codes, int k, int lane) {
    return static_cast<float>(kNumbers[Plane<4>::Code(codes, k, lane)]);
  }
  static float Put(std::uint8_t* codes, int k, int lane, float code) {
    int nearest = 0;
    for (int i = 1; i < 16; ++i) {
      if (Distance(i, code) < Distance(nearest, code)) nearest = i;
    }
    Plane<4>::Put(codes, k, lane, nearest);
    return static_cast<float>(kNumbers[nearest]);
  }
  template <typename S, int Q>
  static SKYWORK_RT_INLINE typename S::Raw Quad(const std::uint8_t* codes) {
    return S::Lookup(Plane<4>::Quad<S, Q, 0>(codes), kNumbers);
  }

 private:
  static float Distance(int i, float code) {
    const float apart = static_cast<float>(kNumbers[i]) - code;
    return apart < 0 ? -apart : apart;
  }
};

}  // namespace skywork_rt::native::types
