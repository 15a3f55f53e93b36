#include "backend/native/native_backend.h"
#include "conformance/conformance.h"
#include "native/tiny_model.h"

namespace skywork_rt {
namespace {

BackendUnderTest Native(const std::string& name, const native::TinyOptions& shape, const std::string& kv_cache) {
  return {name, [=](const BackendOptions& options) {
            const native::TemporaryDirectory directory;
            const native::TinyModel model = native::MakeTinyModel(shape, directory.path());
            BackendOptions mine = options;
            mine.kv_cache = kv_cache;
            return native::OpenBackend(model.spec, model.file, mine);
          }};
}

native::TinyOptions With(native::WeightKind kind) {
  native::TinyOptions shape;
  shape.kind = kind;
  return shape;
}

INSTANTIATE_TEST_SUITE_P(Native, BackendConformance,
                         testing::Values(Native("Int8", {}, "f32"), Native("Int4HalfCache", With(native::kInt4), "f16"),
                                         Native("Float32", With(native::kF32), "f32")),
                         ConformanceName);

}  // namespace
}  // namespace skywork_rt
