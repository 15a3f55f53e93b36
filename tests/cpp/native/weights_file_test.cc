#include "backend/native/weights/weights_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "backend/native/weights/model_weights.h"
#include "native/tiny_model.h"
#include "skywork_rt/error.h"

namespace skywork_rt::native {
namespace {

using testing::HasSubstr;

constexpr const char* kMetadata = R"("__metadata__":{"format":"skywork_rt.weights","version":"1"})";

std::vector<std::uint8_t> FileOf(std::string header, std::size_t data_bytes, bool pad = true) {
  if (pad) header.resize(RoundUp(8 + header.size(), 64) - 8, ' ');
  std::vector<std::uint8_t> file;
  for (int i = 0; i < 8; ++i) file.push_back(static_cast<std::uint8_t>(header.size() >> (8 * i) & 0xFF));
  file.insert(file.end(), header.begin(), header.end());
  file.resize(file.size() + data_bytes);
  return file;
}

std::string Tensor(const std::string& name, const std::string& shape, const std::string& offsets,
                   const std::string& dtype = "U8") {
  return "\"" + name + R"(":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}

std::string Header(const std::string& tensors) {
  return "{" + std::string(kMetadata) + (tensors.empty() ? "" : ",") + tensors + "}";
}

struct Attack {
  const char* what;  // the message must contain it
  std::vector<std::uint8_t> file;
};

TEST(WeightsFile, ReadsTensorsInAnyOrderOfNames) {
  const auto file = FileOf(Header(Tensor("b", "[1,64]", "[0,64]") + "," + Tensor("a", "[2]", "[64,72]", "F32")), 72);
  const auto tensors = ParseWeights(file, "w");
  ASSERT_EQ(tensors.size(), 2u);
  EXPECT_EQ(tensors.at("a").data - tensors.at("b").data, 64);
  EXPECT_EQ(tensors.at("a").bytes, 8u);
}

TEST(WeightsFile, NamesWhatIsWrongBeforeItAllocates) {
  std::vector<std::uint8_t> huge = FileOf(Header(""), 0);
  huge[7] = 0x7F;
  std::vector<std::uint8_t> longer = FileOf(Header(""), 0);
  longer[0] = static_cast<std::uint8_t>(longer[0] + 64);
  const std::vector<Attack> attacks = {
      {"it has 0 bytes", {}},
      {"it has 7 bytes", std::vector<std::uint8_t>(7)},
      {"its header claims 9151314442816847", huge},
      {"bytes, and", longer},
      {"not a JSON object", FileOf("", 0)},
      {"not a JSON object", FileOf("[1]", 0)},
      {"not a JSON object", FileOf("{\"a\":", 0)},
      {"nests deeper", FileOf("{\"a\":" + std::string(100000, '[') + std::string(100000, ']') + "}", 0)},
      {"no __metadata__", FileOf("{}", 0)},
      {"no text \"version\"", FileOf(R"({"__metadata__":{"format":"skywork_rt.weights"}})", 0)},
      {"its format is \"pt\"", FileOf(R"({"__metadata__":{"format":"pt","version":"1"}})", 0)},
      {"no multiple of 64", FileOf(Header("") + " ", 0, false)},
      {"names \"a\" twice", FileOf(Header(Tensor("a", "[64]", "[0,64]") + "," + Tensor("a", "[64]", "[0,64]")), 64)},
      {"lacks a dtype", FileOf(Header(R"("a":{})"), 0)},
      {"not described", FileOf(Header(R"("a":3)"), 0)},
      {"dtype I64", FileOf(Header(Tensor("a", "[8]", "[0,64]", "I64")), 64)},
      {"no whole number", FileOf(Header(Tensor("a", "[-1]", "[0,64]")), 64)},
      {"no whole number", FileOf(Header(Tensor("a", "[64]", "[0,6.4e1]")), 64)},
      {"overflows", FileOf(Header(Tensor("a", "[4294967296,4294967296,4294967296]", "[0,64]")), 64)},
      {"5 dimensions", FileOf(Header(Tensor("a", "[1,1,1,1,64]", "[0,64]")), 64)},
      {"claims bytes 0 to 128 of 64", FileOf(Header(Tensor("a", "[128]", "[0,128]")), 64)},
      {"claims bytes 64 to 0", FileOf(Header(Tensor("a", "[0]", "[64,0]")), 64)},
      {"its shape needs 65", FileOf(Header(Tensor("a", "[65]", "[0,64]")), 64)},
      {"no multiple of 64", FileOf(Header(Tensor("a", "[4]", "[0,4]") + "," + Tensor("b", "[60]", "[4,64]")), 64)},
      {"the one before it ends",
       FileOf(Header(Tensor("a", "[64]", "[0,64]") + "," + Tensor("b", "[64]", "[128,192]")), 192)},
      {"the one before it ends",
       FileOf(Header(Tensor("a", "[128]", "[0,128]") + "," + Tensor("b", "[64]", "[64,128]")), 128)},
      {"64 bytes follow", FileOf(Header(Tensor("a", "[64]", "[0,64]")), 128)},
  };
  for (const Attack& attack : attacks) {
    try {
      ParseWeights(attack.file, "evil.safetensors");
      ADD_FAILURE() << "accepted: " << attack.what;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCorruptBundle);
      EXPECT_THAT(error.what(), HasSubstr(attack.what));
      EXPECT_THAT(error.what(), HasSubstr("evil.safetensors"));
    }
  }
}

TEST(WeightsFile, RefusesANewerLayoutByItsNumber) {
  try {
    ParseWeights(FileOf(R"({"__metadata__":{"format":"skywork_rt.weights","version":"2"}})", 0), "w");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
    EXPECT_THAT(error.what(), HasSubstr("version 2"));
  }
}

class DamagedModel : public testing::Test {
 protected:
  DamagedModel() : model_(MakeTinyModel({}, directory_.path())) {
    std::ifstream in(model_.file, std::ios::binary);
    bytes_.assign(std::istreambuf_iterator<char>(in), {});
  }

