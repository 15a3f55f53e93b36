#pragma once

#include <array>
#include <cstdint>

namespace skywork_rt {

/// Philox4x32-10, the counter-based generator of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as
/// 1, 2, 3" (SC 2011): ten rounds turn a 128-bit counter under a 64-bit key into 128 random bits. It has no state, so
/// any number of any stream can be had in any order.
constexpr std::array<std::uint32_t, 4> Philox4x32(std::array<std::uint32_t, 4> counter,
                                                  std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t product0 = std::uint64_t{0xD2511F53} * counter[0];
    const std::uint64_t product1 = std::uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<std::uint32_t>(product1 >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(product1),
               static_cast<std::uint32_t>(product0 >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(product0)};
    key[0] += 0x9E3779B9;  // Weyl sequences of the golden ratio and of sqrt(3) - 1
    key[1] += 0xBB67AE85;
  }
  return counter;
}

/// The uniform number in [0, 1) that belongs to one token: the upper 53 of the first 64 bits of Philox4x32-10 with the
/// seed as key (low word first) and the counter (position low, position high, sample, 0). Fixed for ever: changing it
/// changes every seeded result.
constexpr double UniformAt(std::uint64_t seed, std::uint32_t sample, std::uint64_t position) {
  const std::array<std::uint32_t, 4> bits =
      Philox4x32({static_cast<std::uint32_t>(position), static_cast<std::uint32_t>(position >> 32), sample, 0},
                 {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
  const std::uint64_t high_first = (std::uint64_t{bits[0]} << 32) | bits[1];
  return static_cast<double>(high_first >> 11) * 0x1p-53;
}

}  // namespace skywork_rt
