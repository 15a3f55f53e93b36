#include "backend/factory.h"

#include <algorithm>
#include <array>

#include "backend/native/native_backend.h"
#include "backend/plugin_loader.h"
#include "skywork_rt/error.h"
#include "support/format.h"

namespace skywork_rt {
namespace {

std::string Contents(const Bundle& bundle) {
  std::string text;
  for (const BundleGraph& graph : bundle.graphs()) {
    text += StrCat(text.empty() ? "" : ", ", "graph ", graph.contract, " (", graph.flavour, ")");
  }
  for (const auto& [name, file] : bundle.weights()) text += StrCat(text.empty() ? "" : ", ", "weights ", name);
  return text;
}

void RequireGraphs(const Bundle& bundle) {
  if (!bundle.graphs().empty()) return;
  throw Error(ErrorCode::kUnsupported, StrCat("The bundle ", bundle.directory().string(),
                                              " has no graphs for the backend \"lite\" (it has: ", Contents(bundle),
                                              "). Export with --for lite, or open it with backend=\"native\"."));
}

void RequireWeights(const Bundle& bundle) {
  if (!bundle.weights().empty()) return;
  throw Error(ErrorCode::kUnsupported, StrCat("The bundle ", bundle.directory().string(),
                                              " has no weights for the backend \"native\" (it has: ", Contents(bundle),
                                              "). Export with --for native, or open it with backend=\"lite\"."));
}

void RequireCpu(const std::string& backend, const std::string& device) {
  if (device == "cpu") return;
  throw Error(ErrorCode::kUnsupported,
              StrCat("The backend \"", backend, "\" runs on device \"cpu\", not on \"", device, "\"."));
}

}  // namespace

std::string ResolveBackend(const std::string& name, const Bundle& bundle, const std::string& device) {
  static constexpr std::array<const char*, 3> kKnown{"auto", "lite", "native"};
  if (std::find(kKnown.begin(), kKnown.end(), name) == kKnown.end()) {
    throw Error(ErrorCode::kInvalidArgument, StrCat("backend is \"", name, "\", but must be auto, lite or native."));
  }
  if (name != "auto") return name;
  return !bundle.weights().empty() && device == "cpu" ? "native" : "lite";
}

std::unique_ptr<Backend> MakeBackend(const std::string& name, const Bundle& bundle, const BackendOptions& options) {
  if (ResolveBackend(name, bundle, options.device) == "native") {
    RequireCpu("native", options.device);
    RequireWeights(bundle);
    return MakeNativeBackend(bundle, options);
  }
  RequireGraphs(bundle);
  return LoadPlugin("lite").make(bundle, options);
}

}  // namespace skywork_rt
