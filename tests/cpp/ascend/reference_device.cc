#include "ascend/reference_device.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <utility>

#include "bundle/model_json.h"
#include "skywork_rt/error.h"
#include "support/format.h"

namespace skywork_rt::ascend {
namespace {

using TensorInfo = GraphSession::TensorInfo;
using ElementType = GraphSession::ElementType;

/// What a position holds; nothing is 0.
std::int64_t StoredFor(TokenId token) {
  return token + 1;
}

std::uint64_t Mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15U;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31);
}

/// From what a row's valid positions hold, in their order.
std::vector<float> LogitsOf(const std::vector<std::int64_t>& held, int vocab_size) {
  std::uint64_t hash = 1;
  for (const std::int64_t stored : held) hash = Mix(hash ^ static_cast<std::uint64_t>(stored));
  std::vector<float> logits;
  for (int token = 0; token < vocab_size; ++token) {
    logits.push_back(static_cast<float>(Mix(hash + static_cast<std::uint64_t>(token)) >> 40) * 0x1p-24f);
  }
  return logits;
}

/// The Parameters that both graphs share: positions of rows, or slots.
struct Cache {
  std::vector<std::vector<std::int64_t>> rows;  // assign, indexed
  std::vector<std::int64_t> slots;              // paged
};

class ReferenceGraph final : public GraphSession {
 public:
  ReferenceGraph(bool full, const ModelSpec& model, const DeviceForm& form, std::shared_ptr<Cache> cache,
                 Recording* recording)
      : full_(full), model_(model), form_(form), cache_(std::move(cache)), recording_(recording) {
    inputs_ = {{"tokens", ElementType::kInt32, {-1, full ? -1 : 1}}, {"batch_valid_length", ElementType::kInt32, {-1}}};
    if (form.form != Form::kPaged) {
      inputs_.push_back({"batch_index", ElementType::kInt64, {-1}});
      inputs_.push_back({"zactivate_len", ElementType::kInt64, {-1}});
    } else {
      if (!full) inputs_.push_back({"block_tables", ElementType::kInt32, {-1, form.cache.table}});
      inputs_.push_back({"slot_mapping", ElementType::kInt32, {-1}});
    }
    bound_.resize(inputs_.size());
  }

  const std::vector<TensorInfo>& inputs() const override { return inputs_; }

  void Resize(const std::vector<Shape>& shapes) override {
    ASSERT_EQ(shapes.size(), inputs_.size());
    for (std::size_t i = 0; i < shapes.size(); ++i) {
      const Shape& declared = inputs_[i].shape;
      ASSERT_EQ(shapes[i].size(), declared.size()) << inputs_[i].name;
      for (std::size_t d = 0; d < declared.size(); ++d) {
        ASSERT_TRUE(declared[d] == -1 || shapes[i][d] == declared[d]) << inputs_[i].name;
      }
    }
    shapes_ = shapes;
    for (auto& bound : bound_) bound = {};
    ++recording_->resizes;
  }

  void Bind(std::size_t input, const void* data, std::size_t bytes) override {
    std::size_t elements = 1;
    for (const std::int64_t dim : shapes_.at(input)) elements *= static_cast<std::size_t>(dim);
    const std::size_t size = inputs_[input].type == ElementType::kInt64 ? 8 : 4;
    ASSERT_EQ(bytes, elements * size) << inputs_[input].name;
    bound_.at(input).assign(static_cast<const char*>(data), static_cast<const char*>(data) + bytes);
  }

  void Run() override {
    if (recording_->before_call) recording_->before_call();
    Record();
    CheckGear();
    if (::testing::Test::HasFatalFailure()) return;
    logits_.clear();
    full_ ? RunFull() : RunIncremental();
    const int number = static_cast<int>(recording_->calls.size()) - 1;
    if (number == recording_->fail_call) throw Error(ErrorCode::kBackend, "the device was told to fail");
  }

  Span<const float> Output(std::size_t index) override {
    EXPECT_EQ(index, 0u);
    return logits_;
  }

