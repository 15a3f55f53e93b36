#include "native/tiny_model.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace skywork_rt::native {
namespace {

/// Random codes of a type: all integers alike, or normal floats of this deviation.
class RandomCodes {
 public:
  RandomCodes(const WeightFacts& facts, float deviation) : facts_(facts), deviation_(deviation) {}

  float Centre() const { return 0.5f * static_cast<float>(facts_.least_code + facts_.most_code); }
  float Spread() const { return static_cast<float>(Count()) / std::sqrt(12.0f); }
  float Next(std::mt19937& random) const {
    if (facts_.integers) return static_cast<float>(facts_.least_code + static_cast<int>(random() % Count()));
    return std::normal_distribution<float>(0.0f, deviation_)(random);
  }

 private:
  unsigned Count() const { return static_cast<unsigned>(facts_.most_code - facts_.least_code + 1); }

  const WeightFacts& facts_;
  float deviation_;
};

/// Collects tensors into a safetensors file.
class FileBuilder {
 public:
  void Add(const std::string& name, const char* dtype, const std::vector<std::size_t>& shape, const void* data,
           std::size_t size) {
    header_[name] = {{"dtype", dtype}, {"shape", shape}, {"data_offsets", {data_.size(), data_.size() + size}}};
    const auto* begin = static_cast<const char*>(data);
    data_.insert(data_.end(), begin, begin + size);
  }

  void Write(const std::filesystem::path& path) {
    header_["__metadata__"] = {{"format", "skywork_rt.weights"}, {"version", "1"}};
    std::string text = header_.dump();
    text.resize(RoundUp(8 + text.size(), 64) - 8, ' ');
    std::ofstream out(path, std::ios::binary);
    for (int i = 0; i < 8; ++i) out.put(static_cast<char>(text.size() >> (8 * i) & 0xFF));
    out << text;
    out.write(data_.data(), static_cast<std::streamsize>(data_.size()));
    if (!out.flush()) throw std::runtime_error("cannot write " + path.string());
  }

 private:
  nlohmann::json header_ = nlohmann::json::object();
  std::vector<char> data_;
};

/// y [rows] = w [rows, cols] x.
std::vector<double> Times(const std::vector<float>& w, const std::vector<double>& x) {
  std::vector<double> y(w.size() / x.size());
  for (std::size_t r = 0; r < y.size(); ++r) {
    for (std::size_t c = 0; c < x.size(); ++c) y[r] += static_cast<double>(w[r * x.size() + c]) * x[c];
  }
  return y;
}

std::vector<double> Norm(const std::vector<double>& x, const std::vector<float>& weight, double eps) {
  double squares = 0;
  for (const double v : x) squares += v * v;
  const double scale = 1.0 / std::sqrt(squares / static_cast<double>(x.size()) + eps);
  std::vector<double> y(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) y[i] = x[i] * scale * static_cast<double>(weight[i]);
  return y;
}

void Turn(double* head, int dim, std::size_t position, const RopeSpec& rope) {
  for (int i = 0; i < dim / 2; ++i) {
    const float angle = static_cast<float>(position) * rope.inverse_frequencies[static_cast<std::size_t>(i)];
    const double c = std::cos(static_cast<double>(angle));
    const double s = std::sin(static_cast<double>(angle));
    const double a = head[i];
    const double b = head[i + dim / 2];
    head[i] = a * c - b * s;
    head[i + dim / 2] = b * c + a * s;
  }
}

void NormHeads(std::vector<double>& x, const std::vector<float>& weight, double eps) {
  const auto dim = static_cast<std::ptrdiff_t>(weight.size());
  for (auto head = x.begin(); head != x.end(); head += dim) {
    const std::vector<double> normed = Norm({head, head + dim}, weight, eps);
    std::copy(normed.begin(), normed.end(), head);
  }
}

void AddInPlace(std::vector<double>& x, const std::vector<double>& y) {
  for (std::size_t i = 0; i < x.size(); ++i) x[i] += y[i];
}

void AddBias(std::vector<double>& x, const std::vector<float>& bias) {
  for (std::size_t i = 0; i < x.size(); ++i) x[i] += static_cast<double>(bias[i]);
}

/// One head of one query over all earlier keys and values.
void AttendHead(const double* query, const std::vector<std::vector<double>>& keys,
                const std::vector<std::vector<double>>& values, int offset, int dim, double* out) {
  std::vector<double> weight(keys.size());
  double most = -1e300;
  for (std::size_t p = 0; p < keys.size(); ++p) {
    for (int d = 0; d < dim; ++d) weight[p] += query[d] * keys[p][static_cast<std::size_t>(offset + d)];
    weight[p] /= std::sqrt(static_cast<double>(dim));
    most = std::max(most, weight[p]);
  }
  double sum = 0;
  for (double& w : weight) sum += w = std::exp(w - most);
  for (int d = 0; d < dim; ++d) {
    for (std::size_t p = 0; p < keys.size(); ++p) {
      out[d] += weight[p] / sum * values[p][static_cast<std::size_t>(offset + d)];
    }
  }
}

}  // namespace

