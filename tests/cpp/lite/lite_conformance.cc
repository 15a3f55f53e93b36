// The Lite backend against what every backend must do, on the double of MindSpore Lite.

#include <memory>

#include "backend/lite/lite_backend.h"
#include "conformance/conformance.h"
#include "lite/recording_session.h"

namespace skywork_rt {
namespace {

std::unique_ptr<Backend> OnDouble(const BackendOptions& options, std::size_t patience) {
  static lite::Recording recording;
  lite::LiteLimits limits;
  limits.max_batch = options.max_batch;
  limits.max_length = options.max_length;
  limits.max_cached_tokens = options.max_cached_tokens;
  limits.patience = patience;
  const ModelSpec model = lite::TinySpec();
  return std::make_unique<lite::LiteBackend>(model, limits, lite::FullDouble(model, &recording),
                                             lite::IncrementalDouble(model, &recording));
}

INSTANTIATE_TEST_SUITE_P(Lite, BackendConformance,
                         testing::Values(BackendUnderTest{"BothGraphs", [](const auto& o) { return OnDouble(o, 0); }},
                                         BackendUnderTest{"FullGraphOnly",
                                                          [](const auto& o) { return OnDouble(o, 1u << 30); }}),
                         ConformanceName);

}  // namespace
}  // namespace skywork_rt