 private:
  template <typename T>
  std::vector<T> Values(const std::string& name) const {
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
      if (inputs_[i].name != name) continue;
      std::vector<T> values(bound_[i].size() / sizeof(T));
      std::memcpy(values.data(), bound_[i].data(), bound_[i].size());
      return values;
    }
    return {};
  }

  void Record() {
    RecordedCall call;
    call.full = full_;
    call.tokens_shape = shapes_.at(0);
    call.tokens = Values<std::int32_t>("tokens");
    call.valid_lengths = Values<std::int32_t>("batch_valid_length");
    call.batch_index = Values<std::int64_t>("batch_index");
    call.active_length = static_cast<std::int64_t>(Values<std::int64_t>("zactivate_len").size());
    call.slot_mapping = Values<std::int32_t>("slot_mapping");
    call.block_tables = Values<std::int32_t>("block_tables");
    recording_->calls.push_back(call);
  }

  const RecordedCall& now() const { return recording_->calls.back(); }
  std::size_t batch() const { return now().valid_lengths.size(); }

  /// Only shapes that the graph was compiled for run on the device.
  void CheckGear() const {
    const Gears& gears = full_ ? form_.full : form_.incremental;
    const auto length = static_cast<std::size_t>(full_ ? now().tokens_shape[1] : now().active_length);
    const auto gear = gears.SmallestOfBatch(static_cast<int>(batch()), length);
    ASSERT_TRUE(gear && (length == 0 || gear->length == length)) << batch() << "x" << length << " is no gear";
    ASSERT_TRUE(form_.form == Form::kPaged || static_cast<std::size_t>(now().active_length) == gear->length);
    for (const std::int32_t valid : now().valid_lengths) {
      ASSERT_GE(valid, 1) << "the last valid position is gathered";
      ASSERT_LE(static_cast<std::size_t>(valid), full_ ? length : form_.max_length);
    }
  }

  // Attention of a prompt looks at the prompt only.
  void RunFull() {
    const auto length = static_cast<std::size_t>(now().tokens_shape[1]);
    if (form_.form == Form::kAssign) {  // the batch's cache is what was computed, and zeros
      cache_->rows.assign(batch(), std::vector<std::int64_t>(static_cast<std::size_t>(form_.cache.positions), 0));
    }
    for (std::size_t row = 0; row < batch(); ++row) {
      const auto valid = static_cast<std::size_t>(now().valid_lengths[row]);
      std::vector<std::int64_t> held;
      for (std::size_t i = 0; i < length; ++i) {
        const std::int64_t stored = StoredFor(now().tokens[row * length + i]);
        if (i < valid) held.push_back(stored);
        WritePrompt(row, i, length, i < valid, stored);
      }
      const std::vector<float> logits = LogitsOf(held, model_.vocab_size);
      logits_.insert(logits_.end(), logits.begin(), logits.end());
    }
  }

  void WritePrompt(std::size_t row, std::size_t position, std::size_t length, bool valid, std::int64_t stored) {
    switch (form_.form) {
      case Form::kAssign:
        if (valid) cache_->rows.at(row).at(position) = stored;
        return;
      case Form::kIndexed:  // keys of padding are written too
        cache_->rows.at(static_cast<std::size_t>(now().batch_index[row])).at(position) = stored;
        return;
      case Form::kPaged:
        cache_->slots.at(static_cast<std::size_t>(now().slot_mapping[row * length + position])) = stored;
    }
  }

  void RunIncremental() {
    ASSERT_TRUE(form_.form != Form::kAssign || cache_->rows.size() == batch()) << "the batch had another gear";
    for (std::size_t row = 0; row < batch(); ++row) WriteToken(row, StoredFor(now().tokens[row]));
    for (std::size_t row = 0; row < batch(); ++row) {  // row i reads row i, whatever batch_index says
      std::vector<std::int64_t> held;
      for (std::int32_t i = 0; i < now().valid_lengths[row]; ++i)
        held.push_back(Read(row, static_cast<std::size_t>(i)));
      const std::vector<float> logits = LogitsOf(held, model_.vocab_size);
      logits_.insert(logits_.end(), logits.begin(), logits.end());
    }
  }

  void WriteToken(std::size_t row, std::int64_t stored) {
    const auto position = static_cast<std::size_t>(now().valid_lengths[row]) - 1;
    switch (form_.form) {
      case Form::kAssign: cache_->rows.at(row).at(position) += stored; return;
      case Form::kIndexed:
        cache_->rows.at(static_cast<std::size_t>(now().batch_index[row])).at(position) = stored;
        return;
      case Form::kPaged: cache_->slots.at(static_cast<std::size_t>(now().slot_mapping[row])) = stored;
    }
  }

  std::int64_t Read(std::size_t row, std::size_t position) const {
    if (form_.form != Form::kPaged) return cache_->rows.at(row).at(position);
    const auto size = static_cast<std::size_t>(form_.cache.block_tokens);
    const auto table = static_cast<std::size_t>(form_.cache.table);
    const std::int32_t block = now().block_tables.at(row * table + position / size);
    return cache_->slots.at(static_cast<std::size_t>(block) * size + position % size);
  }

  const bool full_;
  const ModelSpec model_;
  const DeviceForm form_;
  std::shared_ptr<Cache> cache_;
  Recording* recording_;
  std::vector<TensorInfo> inputs_;
  std::vector<Shape> shapes_;
  std::vector<std::vector<char>> bound_;
  std::vector<float> logits_;
};

