// skywork_rt_lite_run GRAPH THREADS IN.safetensors OUT.safetensors [IN OUT ...]
//
// Loads one graph on Lite's CPU provider and runs it once for each pair of files: inputs by name, resized to the shapes
// that the file gives; outputs named "0", "1", ... in the contract's order, since Lite gives them names of its own.
// Export uses it to verify a graph before the bundle gets its name. Exit status 0, or 1 with the reason as the last
// line of standard error.

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "api/context.h"
#include "api/model.h"
#include "backend/lite/tools/tensor_file.h"

namespace {

using skywork_rt::lite_tools::NamedTensor;

void Check(const mindspore::Status& status, const std::string& what) {
  if (!status.IsOk()) {
    throw std::runtime_error(what + ": " + status.ToString());
  }
}

std::string ShapeText(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (const std::int64_t dimension : shape) {
    text += (text.size() > 1 ? ", " : "") + std::to_string(dimension);
  }
  return text + "]";
}

mindspore::ModelType TypeOf(const std::string& path) {
  return std::filesystem::path(path).extension() == ".ms" ? mindspore::kMindIR_Lite : mindspore::kMindIR;
}

// Leaves the process in the graph's directory: Lite looks there for weights that are not in the graph's file.
std::unique_ptr<mindspore::Model> Load(const std::string& path, int threads) {
  auto context = std::make_shared<mindspore::Context>();
  context->SetThreadNum(threads);
  context->MutableDeviceInfo().push_back(std::make_shared<mindspore::CPUDeviceInfo>());
  auto model = std::make_unique<mindspore::Model>();
  std::filesystem::current_path(std::filesystem::path(path).parent_path());
  Check(model->Build(path, TypeOf(path), context), "Lite cannot load " + path);
  return model;
}

// Finds the file's tensor for every input of the graph, in the graph's order.
std::vector<const NamedTensor*> Match(const std::vector<mindspore::MSTensor>& inputs,
                                      const std::vector<NamedTensor>& given) {
  std::map<std::string, const NamedTensor*> by_name;
  for (const NamedTensor& tensor : given) {
    by_name.emplace(tensor.name, &tensor);
  }
  if (by_name.size() != inputs.size()) {
    throw std::runtime_error("the graph has " + std::to_string(inputs.size()) + " inputs, the file " +
                             std::to_string(by_name.size()));
  }
  std::vector<const NamedTensor*> matched;
  for (const mindspore::MSTensor& input : inputs) {
    const auto found = by_name.find(input.Name());
    if (found == by_name.end()) {
      throw std::runtime_error("the file lacks the graph's input " + input.Name());
    }
    matched.push_back(found->second);
  }
  return matched;
}

void FillInputs(mindspore::Model& model, const std::vector<NamedTensor>& given) {
  std::vector<mindspore::MSTensor> inputs = model.GetInputs();
  const std::vector<const NamedTensor*> matched = Match(inputs, given);
  std::vector<std::vector<std::int64_t>> shapes;
  shapes.reserve(matched.size());
  for (const NamedTensor* tensor : matched) {
    shapes.push_back(tensor->shape);
  }
  Check(model.Resize(inputs, shapes), "Lite cannot resize the inputs");
  inputs = model.GetInputs();
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const NamedTensor& tensor = *matched[i];
    if (inputs[i].DataSize() != tensor.data.size()) {
      throw std::runtime_error("input " + tensor.name + " " + ShapeText(tensor.shape) + " has " +
                               std::to_string(tensor.data.size()) + " bytes, Lite wants " +
                               std::to_string(inputs[i].DataSize()));
    }
    std::memcpy(inputs[i].MutableData(), tensor.data.data(), tensor.data.size());
  }
}

std::vector<NamedTensor> TakeOutputs(const std::vector<mindspore::MSTensor>& outputs) {
  std::vector<NamedTensor> taken;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const mindspore::MSTensor& output = outputs[i];
    if (output.DataType() != mindspore::DataType::kNumberTypeFloat32) {
      throw std::runtime_error("output " + std::to_string(i) + " (" + output.Name() + ") is not float32");
    }
    const std::shared_ptr<const void> data = output.Data();
    const auto* bytes = static_cast<const std::byte*>(data.get());
    if (bytes == nullptr) {
      throw std::runtime_error("output " + std::to_string(i) + " (" + output.Name() + ") has no data");
    }
    taken.push_back({std::to_string(i), "F32", output.Shape(), {bytes, bytes + output.DataSize()}});
  }
  return taken;
}

void Run(mindspore::Model& model, const std::string& input_path, const std::string& output_path) {
  FillInputs(model, skywork_rt::lite_tools::ReadTensors(input_path));
  std::vector<mindspore::MSTensor> outputs;
  Check(model.Predict(model.GetInputs(), &outputs), "Lite cannot run the graph on " + input_path);
  skywork_rt::lite_tools::WriteTensors(output_path, TakeOutputs(outputs));
}

int RunAll(int argc, char** argv) {
  std::vector<std::string> files;
  for (int i = 3; i < argc; ++i) {
    files.push_back(std::filesystem::absolute(argv[i]).string());
  }
  const std::unique_ptr<mindspore::Model> model = Load(std::filesystem::absolute(argv[1]).string(), std::stoi(argv[2]));
  for (std::size_t i = 0; i + 1 < files.size(); i += 2) {
    Run(*model, files[i], files[i + 1]);
  }
  return EXIT_SUCCESS;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5 || argc % 2 == 0) {
    std::fprintf(stderr, "usage: skywork_rt_lite_run GRAPH THREADS IN.safetensors OUT.safetensors [IN OUT ...]\n");
    return EXIT_FAILURE;
  }
  int status = EXIT_FAILURE;
  try {
    status = RunAll(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
  }
  std::fflush(nullptr);
  std::quick_exit(status);  // Lite's static objects do not survive an ordinary exit
}
