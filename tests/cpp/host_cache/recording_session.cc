#include "host_cache/recording_session.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <unordered_map>
#include <utility>

#include "bundle/rope.h"
#include "skywork_rt/error.h"

namespace skywork_rt::host_cache {
namespace {

constexpr std::int64_t kModulus = 1 << 20;  // sums stay exact in float32

std::int64_t KeyOf(TokenId token, int layer, int head, int d) {
  return (token * 31 + layer * 7 + head * 3 + d) % 97;
}
std::int64_t ValueOf(TokenId token, int layer, int head, int d) {
  return (token * 17 + layer * 5 + head * 2 + d) % 89;
}

/// What one cached element adds to the sum that makes the logits.
std::int64_t Term(std::int64_t key, std::int64_t value, std::size_t position, int layer, int head, int d) {
  return (key * 13 + value * 7) * static_cast<std::int64_t>(position + 1) * (layer + head * 2 + d + 1) % kModulus;
}

float LogitOf(std::int64_t sum, int token) {
  return static_cast<float>((sum * (token + 3) + token) % kModulus);
}

class Double : public Session {
 public:
  Double(const ModelSpec& model, Recording* recording, std::vector<TensorInfo> inputs)
      : model_(model), recording_(recording), inputs_(std::move(inputs)) {
    for (int layer = 0; layer < model.layers; ++layer) {
      for (const char* part : {"value_", "key_"}) {  // not the contract's order: inputs go by name
        inputs_.push_back({part + std::to_string(layer), ElementType::kFloat32, {}});
      }
    }
    for (std::size_t i = 0; i < inputs_.size(); ++i) by_name_[inputs_[i].name] = i;
    bound_.resize(inputs_.size());
  }

  const std::vector<TensorInfo>& inputs() const override { return inputs_; }

  void Resize(const std::vector<Shape>& shapes) override {
    ASSERT_EQ(shapes.size(), inputs_.size());
    for (std::size_t i = 0; i < shapes.size(); ++i) inputs_[i].shape = shapes[i];
    bound_.assign(inputs_.size(), nullptr);
    ++recording_->resizes;
  }

  void Bind(std::size_t input, const void* data, std::size_t bytes) override {
    std::size_t floats = 1;
    for (const std::int64_t dimension : inputs_.at(input).shape) floats *= static_cast<std::size_t>(dimension);
    ASSERT_EQ(bytes, floats * 4) << inputs_[input].name;
    bound_.at(input) = data;
  }

  void Run() override {
    for (std::size_t i = 0; i < bound_.size(); ++i) ASSERT_NE(bound_[i], nullptr) << inputs_[i].name << " is not bound";
    const int run = recording_->full_runs + recording_->incremental_runs;
    if (run == recording_->fail_run) {
      Count();
      throw Error(ErrorCode::kBackend, "the double was told to fail");
    }
    recording_->caches.push_back(inputs_[by_name_.at("key_0")].shape);
    Compute();
    Count();
    if (run == recording_->poison_run) outputs_.at(1).at(0) = std::numeric_limits<float>::quiet_NaN();
  }

  Span<const float> Output(std::size_t index) override { return outputs_.at(index); }

 protected:
  virtual void Compute() = 0;
  virtual void Count() = 0;

  const Shape& shape(const std::string& name) const { return inputs_[by_name_.at(name)].shape; }
  const float* floats(const std::string& name) const { return static_cast<const float*>(bound_[by_name_.at(name)]); }
  const std::int32_t* ints(const std::string& name) const {
    return static_cast<const std::int32_t*>(bound_[by_name_.at(name)]);
  }

