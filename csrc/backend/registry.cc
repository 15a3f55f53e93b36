#include "backend/registry.h"

#include <algorithm>

#include "backend/native/kernels/types/types.h"
#include "backend/native/native_backend.h"
#include "backend/plugin_loader.h"
#include "skywork_rt/error.h"
#include "support/format.h"

namespace skywork_rt {
namespace {

/// A backend that this build knows by name: built in, or (nullptr) a plugin of ours that may not be installed.
struct Known {
  const char* name;
  const BackendEntry* built_in;
  const char* description;
};

/// In the order in which "auto" asks them.
constexpr Known kKnown[] = {
    {"native", &kNativeBackend, "our own kernels for packed weights, on x86-64"},
    {"lite", nullptr, "MindSpore Lite, on exported graphs"},
    {"ascend", nullptr, "MindSpore Lite's provider ge, on Ascend cards"},
};

std::string Joined(const std::vector<BackendSummary>& backends) {
  std::string text = "auto";
  for (const BackendSummary& backend : backends) {
    text += (&backend == &backends.back() ? " or " : ", ") + backend.name;
  }
  return text;
}

bool IsAmong(const std::vector<BackendSummary>& backends, const std::string& name) {
  return std::any_of(backends.begin(), backends.end(), [&](const auto& backend) { return backend.name == name; });
}

/// Why the backend cannot run the bundle, or nothing.
std::string Reason(const std::string& name, const Bundle& bundle, const BackendOptions& options, ErrorCode* code) {
  try {
    *code = ErrorCode::kUnsupported;
    return FindBackend(name).why_not(bundle, options);
  } catch (const Error& error) {
    *code = error.code();
    return error.what();
  }
}

std::string FirstThatCan(const Bundle& bundle, const BackendOptions& options) {
  std::string reasons;
  ErrorCode code = ErrorCode::kUnsupported;
  for (const Known& known : kKnown) {
    const std::string reason = Reason(known.name, bundle, options, &code);
    if (reason.empty()) return known.name;
    reasons += StrCat(reasons.empty() ? "" : " ", known.name, ": ", reason);
  }
  throw Error(code, StrCat("No backend can run the bundle ", bundle.directory().string(), ". ", reasons));
}

}  // namespace

std::vector<BackendSummary> KnownBackends() {
  std::vector<BackendSummary> backends;
  for (const Known& known : kKnown) backends.push_back({known.name, known.description});
  for (const std::string& name : InstalledPlugins()) {
    if (!IsAmong(backends, name)) backends.push_back({name, ""});
  }
  return backends;
}

const BackendEntry& FindBackend(const std::string& name) {
  for (const Known& known : kKnown) {
    if (name == known.name) return known.built_in != nullptr ? *known.built_in : LoadPlugin(name).backend;
  }
  const std::vector<BackendSummary> backends = KnownBackends();
  if (IsAmong(backends, name)) return LoadPlugin(name).backend;
  throw Error(ErrorCode::kInvalidArgument, StrCat("backend is \"", name, "\", but must be ", Joined(backends), "."));
}

std::string ResolveBackend(const Bundle& bundle, const BackendOptions& options) {
  if (options.backend == "auto") return FirstThatCan(bundle, options);
  return FindBackend(options.backend).name;
}

std::unique_ptr<Backend> MakeBackend(const Bundle& bundle, const BackendOptions& options) {
  const BackendEntry& entry = FindBackend(ResolveBackend(bundle, options));
  const std::string reason = entry.why_not(bundle, options);
  if (!reason.empty()) throw Error(ErrorCode::kUnsupported, reason);
  return entry.make(bundle, options);
}

std::vector<PackedType> PackedTypes() {
  std::vector<PackedType> types;
  for (const native::WeightFacts& facts : native::WeightTypes::kFacts) {
    types.push_back({facts.name, facts.scale_bytes, facts.scale_groups, facts.code_bytes, facts.integers});
  }
  return types;
}

}  // namespace skywork_rt
