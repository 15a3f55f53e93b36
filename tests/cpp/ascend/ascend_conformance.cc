// The Ascend backend against what every backend must do, on the reference device. The form assign computes batches that
// begin and go on together, which that suite does not: static_batch_test.cc is for it.

#include <memory>

#include "ascend/reference_device.h"
#include "conformance/conformance.h"

namespace skywork_rt {
namespace {

std::unique_ptr<Backend> OnReferenceDevice(const BackendOptions& options, ascend::Form form) {
  static ascend::Recording recording;
  recording.calls.clear();
  ascend::DeviceLimits limits;
  limits.max_batch = options.max_batch;
  limits.max_length = options.max_length;
  limits.max_cached_tokens = options.max_cached_tokens;
  const ModelSpec model = ascend::ReferenceModel();
  const ascend::DeviceForm gears = ascend::ReferenceForm(form);
  return std::make_unique<ascend::DeviceCacheBackend>(model, gears, limits,
                                                      ascend::OpenReferenceDevice(model, gears, &recording));
}

INSTANTIATE_TEST_SUITE_P(
    Ascend, BackendConformance,
    testing::Values(
        BackendUnderTest{"Indexed", [](const auto& o) { return OnReferenceDevice(o, ascend::Form::kIndexed); }},
        BackendUnderTest{"Paged", [](const auto& o) { return OnReferenceDevice(o, ascend::Form::kPaged); }}),
    ConformanceName);

}  // namespace
}  // namespace skywork_rt