  void Open() { ModelWeights(model_.spec, WeightsFile(model_.file, FileContents::Map(model_.file))); }
  void Rewrite(const std::string& bytes) { std::ofstream(model_.file, std::ios::binary | std::ios::trunc) << bytes; }

  void ExpectCorrupt(const std::string& part) {
    try {
      Open();
      ADD_FAILURE() << "accepted, wanted: " << part;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCorruptBundle);
      EXPECT_THAT(error.what(), HasSubstr(part));
    }
  }

  TemporaryDirectory directory_;
  TinyModel model_;
  std::string bytes_;
};

TEST_F(DamagedModel, OpensWhenWhole) {
  EXPECT_NO_THROW(Open());
}

TEST_F(DamagedModel, IsRefusedWhereverItIsCut) {
  for (std::size_t size = 0; size < bytes_.size(); size += 997) {
    Rewrite(bytes_.substr(0, size));
    EXPECT_THROW(Open(), Error) << size;
  }
}

TEST_F(DamagedModel, NamesATensorThatIsMissingUnknownOrOfAnotherShape) {
  model_.spec.layers = 3;
  ExpectCorrupt("it has no layers.2.input_norm");
  model_.spec.layers = 1;
  ExpectCorrupt("layers.1.");
  model_.spec.layers = 2;
  model_.spec.vocab_size = 500;
  ExpectCorrupt("embed_tokens.int8 is U8 [9, ");
  model_.spec.vocab_size = 131;
  model_.spec.tied_embeddings = true;
  ExpectCorrupt("lm_head.int8 that this model does not");
}

TEST_F(DamagedModel, AnyFlippedByteOfTheHeaderIsReadOrRefusedButNeverCrashes) {
  std::mt19937 random(23);
  std::size_t refused = 0;
  for (int trial = 0; trial < 400; ++trial) {
    std::string damaged = bytes_.substr(0, 4096);
    const std::size_t at = random() % 2048;
    damaged[at] = static_cast<char>(random() % 256);
    Rewrite(damaged + bytes_.substr(4096));
    try {
      Open();
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 300u);
}

TEST(FileContents, MapAndCopyGiveTheSameBytesAndNameAMissingFile) {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "data";
  std::ofstream(path, std::ios::binary) << std::string(5000, 'x') << "end";
  const FileContents mapped = FileContents::Map(path);
  const FileContents copied = FileContents::Copy(path);
  ASSERT_EQ(mapped.size(), 5003u);
  EXPECT_TRUE(std::equal(mapped.data(), mapped.data() + 5003, copied.data()));
  EXPECT_TRUE(FileContents::BetterCopied(path));
  EXPECT_THROW(FileContents::BetterCopied(directory.path() / "none"), Error);
  EXPECT_THROW(FileContents::Map(directory.path() / "none"), Error);
  EXPECT_THROW(FileContents::Copy(directory.path()), Error);
}

TEST(FileContents, SeveralThreadsCopyEveryByteToItsPlace) {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "data";
  std::string bytes(std::size_t{21} << 20, '\0');  // no whole number of parts
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 2654435761u >> 13);
  bytes += "end";
  std::ofstream(path, std::ios::binary) << bytes;
  const FileContents copied = FileContents::Copy(path, 3);
  ASSERT_EQ(copied.size(), bytes.size());
  EXPECT_EQ(std::memcmp(copied.data(), bytes.data(), bytes.size()), 0);
}

TEST(FileContents, AFileThatIsTooLargeToCopyIsMapped) {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "data";
  std::ofstream(path, std::ios::binary) << "sparse";
  std::filesystem::resize_file(path, std::uintmax_t{3} << 30);
  EXPECT_FALSE(FileContents::BetterCopied(path));
  EXPECT_EQ(FileContents::Map(path).size(), std::size_t{3} << 30);
}

}  // namespace
}  // namespace skywork_rt::native
