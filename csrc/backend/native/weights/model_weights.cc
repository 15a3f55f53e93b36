#include "backend/native/weights/model_weights.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "backend/native/weights/weight_kinds.h"
#include "skywork_rt/error.h"
#include "support/format.h"

namespace skywork_rt::native {
namespace {

std::string ShapeText(const std::vector<std::uint64_t>& shape) {
  std::string text;
  for (const std::uint64_t extent : shape) text += StrCat(text.empty() ? "" : ", ", extent);
  return "[" + text + "]";
}

/// Takes tensors out of a file by name and remembers which were taken.
class Shelf {
 public:
  explicit Shelf(const WeightsFile& file) : file_(file) {}

  PackedMatrix Matrix(const std::string& name, int rows, int cols) {
    for (const WeightKind kind : AllKinds()) {
      const std::string full = StrCat(name, ".", FactsOf(kind).name);
      const StoredTensor* stored = Find(full);
      if (stored == nullptr) continue;
      PackedMatrix matrix = PackedMatrix::Shape(kind, rows, cols);
      Check(full, *stored, "U8", {static_cast<std::uint64_t>(matrix.panels), matrix.panel_bytes});
      matrix.data = stored->data;
      return matrix;
    }
    Throw("it has no ", name, " (", NamesOf(AllKinds(), "."), ")");
  }

  PaddedVector Vector(const std::string& name, int size) {
    const StoredTensor* stored = Find(name);
    if (stored == nullptr) Throw("it has no ", name);
    Check(name, *stored, "F32", {static_cast<std::uint64_t>(size)});
    PaddedVector padded(RoundUp(static_cast<std::size_t>(size), 16), 0.0f);
    std::memcpy(padded.data(), stored->data, stored->bytes);
    return padded;
  }

  void RequireAllTaken() const {
    for (const auto& [name, stored] : file_.tensors()) {
      if (taken_.count(name) == 0) Throw("it has a tensor ", name, " that this model does not");
    }
  }

 private:
  const StoredTensor* Find(const std::string& name) {
    const auto found = file_.tensors().find(name);
    if (found == file_.tensors().end()) return nullptr;
    taken_.insert(name);
    return &found->second;
  }

  void Check(const std::string& name, const StoredTensor& stored, const char* dtype,
             const std::vector<std::uint64_t>& shape) const {
    if (stored.dtype == dtype && stored.shape == shape) return;
    Throw("the tensor ", name, " is ", stored.dtype, " ", ShapeText(stored.shape), "; model.json asks for ", dtype, " ",
          ShapeText(shape));
  }

  template <typename... Args>
  [[noreturn]] void Throw(const Args&... what) const {
    throw Error(ErrorCode::kCorruptBundle, StrCat("The weights file ", file_.name(),
                                                  " does not fit its model: ", what..., ". Export the bundle again."));
  }

  const WeightsFile& file_;
  std::set<std::string> taken_;
};

LayerWeights TakeLayer(Shelf& shelf, const ModelSpec& spec, int index) {
  const std::string prefix = StrCat("layers.", index, ".");
  const int q_width = spec.heads * spec.head_dim;
  const int kv_width = spec.kv_heads * spec.head_dim;
  LayerWeights layer;
  layer.input_norm = shelf.Vector(prefix + "input_norm", spec.hidden_size);
  layer.q = shelf.Matrix(prefix + "q_proj", q_width, spec.hidden_size);
  layer.k = shelf.Matrix(prefix + "k_proj", kv_width, spec.hidden_size);
  layer.v = shelf.Matrix(prefix + "v_proj", kv_width, spec.hidden_size);
  if (spec.qkv_bias) {
    layer.q_bias = shelf.Vector(prefix + "q_bias", q_width);
    layer.k_bias = shelf.Vector(prefix + "k_bias", kv_width);
    layer.v_bias = shelf.Vector(prefix + "v_bias", kv_width);
  }
  if (spec.qk_norm) {
    layer.q_norm = shelf.Vector(prefix + "q_norm", spec.head_dim);
    layer.k_norm = shelf.Vector(prefix + "k_norm", spec.head_dim);
  }
  const std::vector<int>& unturned = spec.layers_without_rope;
  layer.rope = !std::binary_search(unturned.begin(), unturned.end(), index);
  layer.o = shelf.Matrix(prefix + "o_proj", spec.hidden_size, q_width);
  if (spec.output_bias) layer.o_bias = shelf.Vector(prefix + "o_bias", spec.hidden_size);
  layer.post_attention_norm = shelf.Vector(prefix + "post_attention_norm", spec.hidden_size);
  layer.gate = shelf.Matrix(prefix + "gate_proj", spec.intermediate_size, spec.hidden_size);
  layer.up = shelf.Matrix(prefix + "up_proj", spec.intermediate_size, spec.hidden_size);
  layer.down = shelf.Matrix(prefix + "down_proj", spec.hidden_size, spec.intermediate_size);
  if (spec.mlp_bias) {
    layer.gate_bias = shelf.Vector(prefix + "gate_bias", spec.intermediate_size);
    layer.up_bias = shelf.Vector(prefix + "up_bias", spec.intermediate_size);
    layer.down_bias = shelf.Vector(prefix + "down_bias", spec.hidden_size);
  }
  return layer;
}

}  // namespace

std::vector<const PackedMatrix*> ModelWeights::Multiplied() const {
  std::vector<const PackedMatrix*> all = {&head};
  for (const LayerWeights& layer : layers) {
    all.insert(all.end(), {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down});
  }
  return all;
}

ModelWeights::ModelWeights(const ModelSpec& spec, const WeightsFile& file) {
  Shelf shelf(file);
  embedding = shelf.Matrix("embed_tokens", spec.vocab_size, spec.hidden_size);
  // Not reserved ahead: a model.json that claims many layers fails at the first that is not there.
  for (int i = 0; i < spec.layers; ++i) layers.push_back(TakeLayer(shelf, spec, i));
  norm = shelf.Vector("norm", spec.hidden_size);
  head = spec.tied_embeddings ? embedding : shelf.Matrix("lm_head", spec.vocab_size, spec.hidden_size);
  shelf.RequireAllTaken();
}

}  // namespace skywork_rt::native
