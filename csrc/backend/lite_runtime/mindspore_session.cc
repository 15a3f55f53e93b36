#include <include/api/context.h>
#include <include/api/model.h>

#include <malloc.h>
#include <sched.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <thread>
#include <utility>

#include "backend/lite_runtime/exit_gate.h"
#include "backend/lite_runtime/later_lite.h"
#include "backend/lite_runtime/mapped_file.h"
#include "backend/lite_runtime/session_entry.h"
#include "skywork_rt/error.h"
#include "support/core_set.h"
#include "support/format.h"

namespace skywork_rt::lite_runtime {
namespace {

/// exit() destroys the static objects that were made last first, and Lite makes some when it first builds or runs a
/// graph: only a handler that is registered after that comes before them.
void CloseTheGateAtExit() {
  std::atexit([] { TheExitGate().Close(); });
}

using Shape = GraphSession::Shape;
using ElementType = GraphSession::ElementType;

std::string ShapeText(const Shape& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) text += StrCat(i == 0 ? "" : ",", shape[i]);
  return text + "]";
}

ElementType ElementTypeOf(mindspore::DataType type) {
  switch (type) {
    case mindspore::DataType::kNumberTypeFloat32: return ElementType::kFloat32;
    case mindspore::DataType::kNumberTypeInt32: return ElementType::kInt32;
    case mindspore::DataType::kNumberTypeInt64: return ElementType::kInt64;
    default: return ElementType::kOther;
  }
}

std::size_t ElementBytes(ElementType type) {
  return type == ElementType::kInt64 ? sizeof(std::int64_t) : sizeof(float);
}

/// Throws Error(kBackend), with what Lite logged, when an action before there is a session has failed.
void Require(const mindspore::Status& status, const std::string& action, const LogHooks& hooks) {
  const std::string logged = hooks.take_errors();
  if (status.IsOk()) return;
  throw Error(ErrorCode::kBackend,
              StrCat("MindSpore Lite could not ", action, " (status ", static_cast<int>(status.StatusCode()), ": ",
                     status.ToString(), ")", logged.empty() ? "" : StrCat("; it logged:\n", logged)));
}

/// A graph on mindspore::Model.
class MindSporeSession final : public GraphSession {
 public:
  /// `cores` are those that the calling thread computes on; empty: any.
  MindSporeSession(std::string path, std::unique_ptr<mindspore::Model> model,
                   const std::shared_ptr<mindspore::Context>& context, const CoreSet& cores, const LogHooks& hooks)
      : path_(std::move(path)), hooks_(hooks), cores_(cores), model_(std::move(model)) {
    const ExitGate::Pass pass(&TheExitGate());
    const CoreScope place(cores_);  // Lite moves the thread that builds, and leaves it there
    hooks_.begin_load();            // the model's constructor has put the log back
    const mindspore::Status status = Build(context);
    hooks_.end_load();
    CloseTheGateAtExit();
    Check(status, "load");
    tensors_->inputs = model_->GetInputs();
    for (auto& tensor : tensors_->inputs) {
      inputs_.push_back({tensor.Name(), ElementTypeOf(tensor.DataType()), tensor.Shape()});
    }
    malloc_trim(0);  // building leaves the allocator with copies of the weights that are free by now
  }

  ~MindSporeSession() override {
    try {
      const ExitGate::Pass pass(&TheExitGate());
      tensors_.reset();
      model_.reset();
    } catch (const Error&) {  // the process exits, Lite's own static objects may be gone: all is the kernel's
      static_cast<void>(model_.release());
      static_cast<void>(tensors_.release());
    }
  }

  MindSporeSession(const MindSporeSession&) = delete;
  MindSporeSession& operator=(const MindSporeSession&) = delete;

  const std::vector<TensorInfo>& inputs() const override { return inputs_; }

  void Resize(const std::vector<Shape>& shapes) override {
    const ExitGate::Pass pass(&TheExitGate());
    Check(model_->Resize(tensors_->inputs, shapes), "resize");
    tensors_->inputs = model_->GetInputs();
    tensors_->outputs.clear();
  }

  void Bind(std::size_t input, const void* data, std::size_t bytes) override {
    mindspore::MSTensor& tensor = tensors_->inputs.at(input);
    const auto wanted = static_cast<std::size_t>(tensor.ElementNum()) * ElementBytes(inputs_.at(input).type);
    if (bytes != wanted) {
      throw Error(ErrorCode::kInternal, StrCat("input ", tensor.Name(), " ", ShapeText(tensor.Shape()), " of ", path_,
                                               " takes ", wanted, " bytes; it was given ", bytes));
    }
    tensor.SetData(const_cast<void*>(data), false);  // Lite's signature; inputs are only read
  }

