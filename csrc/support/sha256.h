#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace skywork_rt {

/// SHA-256 (FIPS 180-4) of a stream of bytes. Uses the processor's SHA extensions where it has them, which makes
/// checking a model file cost about as much as reading it.
class Sha256 {
 public:
  Sha256();
  void Update(const void* data, std::size_t size);
  /// 64 lower-case hexadecimal digits. The object is used up.
  std::string HexDigest();

 private:
  std::array<std::uint32_t, 8> state_;
  std::array<std::uint8_t, 64> block_;
  std::size_t filled_ = 0;
  std::uint64_t total_ = 0;
};

namespace internal {

/// Folds `blocks` blocks of 64 bytes into the eight words of `state`, the fastest way this processor has.
void Sha256Compress(std::uint32_t* state, const std::uint8_t* data, std::size_t blocks);
/// The same on any processor.
void Sha256CompressPortable(std::uint32_t* state, const std::uint8_t* data, std::size_t blocks);

}  // namespace internal
}  // namespace skywork_rt
