#include "backend/ascend/device_graph.h"

#include <algorithm>
#include <utility>

#include "skywork_rt/error.h"
#include "support/format.h"

namespace skywork_rt::ascend {
namespace {

using ElementType = GraphSession::ElementType;

const char* NameOf(ElementType type) {
  switch (type) {
    case ElementType::kFloat32: return "float32";
    case ElementType::kInt32: return "int32";
    case ElementType::kInt64: return "int64";
    case ElementType::kOther: break;
  }
  return "of another type";
}

template <typename T>
void Bind(GraphSession* session, std::size_t index, const std::vector<T>& values) {
  session->Bind(index, values.data(), values.size() * sizeof(T));
}

[[noreturn]] void Refuse(const std::string& complaint) {
  throw Error(ErrorCode::kCorruptBundle, StrCat(complaint, ". Adopt or export the bundle again."));
}

}  // namespace

DeviceGraph::DeviceGraph(std::unique_ptr<GraphSession> session, GraphRole role, const DeviceForm& form, int vocab_size)
    : session_(std::move(session)), role_(role), table_(form.cache.table), vocab_size_(vocab_size) {
  for (const GraphSession::TensorInfo& info : session_->inputs()) {
    const Input input = InputNamed(info.name);
    CheckInput(info, input);
    inputs_.push_back(input);
    shapes_.push_back(info.shape);
  }
  RequireAll(form.form);
}

// MindSpore writes "name of the graph:name of the input".
DeviceGraph::Input DeviceGraph::InputNamed(const std::string& full_name) {
  const std::string name = full_name.substr(full_name.rfind(':') + 1);
  if (name == "tokens" || name == "input_ids") return Input::kTokens;
  if (name == "batch_valid_length") return Input::kValidLengths;
  if (name == "batch_index") return Input::kBatchIndex;
  if (name == "zactivate_len") return Input::kActiveLength;
  if (name == "block_tables") return Input::kBlockTables;
  if (name == "slot_mapping") return Input::kSlotMapping;
  Refuse(StrCat("the graph has an input ", full_name, ", which the device-cache contract does not know"));
}

void DeviceGraph::CheckInput(const GraphSession::TensorInfo& info, Input input) const {
  const bool wide = input == Input::kBatchIndex || input == Input::kActiveLength;
  const ElementType wanted = wide ? ElementType::kInt64 : ElementType::kInt32;
  if (info.type == wanted) return;
  Refuse(StrCat("the graph's input ", info.name, " is ", NameOf(info.type), ", but must be ", NameOf(wanted)));
}

void DeviceGraph::RequireAll(const Form& form) const {
  const auto require = [&](Input input, const char* name) {
    if (std::count(inputs_.begin(), inputs_.end(), input) == 1) return;
    Refuse(StrCat("the graph of form ", ascend::NameOf(form), " must have one input ", name));
  };
  require(Input::kTokens, "tokens");
  require(Input::kValidLengths, "batch_valid_length");
  if (form == Form::kIndexed) require(Input::kBatchIndex, "batch_index");
  if (form == Form::kPaged) require(Input::kSlotMapping, "slot_mapping");
  if (form == Form::kPaged && role_ == GraphRole::kIncremental) require(Input::kBlockTables, "block_tables");
}

GraphSession::Shape DeviceGraph::ShapeOf(Input input, const Gear& gear) const {
  const auto batch = static_cast<std::int64_t>(gear.batch);
  const auto length = static_cast<std::int64_t>(gear.length);
  const std::int64_t tokens = role_ == GraphRole::kFull ? length : 1;
  switch (input) {
    case Input::kTokens: return {batch, tokens};
    case Input::kActiveLength: return {length};
    case Input::kBlockTables: return {batch, table_};
    case Input::kSlotMapping: return {batch * tokens};
    case Input::kValidLengths:
    case Input::kBatchIndex: break;
  }
  return {batch};
}

Span<const float> DeviceGraph::Run(const Feeds& feeds) {
  std::vector<GraphSession::Shape> shapes;
  for (const Input input : inputs_) shapes.push_back(ShapeOf(input, feeds.gear));
  if (shapes != shapes_) {
    shapes_.clear();  // a failed Resize leaves the session in no known shape
    session_->Resize(shapes);
    shapes_ = std::move(shapes);
  }
  active_length_.assign(feeds.gear.length, 0);
  for (std::size_t i = 0; i < inputs_.size(); ++i) BindInput(i, feeds);
  session_->Run();
  const Span<const float> logits = session_->Output(0);
  const std::size_t wanted = static_cast<std::size_t>(feeds.gear.batch) * static_cast<std::size_t>(vocab_size_);
  if (logits.size() != wanted) {
    throw Error(ErrorCode::kBackend,
                StrCat("the graph gives ", logits.size(), " logits where ", feeds.gear.batch, " rows of ", vocab_size_,
                       " are ", wanted, ": a graph must give those of each row's last token alone"));
  }
  return logits;
}

void DeviceGraph::BindInput(std::size_t index, const Feeds& feeds) {
  switch (inputs_[index]) {
    case Input::kTokens: return Bind(session_.get(), index, feeds.tokens);
    case Input::kValidLengths: return Bind(session_.get(), index, feeds.valid_lengths);
    case Input::kBatchIndex: return Bind(session_.get(), index, feeds.batch_index);
    case Input::kActiveLength: return Bind(session_.get(), index, active_length_);
    case Input::kBlockTables: return Bind(session_.get(), index, feeds.block_tables);
    case Input::kSlotMapping: return Bind(session_.get(), index, feeds.slot_mapping);
  }
}

}  // namespace skywork_rt::ascend