  /// The sum over the visible positions of `row`, and how many there are; a masked element must be finite.
  std::int64_t CachedSum(std::size_t row, std::size_t* visible) const {
    const auto positions = static_cast<std::size_t>(shape("key_0")[2]);
    const float* mask = floats("cache_mask") + row * positions;
    std::int64_t sum = 0;
    *visible = 0;
    for (std::size_t p = 0; p < positions; ++p) *visible += mask[p] == 0.0f ? 1 : 0;
    for (int layer = 0; layer < model_.layers; ++layer) {
      const float* keys = floats("key_" + std::to_string(layer));
      const float* values = floats("value_" + std::to_string(layer));
      for (int head = 0; head < model_.kv_heads; ++head) {
        for (std::size_t p = 0; p < positions; ++p) {
          for (int d = 0; d < model_.head_dim; ++d) {
            const std::size_t at = ((row * model_.kv_heads + head) * positions + p) * model_.head_dim + d;
            EXPECT_TRUE(std::isfinite(keys[at]) && std::isfinite(values[at]));
            if (mask[p] != 0.0f) continue;
            sum += Term(std::lround(keys[at]), std::lround(values[at]), p, layer, head, d);
          }
        }
      }
    }
    return sum;
  }

  /// The rotary inputs of new token `index` must be those of `position`.
  void CheckRotary(std::size_t index, std::size_t position) const {
    const auto dim = static_cast<std::size_t>(model_.head_dim), half = dim / 2;
    std::vector<float> cos(half), sin(half);
    RotaryAt(model_.rope, position, cos, sin);
    for (std::size_t i = 0; i < half; ++i) {
      ASSERT_EQ(floats("cos")[index * dim + i], cos[i]) << "position " << position;
      ASSERT_EQ(floats("cos")[index * dim + half + i], cos[i]);
      ASSERT_EQ(floats("sin")[index * dim + i], -sin[i]);
      ASSERT_EQ(floats("sin")[index * dim + half + i], sin[i]);
    }
  }

  ModelSpec model_;
  Recording* recording_;
  std::vector<std::vector<float>> outputs_;

 private:
  std::vector<TensorInfo> inputs_;
  std::unordered_map<std::string, std::size_t> by_name_;
  std::vector<const void*> bound_;
};

std::int64_t TokenSum(const ModelSpec& model, TokenId token, std::size_t position) {
  std::int64_t sum = 0;
  for (int layer = 0; layer < model.layers; ++layer) {
    for (int head = 0; head < model.kv_heads; ++head) {
      for (int d = 0; d < model.head_dim; ++d) {
        sum += Term(KeyOf(token, layer, head, d), ValueOf(token, layer, head, d), position, layer, head, d);
      }
    }
  }
  return sum;
}

class FullDoubleSession final : public Double {
 public:
  FullDoubleSession(const ModelSpec& model, Recording* recording)
      : Double(model, recording,
               {{"new_mask", ElementType::kFloat32, {}},
                {"tokens", ElementType::kInt32, {}},
                {"logit_rows", ElementType::kInt32, {}},
                {"cos", ElementType::kFloat32, {}},
                {"sin", ElementType::kFloat32, {}},
                {"cache_mask", ElementType::kFloat32, {}}}) {
    ++recording->full_opened;
  }

 private:
  void Count() override { ++recording_->full_runs; }

  void Compute() override {
    const auto count = static_cast<std::size_t>(shape("tokens")[1]);
    std::size_t cached = 0;
    const std::int64_t cached_sum = CachedSum(0, &cached);
    outputs_.assign(1 + 2 * static_cast<std::size_t>(model_.layers), {});
    std::vector<std::int64_t> sums(count, cached_sum);
    for (std::size_t i = 0; i < count; ++i) {
      CheckRotary(i, cached + i);
      for (std::size_t j = 0; j < count; ++j) {
        ASSERT_EQ(floats("new_mask")[i * count + j] == 0.0f, j <= i);
        if (j <= i) sums[i] += TokenSum(model_, ints("tokens")[j], cached + j);
      }
    }
    for (std::int64_t r = 0; r < shape("logit_rows")[0]; ++r) {
      for (int v = 0; v < model_.vocab_size; ++v) {
        outputs_[0].push_back(LogitOf(sums.at(static_cast<std::size_t>(ints("logit_rows")[r])), v));
      }
    }
    for (int layer = 0; layer < model_.layers; ++layer) {
      for (int head = 0; head < model_.kv_heads; ++head) {
        for (std::size_t i = 0; i < count; ++i) {
          for (int d = 0; d < model_.head_dim; ++d) {
            const TokenId token = ints("tokens")[i];
            outputs_[1 + 2 * layer].push_back(static_cast<float>(KeyOf(token, layer, head, d)));
            outputs_[2 + 2 * layer].push_back(static_cast<float>(ValueOf(token, layer, head, d)));
          }
        }
      }
    }
  }
};

class IncrementalDoubleSession final : public Double {
 public:
  IncrementalDoubleSession(const ModelSpec& model, Recording* recording)
      : Double(model, recording,
               {{"tokens", ElementType::kInt32, {}},
                {"sin", ElementType::kFloat32, {}},
                {"cos", ElementType::kFloat32, {}},
                {"cache_mask", ElementType::kFloat32, {}}}) {
    ++recording->incremental_opened;
  }