std::filesystem::path ReferencePath(const std::string& name) {
  return std::filesystem::path(SKYWORK_RT_REFERENCE_FORMS) / name;
}

ModelJson ReadReference(Form form) {
  const std::filesystem::path path = ReferencePath(StrCat(NameOf(form), ".json"));
  std::ifstream file(path);
  if (!file) throw Error(ErrorCode::kNotFound, "no " + path.string());
  std::stringstream text;
  text << file.rdbuf();
  return ParseModelJson(text.str(), path);
}

}  // namespace

DeviceSessions OpenReferenceDevice(const ModelSpec& model, const DeviceForm& form, Recording* recording) {
  auto cache = std::make_shared<Cache>();
  // What was in the memory before is not nothing.
  cache->rows.assign(static_cast<std::size_t>(form.cache.rows),
                     std::vector<std::int64_t>(static_cast<std::size_t>(form.cache.positions), 777));
  cache->slots.assign(static_cast<std::size_t>(form.cache.blocks) * static_cast<std::size_t>(form.cache.block_tokens),
                      777);
  return {std::make_unique<ReferenceGraph>(true, model, form, cache, recording),
          std::make_unique<ReferenceGraph>(false, model, form, cache, recording)};
}

std::vector<float> LogitsBehind(const ModelSpec& model, const std::vector<TokenId>& tokens) {
  std::vector<std::int64_t> held;
  for (const TokenId token : tokens) held.push_back(StoredFor(token));
  return LogitsOf(held, model.vocab_size);
}

std::vector<TokenId> GreedyBehind(const ModelSpec& model, std::vector<TokenId> prompt, std::size_t count) {
  std::vector<TokenId> output;
  while (output.size() < count) {
    const std::vector<float> logits = LogitsBehind(model, prompt);
    output.push_back(static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin()));
    prompt.push_back(output.back());
  }
  return output;
}

ModelSpec ReferenceModel() {
  return ReadReference(Form::kAssign).model;
}

std::vector<BundleGraph> ReferenceGraphs(Form form) {
  return ReadReference(form).graphs;
}

std::filesystem::path ReferenceContext(Form form, const std::string& role) {
  return ReferencePath(StrCat(NameOf(form), "-", role, ".cfg"));
}

DeviceForm ReferenceForm(Form form) {
  const ModelJson bundle = ReadReference(form);
  return ReadDeviceForm(bundle.model, bundle.graphs.at(0), bundle.graphs.at(1));
}

}  // namespace skywork_rt::ascend