TemporaryDirectory::TemporaryDirectory() {
  std::string pattern = (std::filesystem::temp_directory_path() / "skywork_rt_XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
  path_ = pattern;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

float PutCode(WeightKind kind, std::uint8_t* codes, int k, int lane, float code) {
  return WithType(kind, [=](auto type) { return decltype(type)::Put(codes, k, lane, code); });
}

void FillScales(WeightKind kind, std::uint8_t* unit, int lane, float typical, float centre, std::mt19937& random) {
  std::uniform_real_distribution<float> uniform(0.0f, 1.0f);
  const auto next = [&] { return uniform(random); };
  WithType(kind, [&](auto type) { decltype(type)::Scales::Fill(unit, lane, typical, centre, next); });
}

GroupScales ScalesOf(WeightKind kind, const std::uint8_t* unit, int in_unit, int lane) {
  return WithType(kind, [&](auto type) {
    using Type = decltype(type);
    GroupScales found;
    if constexpr (Type::kIntegers) {
      for (int half = 0; half < 2; ++half) {
        const int part = half * Type::kParts / 2;
        found.scale[half] = Type::Scales::Scale(unit, in_unit, part, lane);
        if (Type::kMinimums) found.minimum[half] = Type::Scales::Minimum(unit, in_unit, part, lane);
      }
    }
    return found;
  });
}

RandomMatrix MakeRandomMatrix(WeightKind kind, int rows, int cols, std::mt19937& random) {
  const WeightFacts& facts = FactsOf(kind);
  const float deviation = 1.0f / std::sqrt(static_cast<float>(cols));
  const RandomCodes random_codes(facts, deviation);
  RandomMatrix m{PackedMatrix::Shape(kind, rows, cols), {}, {}};
  m.bytes.resize(m.shape.Bytes());
  m.weights.resize(static_cast<std::size_t>(rows) * static_cast<std::size_t>(cols));
  const float typical = deviation / random_codes.Spread();
  for (int row = 0; row < rows; ++row) {
    std::uint8_t* panel = m.bytes.data() + static_cast<std::size_t>(row / kPanelRows) * m.shape.panel_bytes;
    const int lane = row % kPanelRows;
    for (int g = 0; g < m.shape.groups; ++g) {
      std::uint8_t* unit = panel + static_cast<std::size_t>(g / facts.scale_groups) * facts.scale_bytes;
      const int in_unit = g % facts.scale_groups;
      if (in_unit == 0) FillScales(kind, unit, lane, typical, random_codes.Centre(), random);
      const GroupScales scales = ScalesOf(kind, unit, in_unit, lane);
      std::uint8_t* codes = panel + m.shape.scale_bytes + static_cast<std::size_t>(g) * facts.code_bytes;
      for (int k = 0; k < kGroup && g * kGroup + k < cols; ++k) {
        const int half = k / (kGroup / 2);
        float weight = PutCode(kind, codes, k, lane, random_codes.Next(random));
        weight = weight * scales.scale[half] + scales.minimum[half];
        m.weights[static_cast<std::size_t>(row) * static_cast<std::size_t>(cols) +
                  static_cast<std::size_t>(g * kGroup + k)] = weight;
      }
    }
  }
  return m;
}

TinyModel MakeTinyModel(const TinyOptions& options, const std::filesystem::path& directory, unsigned seed) {
  TinyModel model;
  ModelSpec& spec = model.spec;
  spec.name = "tiny";
  spec.architecture = "llama";
  spec.layers = options.layers;
  spec.hidden_size = options.hidden_size;
  spec.intermediate_size = options.intermediate_size;
  spec.heads = options.heads;
  spec.kv_heads = options.kv_heads;
  spec.head_dim = options.head_dim;
  spec.vocab_size = options.vocab_size;
  spec.max_length = options.max_length;
  spec.qkv_bias = options.qkv_bias;
  spec.output_bias = options.output_bias;
  spec.mlp_bias = options.mlp_bias;
  spec.qk_norm = options.qk_norm;
  spec.layers_without_rope = options.layers_without_rope;
  spec.tied_embeddings = options.tied_embeddings;
  for (int i = 0; i < options.head_dim / 2; ++i) {
    spec.rope.inverse_frequencies.push_back(
        std::pow(10000.0f, -2.0f * static_cast<float>(i) / static_cast<float>(options.head_dim)));
  }
  std::mt19937 random(seed);
  FileBuilder builder;
  std::size_t turn = 0;
  const auto matrix = [&](const std::string& name, WeightKind kind, int rows, int cols) {
    if (!options.kinds_in_turn.empty() && name.rfind("layers.", 0) == 0) {
      kind = options.kinds_in_turn[turn++ % options.kinds_in_turn.size()];
    }
    RandomMatrix m = MakeRandomMatrix(kind, rows, cols, random);
    builder.Add(name + "." + FactsOf(kind).name, "U8", {static_cast<std::size_t>(m.shape.panels), m.shape.panel_bytes},
                m.bytes.data(), m.bytes.size());
    model.weights[name] = std::move(m.weights);
  };
  const auto vector = [&](const std::string& name, int size, float centre) {
    std::normal_distribution<float> normal(centre, 0.2f);
    std::vector<float> values;
    for (int i = 0; i < size; ++i) values.push_back(normal(random));
    model.weights[name] = std::move(values);
  };
  const int q_width = options.heads * options.head_dim;
  const int kv_width = options.kv_heads * options.head_dim;
  matrix("embed_tokens", options.vocabulary_kind, options.vocab_size, options.hidden_size);
  for (int i = 0; i < options.layers; ++i) {
    const std::string prefix = "layers." + std::to_string(i) + ".";
    vector(prefix + "input_norm", options.hidden_size, 1.0f);
    matrix(prefix + "q_proj", options.kind, q_width, options.hidden_size);
    matrix(prefix + "k_proj", options.kind, kv_width, options.hidden_size);
    matrix(prefix + "v_proj", options.kind, kv_width, options.hidden_size);
    if (options.qkv_bias) {
      vector(prefix + "q_bias", q_width, 0.0f);
      vector(prefix + "k_bias", kv_width, 0.0f);
      vector(prefix + "v_bias", kv_width, 0.0f);
    }
    if (options.qk_norm) {
      vector(prefix + "q_norm", options.head_dim, 1.0f);
      vector(prefix + "k_norm", options.head_dim, 1.0f);
    }
    matrix(prefix + "o_proj", options.kind, options.hidden_size, q_width);
    if (options.output_bias) vector(prefix + "o_bias", options.hidden_size, 0.0f);
    vector(prefix + "post_attention_norm", options.hidden_size, 1.0f);
    matrix(prefix + "gate_proj", options.kind, options.intermediate_size, options.hidden_size);
    matrix(prefix + "up_proj", options.kind, options.intermediate_size, options.hidden_size);
    matrix(prefix + "down_proj", options.kind, options.hidden_size, options.intermediate_size);
    if (options.mlp_bias) {
      vector(prefix + "gate_bias", options.intermediate_size, 0.0f);
      vector(prefix + "up_bias", options.intermediate_size, 0.0f);
      vector(prefix + "down_bias", options.hidden_size, 0.0f);
    }
  }
  vector("norm", options.hidden_size, 1.0f);
  if (!options.tied_embeddings) matrix("lm_head", options.vocabulary_kind, options.vocab_size, options.hidden_size);
  for (const auto& [name, values] : model.weights) {
    const bool is_vector = name.find("norm") != std::string::npos || name.find("bias") != std::string::npos;
    if (is_vector) builder.Add(name, "F32", {values.size()}, values.data(), values.size() * sizeof(float));
  }
  model.file = directory / "weights.safetensors";
  builder.Write(model.file);
  return model;
}

std::vector<double> ReferenceLogits(const TinyModel& model, const std::vector<TokenId>& tokens) {
  const ModelSpec& spec = model.spec;
  const int dim = spec.head_dim;
  const int group = spec.heads / spec.kv_heads;
  const auto weight = [&](int layer, const char* name) -> const std::vector<float>& {
    return model.weights.at("layers." + std::to_string(layer) + "." + name);
  };
  std::vector<std::vector<std::vector<double>>> keys(static_cast<std::size_t>(spec.layers));
  std::vector<std::vector<std::vector<double>>> values(static_cast<std::size_t>(spec.layers));
  std::vector<double> logits;
  const std::vector<float>& embeddings = model.weights.at("embed_tokens");
  for (std::size_t position = 0; position < tokens.size(); ++position) {
    const auto begin = embeddings.begin() + static_cast<std::ptrdiff_t>(tokens[position]) * spec.hidden_size;
    std::vector<double> x(begin, begin + spec.hidden_size);
    for (int i = 0; i < spec.layers; ++i) {
      const auto at = static_cast<std::size_t>(i);
      std::vector<double> h = Norm(x, weight(i, "input_norm"), spec.rms_norm_eps);
      std::vector<double> q = Times(weight(i, "q_proj"), h);
      std::vector<double> k = Times(weight(i, "k_proj"), h);
      std::vector<double> v = Times(weight(i, "v_proj"), h);
      if (spec.qkv_bias) {
        AddBias(q, weight(i, "q_bias"));
        AddBias(k, weight(i, "k_bias"));
        AddBias(v, weight(i, "v_bias"));
      }
      if (spec.qk_norm) {
        NormHeads(q, weight(i, "q_norm"), spec.rms_norm_eps);
        NormHeads(k, weight(i, "k_norm"), spec.rms_norm_eps);
      }
      const std::vector<int>& unturned = spec.layers_without_rope;
      if (std::find(unturned.begin(), unturned.end(), i) == unturned.end()) {
        for (int head = 0; head < spec.heads; ++head) Turn(q.data() + head * dim, dim, position, spec.rope);
        for (int head = 0; head < spec.kv_heads; ++head) Turn(k.data() + head * dim, dim, position, spec.rope);
      }
      keys[at].push_back(k);
      values[at].push_back(v);
      std::vector<double> attended(q.size());
      for (int head = 0; head < spec.heads; ++head) {
        AttendHead(q.data() + head * dim, keys[at], values[at], head / group * dim, dim, attended.data() + head * dim);
      }
      AddInPlace(x, Times(weight(i, "o_proj"), attended));
      if (spec.output_bias) AddBias(x, weight(i, "o_bias"));
      h = Norm(x, weight(i, "post_attention_norm"), spec.rms_norm_eps);
      std::vector<double> gate = Times(weight(i, "gate_proj"), h);
      std::vector<double> up = Times(weight(i, "up_proj"), h);
      if (spec.mlp_bias) {
        AddBias(gate, weight(i, "gate_bias"));
        AddBias(up, weight(i, "up_bias"));
        AddBias(x, weight(i, "down_bias"));
      }
      for (std::size_t j = 0; j < gate.size(); ++j) gate[j] = gate[j] / (1.0 + std::exp(-gate[j])) * up[j];
      AddInPlace(x, Times(weight(i, "down_proj"), gate));
    }
    const std::vector<double> h = Norm(x, model.weights.at("norm"), spec.rms_norm_eps);
    const std::vector<double> row = Times(spec.tied_embeddings ? embeddings : model.weights.at("lm_head"), h);
    logits.insert(logits.end(), row.begin(), row.end());
  }
  return logits;
}

}  // namespace skywork_rt::native
