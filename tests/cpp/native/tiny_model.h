#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "backend/native/kernels/packed_matrix.h"
#include "backend/native/weights/weight_kinds.h"
#include "skywork_rt/model_spec.h"

namespace skywork_rt::native {

/// A directory that goes with the test.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// Memory at a multiple of 64 bytes, as the kernels want matrices.
class AlignedBytes {
 public:
  explicit AlignedBytes(std::size_t size) : storage_(size + 64) {}
  std::uint8_t* data() { return storage_.data() + (64 - reinterpret_cast<std::uintptr_t>(storage_.data()) % 64) % 64; }

 private:
  std::vector<std::uint8_t> storage_;
};

/// Every kind, and some by their names.
inline const std::vector<WeightKind> kKinds = AllKinds();
inline constexpr WeightKind kF32 = KindOf<types::F32>();
inline constexpr WeightKind kBf16 = KindOf<types::Bf16>();
inline constexpr WeightKind kInt8 = KindOf<types::Int8>();
inline constexpr WeightKind kInt4 = KindOf<types::Int4>();

/// Writes input k of row `lane` of a group's codes, as its type does, and returns the code that was written.
float PutCode(WeightKind kind, std::uint8_t* codes, int k, int lane, float code);

/// Writes row `lane` of a unit of scales: scales around `typical`, and minimums that take the code `centre` to about 0.
void FillScales(WeightKind kind, std::uint8_t* unit, int lane, float typical, float centre, std::mt19937& random);

/// Of the two halves of a group and row; 1 and 0 for types without.
struct GroupScales {
  float scale[2] = {1.0f, 1.0f};
  float minimum[2] = {};
};
GroupScales ScalesOf(WeightKind kind, const std::uint8_t* unit, int in_unit, int lane);

/// Random packed bytes of a matrix, and the float32 weights [rows, cols] that they mean, made value by value.
struct RandomMatrix {
  PackedMatrix shape;
  std::vector<std::uint8_t> bytes;
  std::vector<float> weights;
};
RandomMatrix MakeRandomMatrix(WeightKind kind, int rows, int cols, std::mt19937& random);

/// A model small enough for a test, on disk and as plain floats.
struct TinyModel {
  ModelSpec spec;
  std::map<std::string, std::vector<float>> weights;  // by canonical name, row-major
  std::filesystem::path file;                         // the weights file
};

struct TinyOptions {
  int layers = 2;
  int hidden_size = 72;
  int intermediate_size = 100;
  int heads = 6;
  int kv_heads = 3;
  int head_dim = 18;
  int vocab_size = 131;
  int max_length = 512;
  bool qkv_bias = false;
  bool output_bias = false;
  bool mlp_bias = false;
  bool qk_norm = false;
  std::vector<int> layers_without_rope;
  bool tied_embeddings = false;
  WeightKind kind = kInt8;
  WeightKind vocabulary_kind = kInt8;
  std::vector<WeightKind> kinds_in_turn;  // of the layers' matrices, instead of `kind`
};
TinyModel MakeTinyModel(const TinyOptions& options, const std::filesystem::path& directory, unsigned seed = 1);

/// The logits of every position, [tokens, vocabulary], by the textbook in double precision.
std::vector<double> ReferenceLogits(const TinyModel& model, const std::vector<TokenId>& tokens);

}  // namespace skywork_rt::native
