// The Lite backend against what every backend must do, on the double of MindSpore Lite.

#include <memory>

#include "backend/host_cache/host_cache_backend.h"
#include "conformance/conformance.h"
#include "host_cache/recording_session.h"

namespace skywork_rt {
namespace {

std::unique_ptr<Backend> OnDouble(const BackendOptions& options, std::size_t patience) {
  static host_cache::Recording recording;
  host_cache::HostCacheLimits limits;
  limits.max_batch = options.max_batch;
  limits.max_length = options.max_length;
  limits.max_cached_tokens = options.max_cached_tokens;
  limits.patience = patience;
  const ModelSpec model = host_cache::TinySpec();
  return std::make_unique<host_cache::HostCacheBackend>(model, limits, host_cache::FullDouble(model, &recording),
                                                        host_cache::IncrementalDouble(model, &recording));
}

INSTANTIATE_TEST_SUITE_P(Lite, BackendConformance,
                         testing::Values(BackendUnderTest{"BothGraphs", [](const auto& o) { return OnDouble(o, 0); }},
                                         BackendUnderTest{"FullGraphOnly",
                                                          [](const auto& o) { return OnDouble(o, 1u << 30); }}),
                         ConformanceName);

}  // namespace
}  // namespace skywork_rt
