#include "backend/plugin.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>

#include "backend/device_options.h"
#include "backend/host_cache/host_cache_backend.h"
#include "backend/lite_runtime/lite_library.h"
#include "skywork_rt/error.h"
#include "support/core_set.h"
#include "support/format.h"

namespace skywork_rt::lite {
namespace {

constexpr const char* kFlavour = "lite2.0-cpu";

void RequireOption(const char* name, const std::string& value, const std::string& only) {
  if (value == "auto" || value == only) return;
  throw Error(ErrorCode::kUnsupported, StrCat("the Lite backend computes with ", name, " \"", only, "\" only, not \"",
                                              value, "\"; backend=\"native\" knows others"));
}

std::string WhyNot(const Bundle& bundle, const BackendOptions& options) {
  if (const std::string reason = WhyNotOnProcessor("lite", options); !reason.empty()) return reason;
  const bool has_graphs = std::any_of(bundle.graphs().begin(), bundle.graphs().end(),
                                      [](const BundleGraph& graph) { return graph.flavour == kFlavour; });
  if (has_graphs) return "";
  return StrCat("The bundle ", bundle.directory().string(),
                " has no graphs for the backend \"lite\" (it has: ", bundle.Contents(),
                "). Export with --for lite, or open it with backend=\"", bundle.graphs().empty() ? "native" : "ascend",
                "\".");
}

void CheckOptions(const BackendOptions& options) {
  RequireOption("weights", options.weights, "f32");
  RequireOption("activations", options.activations, "f32");
  RequireOption("kv_cache", options.kv_cache, "f32");
}

/// The graph's files that the bundle lists: its own, and that of its weights where there is one. Bundles of format
/// version 1 don't state the latter, which has the graph's name.
std::vector<BundleFile> FilesOf(const Bundle& bundle, const std::string& file) {
  std::string weights = std::filesystem::path(file).replace_extension(".msw").string();
  for (const BundleGraph& graph : bundle.graphs()) {
    if (graph.file == file && !graph.weights.empty()) weights = graph.weights;
  }
  std::vector<BundleFile> files;
  for (const BundleFile& listed : bundle.files()) {
    if (listed.name == file || listed.name == weights) files.push_back(listed);
  }
  return files;
}

/// Opens a graph of the bundle when called. The SHA-256 of its files is compared before Lite, whose parser trusts its
/// input, sees them.
host_cache::SessionFactory Opener(const Bundle& bundle, const std::string& file, int threads,
                                  const std::vector<int>& affinity) {
  return [bundle, file, threads, affinity] {
    for (const BundleFile& listed : FilesOf(bundle, file)) bundle.VerifyFile(listed.name);
    return lite_runtime::LiteLibrary::Get().Open(bundle.PathOf(file).string(), threads, affinity);
  };
}

std::size_t FileBytes(const Bundle& bundle, const BundleGraph* graph) {
  if (graph == nullptr) return 0;
  std::size_t bytes = 0;
  for (const BundleFile& listed : FilesOf(bundle, graph->file)) bytes += listed.size;
  return bytes;
}

BackendMemory Memory(const Bundle& bundle, const BackendOptions& options) {
  // A graph takes 2.2 times its file while it is open and 3.2 times while it is built (SmolLM2-135M, resident memory);
  // the second graph is built beside the first.
  constexpr std::size_t kQuartersHeld = 9;
  constexpr std::size_t kPage = 4096;
  const ModelSpec& model = bundle.model();
  BackendMemory memory;
  memory.per_token = model.CacheBytesPerToken(sizeof(float));
  const std::size_t full = FileBytes(bundle, bundle.FindGraph("host-cache/full", kFlavour));
  const std::size_t incremental = FileBytes(bundle, bundle.FindGraph("host-cache/incremental", kFlavour));
  memory.weights = (full + incremental) / 4 * kQuartersHeld + std::max(full, incremental);
  // Each head of each slot may end in the midst of a page.
  const auto heads = 2 * static_cast<std::size_t>(model.layers) * static_cast<std::size_t>(model.kv_heads);
  memory.work = static_cast<std::size_t>(std::max(1, options.max_batch)) * heads * kPage;
  return memory;
}

std::unique_ptr<Backend> Make(const Bundle& bundle, const BackendOptions& options) {
  CheckOptions(options);
  const BundleGraph* full = bundle.FindGraph("host-cache/full", kFlavour);
  const BundleGraph* incremental = bundle.FindGraph("host-cache/incremental", kFlavour);
  if (full == nullptr) {
    throw Error(ErrorCode::kUnsupported,
                StrCat("the bundle ", bundle.directory().string(), " has no graph ", "host-cache/full of flavour ",
                       kFlavour, "; export it with --for lite"));
  }
  const int threads = ThreadsToUse(options.threads, options.affinity);
  host_cache::HostCacheLimits limits;
  limits.max_batch = options.max_batch;
  limits.max_length = options.max_length > 0 ? options.max_length : static_cast<std::size_t>(bundle.model().max_length);
  limits.max_cached_tokens = options.max_cached_tokens > 0
                                 ? options.max_cached_tokens
                                 : limits.max_length * static_cast<std::size_t>(limits.max_batch);
  return std::make_unique<host_cache::HostCacheBackend>(
      bundle.model(), limits, Opener(bundle, full->file, threads, options.affinity),
      incremental == nullptr ? host_cache::SessionFactory()
                             : Opener(bundle, incremental->file, threads, options.affinity));
}

std::unique_ptr<GraphSession> OpenGraph(const Bundle& bundle, const std::string& file, int threads) {
  return Opener(bundle, file, ThreadsToUse(threads, {}), {})();
}

}  // namespace
}  // namespace skywork_rt::lite

extern "C" SKYWORK_RT_API const skywork_rt::PluginEntry* skywork_rt_backend_plugin() {
  static const skywork_rt::PluginEntry entry{
      skywork_rt::kPluginAbi,
      {"lite", "MindSpore Lite, built with the headers of " SKYWORK_RT_LITE_BUILT_FOR, &skywork_rt::lite::WhyNot,
       &skywork_rt::lite::Make, &skywork_rt::lite::Memory, &skywork_rt::lite::OpenGraph,
       &skywork_rt::host_cache::PositionsFor}};
  return &entry;
}