  void Run() override {
    const ExitGate::Pass pass(&TheExitGate());
    tensors_->outputs.clear();
    const CoreScope place(cores_);  // the calling thread computes beside Lite's own
    Check(model_->Predict(tensors_->inputs, &tensors_->outputs), "run");
    if (!has_run_) CloseTheGateAtExit();
    has_run_ = true;
  }

  Span<const float> Output(std::size_t index) override {
    if (index >= tensors_->outputs.size() ||
        tensors_->outputs[index].DataType() != mindspore::DataType::kNumberTypeFloat32) {
      throw Error(ErrorCode::kBackend, StrCat("graph ", path_, " has no float32 output ", index, " (",
                                              tensors_->outputs.size(), " outputs); export the bundle again"));
    }
    mindspore::MSTensor& tensor = tensors_->outputs[index];
    return {static_cast<const float*>(tensor.MutableData()), static_cast<std::size_t>(tensor.ElementNum())};
  }

 private:
  /// Lite's own format (.ms) is built from memory, which costs the least memory and time; MindIR from its path.
  mindspore::Status Build(const std::shared_ptr<mindspore::Context>& context) {
    const std::filesystem::path path(path_);
    if (path.extension() != ".ms") return model_->Build(path_, mindspore::ModelType::kMindIR, context);
    const MappedFile file(path_);
    mindspore::Status status;
    const auto build = [&] {
      status = model_->Build(file.data(), file.size(), mindspore::ModelType::kMindIR_Lite, context);
    };
    if (HasWeightsBeside(path)) {
      InFolder(path.parent_path(), build);
    } else {
      build();
    }
    return status;
  }

  /// Whether some file of the graph's folder holds weights (.msw), which the graph may name.
  static bool HasWeightsBeside(const std::filesystem::path& path) {
    std::error_code error;
    const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : ".";
    for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
      if (entry.path().extension() == ".msw") return true;
    }
    return false;
  }

  /// Runs `work` with `folder` as the current directory, against which Lite resolves the name of a graph's separate
  /// weights (.msw), without changing the process's: in a thread that has a directory of its own.
  template <typename Work>
  static void InFolder(const std::filesystem::path& folder, const Work& work) {
    int reason = 0;
    std::exception_ptr thrown;
    std::thread([&] {
      if (unshare(CLONE_FS) != 0 || chdir(folder.empty() ? "." : folder.c_str()) != 0) {
        reason = errno;
        return;
      }
      try {
        work();
      } catch (...) {
        thrown = std::current_exception();
      }
    }).join();
    if (thrown) std::rethrow_exception(thrown);
    if (reason != 0) {
      throw Error(ErrorCode::kBackend,
                  StrCat("a thread cannot enter ", folder.string(), " to load its weights: ", std::strerror(reason)));
    }
  }

  void Check(const mindspore::Status& status, const char* action) {
    const std::string logged = hooks_.take_errors();
    if (status.IsOk()) return;
    std::string message = StrCat("MindSpore Lite could not ", action, " ", path_, " (status ",
                                 static_cast<int>(status.StatusCode()), ": ", status.ToString(), ")");
    if (!inputs_.empty()) {
      message += "; inputs:";
      for (auto& tensor : tensors_->inputs) {
        if (tensor.Name().compare(0, 3, "key") == 0 || tensor.Name().compare(0, 5, "value") == 0) continue;
        message += StrCat(" ", tensor.Name(), " ", ShapeText(tensor.Shape()));
      }
    }
    if (!logged.empty()) message += StrCat("; it logged:\n", logged);
    throw Error(ErrorCode::kBackend, message);
  }

  std::string path_;
  LogHooks hooks_;
  CoreSet cores_;
  std::unique_ptr<mindspore::Model> model_;
  struct Tensors {
    std::vector<mindspore::MSTensor> inputs;
    std::vector<mindspore::MSTensor> outputs;
  };
  std::unique_ptr<Tensors> tensors_ = std::make_unique<Tensors>();
  std::vector<TensorInfo> inputs_;
  bool has_run_ = false;
};

