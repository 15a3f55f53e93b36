#include "backend/plugin.h"

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "backend/ascend/cann.h"
#include "backend/ascend/device_cache_backend.h"
#include "backend/ascend/device_form.h"
#include "backend/ascend/ge_config.h"
#include "backend/ascend/ge_options.h"
#include "backend/host_cache/host_cache_backend.h"
#include "backend/lite_runtime/lite_library.h"
#include "backend/lite_runtime/session_entry.h"
#include "skywork_rt/error.h"
#include "support/format.h"

namespace skywork_rt::ascend {
namespace {

constexpr const char* kFlavour = "ge";

/// The graphs of one contract.
struct GraphPair {
  const BundleGraph* full = nullptr;
  const BundleGraph* incremental = nullptr;
};

GraphPair FindPair(const Bundle& bundle, const std::string& contract) {
  return {bundle.FindGraph(contract + "/full", kFlavour), bundle.FindGraph(contract + "/incremental", kFlavour)};
}

std::string WhyNot(const Bundle& bundle, const BackendOptions& options) {
  if (options.device != "auto" && options.device != "ascend") {
    return StrCat("The backend \"ascend\" runs on device \"ascend\", not on \"", options.device, "\".");
  }
  const GraphPair device = FindPair(bundle, "device-cache");
  const GraphPair host = FindPair(bundle, "host-cache");
  if ((device.full != nullptr && device.incremental != nullptr) || host.full != nullptr) return "";
  return StrCat("The bundle ", bundle.directory().string(),
                " has no graphs for the backend \"ascend\" (it has: ", bundle.Contents(),
                "). Make one of a checkpoint with: skywork-rt export CHECKPOINT OUT --for ascend --batch N; or around "
                "MindFormers' exports with: skywork-rt adopt FULL INCREMENTAL OUT --tokenizer T --config YAML; or "
                "leave device and backend out.");
}

void RequireOption(const char* name, const std::string& value, const std::string& plain) {
  if (value == "auto" || value == plain) return;
  throw Error(ErrorCode::kUnsupported,
              StrCat("the backend \"ascend\" computes with what its graphs were exported with; ", name, " is \"", value,
                     "\": leave it out"));
}

void CheckOptions(const BackendOptions& options) {
  RequireOption("weights", options.weights, "auto");
  RequireOption("activations", options.activations, "auto");
  RequireOption("kv_cache", options.kv_cache, "f32");
  CheckPrecision(options.ge_precision);
}

std::size_t BytesOf(const BundleGraph& graph) {
  return graph.precision == "float32" ? sizeof(float) : sizeof(float) / 2;
}

/// Weights and cache lie on the card, of whose memory this process knows nothing before it opens the graphs.
BackendMemory Memory(const Bundle&, const BackendOptions&) {
  return {};
}

/// SHA-256 of what Lite's parser sees; of the weights beside it on request: they are tens of gigabytes.
void Verify(const Bundle& bundle, const BundleGraph& graph, bool weights) {
  bundle.VerifyFile(graph.file);
  if (!weights) return;
  for (const BundleFile& file : bundle.files()) {
    if (file.role == "graph_data") bundle.VerifyFile(file.name);
  }
}

lite_runtime::AscendPlace PlaceFor(const std::vector<const BundleGraph*>& graphs, const BackendOptions& options) {
  const std::vector<std::string> files = GeConfigFiles(options.ge_config);
  lite_runtime::AscendPlace place;
  place.device_id = options.device_id;
  place.rank_id = options.rank_id;
  for (std::size_t i = 0; i < graphs.size(); ++i) {
    const GeConfig config = files[i].empty() ? GeConfig() : GeConfig::Read(files[i]);
    place.config_files.push_back(files[i]);
    place.overrides.push_back(OverridesFor(*graphs[i], config, options));
  }
  return place;
}

std::vector<std::unique_ptr<GraphSession>> Open(const Bundle& bundle, const std::vector<const BundleGraph*>& graphs,
                                                const lite_runtime::AscendPlace& place, bool verify) {
  const lite_runtime::LiteLibrary& lite = lite_runtime::LiteLibrary::Get();
  std::vector<std::string> paths;
  for (const BundleGraph* graph : graphs) {
    Verify(bundle, *graph, verify);
    paths.push_back(bundle.PathOf(graph->file).string());
  }
  return lite.OpenOnAscend(paths, place);
}

std::unique_ptr<Backend> MakeDeviceCache(const Bundle& bundle, const GraphPair& pair, const BackendOptions& options) {
  const DeviceForm form = ReadDeviceForm(bundle.model(), *pair.full, *pair.incremental);
  const std::vector<const BundleGraph*> graphs{pair.full, pair.incremental};
  const lite_runtime::AscendPlace place = PlaceFor(graphs, options);
  RequireCann();
  std::vector<std::unique_ptr<GraphSession>> sessions = Open(bundle, graphs, place, options.verify);
  DeviceLimits limits;
  limits.max_batch = options.max_batch;
  limits.max_length = options.max_length;
  limits.max_cached_tokens = options.max_cached_tokens;
  limits.bytes_per_token = bundle.model().CacheBytesPerToken(BytesOf(*pair.full));
  return std::make_unique<DeviceCacheBackend>(bundle.model(), form, limits,
                                              DeviceSessions{std::move(sessions[0]), std::move(sessions[1])});
}

/// The host-cache contract through ge: the cache is ours, and each graph is opened by itself.
std::unique_ptr<Backend> MakeHostCache(const Bundle& bundle, const GraphPair& pair, const BackendOptions& options) {
  const auto opener = [&](const BundleGraph* graph) {
    return [bundle, graph = *graph, place = PlaceFor({graph}, options), verify = options.verify] {
      return std::move(Open(bundle, {&graph}, place, verify)[0]);
    };
  };
  const host_cache::SessionFactory full = opener(pair.full);
  const host_cache::SessionFactory incremental =
      pair.incremental == nullptr ? host_cache::SessionFactory() : opener(pair.incremental);
  RequireCann();
  host_cache::HostCacheLimits limits;
  limits.max_batch = options.max_batch;
  limits.max_length = options.max_length;
  limits.max_cached_tokens = options.max_cached_tokens;
  limits.device = "ascend";
  return std::make_unique<host_cache::HostCacheBackend>(bundle.model(), limits, full, incremental);
}

std::unique_ptr<Backend> Make(const Bundle& bundle, const BackendOptions& options) {
  CheckOptions(options);
  const GraphPair device = FindPair(bundle, "device-cache");
  if (device.full != nullptr && device.incremental != nullptr) return MakeDeviceCache(bundle, device, options);
  return MakeHostCache(bundle, FindPair(bundle, "host-cache"), options);
}

}  // namespace
}  // namespace skywork_rt::ascend

extern "C" SKYWORK_RT_API const skywork_rt::PluginEntry* skywork_rt_backend_plugin() {
  static const skywork_rt::PluginEntry entry{
      skywork_rt::kPluginAbi,
      {"ascend", "MindSpore Lite's provider ge, built with the headers of " SKYWORK_RT_LITE_BUILT_FOR,
       &skywork_rt::ascend::WhyNot, &skywork_rt::ascend::Make, &skywork_rt::ascend::Memory, nullptr, nullptr}};
  return &entry;
}
