#include "backend/ascend/ge_options.h"

#include <algorithm>

#include "support/format.h"

namespace skywork_rt::ascend {
namespace {

constexpr const char* kContext = "ascend_context";
constexpr const char* kSession = "ge_session_options";
constexpr const char* kGraph = "ge_graph_options";

/// An input whose shape follows the gear: its shape with -1 where it does, and what the gear puts there.
struct MovingInput {
  std::string shape;
  std::vector<int> dims;
};

/// In the order of their names, as the recipe's own configurations have them.
std::vector<MovingInput> MovingInputs(const BundleGraph& graph, const BundleGear& gear) {
  const bool full = graph.contract == "device-cache/full";
  const int tokens = full ? gear.length : 1;
  std::vector<MovingInput> inputs;
  if (graph.form != "paged") inputs.push_back({"batch_index:-1", {gear.batch}});
  inputs.push_back({"batch_valid_length:-1", {gear.batch}});
  if (graph.form == "paged") {
    if (!full) inputs.push_back({StrCat("block_tables:-1,", graph.cache.table), {gear.batch}});
    inputs.push_back({"slot_mapping:-1", {gear.batch * tokens}});
  }
  if (full) {
    inputs.push_back({"tokens:-1,-1", {gear.batch, gear.length}});
  } else {
    inputs.push_back({"tokens:-1,1", {gear.batch}});
  }
  if (graph.form != "paged") inputs.push_back({"zactivate_len:-1", {gear.length}});
  return inputs;
}

std::string Joined(const std::vector<std::string>& parts, const char* between) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : between) + part;
  return text;
}

void AddGears(const BundleGraph& graph, std::vector<GeOption>* options) {
  std::vector<std::string> shapes, gears;
  for (const MovingInput& input : MovingInputs(graph, graph.gears[0])) shapes.push_back(input.shape);
  for (const BundleGear& gear : graph.gears) {
    std::vector<std::string> dims;
    for (const MovingInput& input : MovingInputs(graph, gear)) {
      for (const int dim : input.dims) dims.push_back(std::to_string(dim));
    }
    gears.push_back(Joined(dims, ","));
  }
  options->push_back({kGraph, "ge.inputShape", Joined(shapes, ";")});
  options->push_back({kGraph, "ge.dynamicDims", Joined(gears, ";")});
  options->push_back({kGraph, "ge.dynamicNodeType", "1"});
}

/// Whether the user's file says it, in any section in which GE reads it.
bool Says(const GeConfig& config, const char* key) {
  const char* const sections[] = {"ge_session_options", "ge_graph_options", "ge_global_options"};
  return std::any_of(std::begin(sections), std::end(sections),
                     [&](const char* section) { return config.Find(section, key) != nullptr; });
}

}  // namespace

std::vector<GeOption> OverridesFor(const BundleGraph& graph, const GeConfig& config, const BackendOptions& options) {
  // What the recipe's context.cfg has, and users of these exports know.
  constexpr std::array<std::array<const char*, 2>, 4> kRecipe{{{"ge.exec.formatMode", "1"},
                                                               {"ge.exec.precision_mode", "must_keep_origin_dtype"},
                                                               {"ge.externalWeight", "1"},
                                                               {"ge.exec.atomicCleanPolicy", "1"}}};
  std::vector<GeOption> overrides{{kContext, "provider", "ge"}};
  if (config.Find(kContext, "plugin_custom_ops") == nullptr)
    overrides.push_back({kContext, "plugin_custom_ops", "All"});
  for (const auto& [key, value] : kRecipe) {
    if (!Says(config, key)) overrides.push_back({kSession, key, value});
  }
  if (options.ge_precision != "auto") overrides.push_back({kSession, "ge.exec.precision_mode", options.ge_precision});
  if (graph.gears.size() > 1 && !Says(config, "ge.dynamicDims")) AddGears(graph, &overrides);
  return overrides;
}

}  // namespace skywork_rt::ascend
