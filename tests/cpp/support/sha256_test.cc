#include "support/sha256.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

namespace skywork_rt {
namespace {

std::string Digest(const std::string& text) {
  Sha256 hash;
  hash.Update(text.data(), text.size());
  return hash.HexDigest();
}

// The examples of NIST's Secure Hash Standard validation.
TEST(Sha256, GivesThePublishedDigests) {
  EXPECT_EQ(Digest(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Digest("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Digest("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(Digest(std::string(1000000, 'a')), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, DoesNotDependOnHowTheBytesArrive) {
  std::string text;
  for (int i = 0; i < 300; ++i) text.push_back(static_cast<char>(i * 7));
  for (std::size_t length : {0U, 1U, 55U, 56U, 57U, 63U, 64U, 65U, 119U, 120U, 128U, 300U}) {
    const std::string part = text.substr(0, length);
    for (std::size_t step : {1U, 3U, 63U, 64U, 65U}) {
      Sha256 hash;
      for (std::size_t at = 0; at < length; at += step) hash.Update(part.data() + at, std::min(step, length - at));
      EXPECT_EQ(hash.HexDigest(), Digest(part)) << length << " bytes by " << step;
    }
  }
}

TEST(Sha256, IsTheSameOnEveryProcessor) {
  std::vector<std::uint8_t> data(64 * 9);
  std::mt19937 random(7);
  for (auto& byte : data) byte = static_cast<std::uint8_t>(random());
  std::array<std::uint32_t, 8> fast{1, 2, 3, 4, 5, 6, 7, 8};
  std::array<std::uint32_t, 8> portable = fast;
  internal::Sha256Compress(fast.data(), data.data(), 9);
  internal::Sha256CompressPortable(portable.data(), data.data(), 9);
  EXPECT_EQ(fast, portable);
}

}  // namespace
}  // namespace skywork_rt