std::shared_ptr<mindspore::Context> CpuContext(int threads, const std::vector<int>& affinity) {
  auto context = std::make_shared<mindspore::Context>();
  context->SetThreadNum(threads);
  if (!affinity.empty()) context->SetThreadAffinity(affinity);
  auto device = std::make_shared<mindspore::CPUDeviceInfo>();
  device->SetEnableFP16(false);
  context->MutableDeviceInfo().push_back(std::move(device));
  return context;
}

std::shared_ptr<mindspore::Context> AscendContext(const AscendPlace& place) {
  auto context = std::make_shared<mindspore::Context>();
  auto device = std::make_shared<mindspore::AscendDeviceInfo>();
  device->SetDeviceID(static_cast<std::uint32_t>(place.device_id));
  if (!SetRankId(device.get(), static_cast<std::uint32_t>(place.rank_id)) && place.rank_id != 0) {
    throw Error(ErrorCode::kBackendUnavailable,
                StrCat("rank_id is ", place.rank_id,
                       ", but this MindSpore Lite knows no ranks: set LITE_HOME to 2.2 or "
                       "later"));
  }
  device->SetProvider("ge");
  context->MutableDeviceInfo().push_back(std::move(device));
  return context;
}

std::unique_ptr<mindspore::Model> NewModel(const LogHooks& hooks) {
  const ExitGate::Pass pass(&TheExitGate());
  hooks.begin_load();
  auto model = std::make_unique<mindspore::Model>();
  hooks.begin_load();  // the constructor has put the log back
  return model;
}

std::unique_ptr<GraphSession> OpenSession(const std::string& path, int threads, const std::vector<int>& affinity,
                                          const LogHooks& hooks) {
  return std::make_unique<MindSporeSession>(path, NewModel(hooks), CpuContext(threads, affinity), CoreSet(affinity),
                                            hooks);
}

/// Before any of them is built, as the class's documentation says.
void ShareParameters(const std::vector<std::unique_ptr<mindspore::Model>>& models, const LogHooks& hooks) {
  if (models.size() < 2) return;
  if (!CanShareWeights()) {
    throw Error(
        ErrorCode::kBackendUnavailable,
        "this MindSpore Lite has no ModelGroup that shares weights, which the two graphs of a device cache need: "
        "set LITE_HOME to an unpacked MindSpore Lite 2.2 or later, the one for Ascend");
  }
  std::vector<ModelHandle> members;
  for (const auto& model : models) members.push_back(HandleOf(*model));
  mindspore::ModelGroup group(mindspore::ModelGroupFlag::kShareWeight);
  Require(skywork_rt_model_group_add(&group, members), "let the graphs share their Parameters", hooks);
}

void Configure(mindspore::Model* model, const std::string& path, const AscendPlace& place, std::size_t graph,
               const LogHooks& hooks) {
  const std::string file = graph < place.config_files.size() ? place.config_files[graph] : "";
  if (!file.empty()) Require(model->LoadConfig(file), StrCat("read the configuration ", file, " for ", path), hooks);
  if (graph >= place.overrides.size()) return;
  for (const auto& [section, key, value] : place.overrides[graph]) {
    Require(model->UpdateConfig(section, {key, value}), StrCat("take [", section, "] ", key, "=", value), hooks);
  }
}

std::vector<std::unique_ptr<GraphSession>> OpenOnAscend(const std::vector<std::string>& paths, const AscendPlace& place,
                                                        const LogHooks& hooks) {
  std::vector<std::unique_ptr<mindspore::Model>> models;
  for (std::size_t i = 0; i < paths.size(); ++i) models.push_back(NewModel(hooks));
  const std::shared_ptr<mindspore::Context> context = AscendContext(place);
  ShareParameters(models, hooks);
  std::vector<std::unique_ptr<GraphSession>> sessions;
  for (std::size_t i = 0; i < paths.size(); ++i) {
    Configure(models[i].get(), paths[i], place, i, hooks);
    sessions.push_back(std::make_unique<MindSporeSession>(paths[i], std::move(models[i]), context, CoreSet(), hooks));
  }
  return sessions;
}

}  // namespace
}  // namespace skywork_rt::lite_runtime

extern "C" SKYWORK_RT_API const skywork_rt::lite_runtime::SessionEntry* skywork_rt_lite_session() {
  static const skywork_rt::lite_runtime::SessionEntry entry{
      skywork_rt::lite_runtime::kSessionAbi, SKYWORK_RT_LITE_BUILT_FOR, &skywork_rt::lite_runtime::OpenSession,
      &skywork_rt::lite_runtime::OpenOnAscend};
  return &entry;
}