 private:
  void Count() override { ++recording_->incremental_runs; }

  void Compute() override {
    const auto rows = static_cast<std::size_t>(shape("tokens")[0]);
    recording_->batches.push_back(shape("tokens")[0]);
    outputs_.assign(1 + 2 * static_cast<std::size_t>(model_.layers), {});
    for (std::size_t row = 0; row < rows; ++row) {
      const TokenId token = ints("tokens")[row];
      std::size_t cached = 0;
      const std::int64_t before = CachedSum(row, &cached);
      const std::int64_t sum = before + TokenSum(model_, token, cached);
      CheckRotary(row, cached);
      for (int v = 0; v < model_.vocab_size; ++v) outputs_[0].push_back(LogitOf(sum, v));
      for (int layer = 0; layer < model_.layers; ++layer) {
        for (int head = 0; head < model_.kv_heads; ++head) {
          for (int d = 0; d < model_.head_dim; ++d) {
            outputs_[1 + 2 * layer].push_back(static_cast<float>(KeyOf(token, layer, head, d)));
            outputs_[2 + 2 * layer].push_back(static_cast<float>(ValueOf(token, layer, head, d)));
          }
        }
      }
    }
  }
};

class IdleSession final : public Session {
 public:
  explicit IdleSession(std::vector<TensorInfo> inputs) : inputs_(std::move(inputs)) {}
  const std::vector<TensorInfo>& inputs() const override { return inputs_; }
  void Resize(const std::vector<Shape>&) override {}
  void Bind(std::size_t, const void*, std::size_t) override {}
  void Run() override {}
  Span<const float> Output(std::size_t) override { return {}; }

 private:
  std::vector<TensorInfo> inputs_;
};

}  // namespace

ModelSpec TinySpec() {
  ModelSpec model;
  model.name = "double";
  model.layers = 2;
  model.heads = 4;
  model.kv_heads = 2;
  model.head_dim = 4;
  model.vocab_size = 101;
  model.max_length = 2048;
  model.rope.inverse_frequencies = {1.0f, 0.01f};
  return model;
}

std::vector<float> ExpectedLogits(const ModelSpec& model, const std::vector<TokenId>& tokens) {
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < tokens.size(); ++i) sum += TokenSum(model, tokens[i], i);
  std::vector<float> logits;
  for (int v = 0; v < model.vocab_size; ++v) logits.push_back(LogitOf(sum, v));
  return logits;
}

SessionFactory FullDouble(const ModelSpec& model, Recording* recording) {
  return [=] { return std::make_unique<FullDoubleSession>(model, recording); };
}

SessionFactory IncrementalDouble(const ModelSpec& model, Recording* recording) {
  return [=] { return std::make_unique<IncrementalDoubleSession>(model, recording); };
}

std::unique_ptr<Session> SessionWithInputs(std::vector<TensorInfo> inputs) {
  return std::make_unique<IdleSession>(std::move(inputs));
}

}  // namespace skywork_rt::host_cache
