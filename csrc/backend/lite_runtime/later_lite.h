#pragma once

// What MindSpore Lite has since 2.2 and the headers of 2.0, which this is compiled against, do not declare: a
// ModelGroup whose models share their Parameters, and the rank of an Ascend device. Written from the documentation of
// these classes (include/api/model_group.h and context.h of MindSpore 2.2 and later), and not run against a device. It
// stands instead of <include/api/model_group.h>, which must not be included beside it.
//
// Every member is weak: with a Lite that lacks it, the module loads all the same, and the functions at the end say so.

#include <include/api/context.h>
#include <include/api/model.h>

#include <cstdint>
#include <memory>
#include <vector>

namespace mindspore {

class ModelGroupImpl;

enum class ModelGroupFlag : int { kShareWeight = 1, kShareWorkspace = 2 };

class __attribute__((visibility("default"))) ModelGroup {
 public:
  __attribute__((weak)) explicit ModelGroup(ModelGroupFlag flags);
  ~ModelGroup() = default;

 private:
  std::shared_ptr<ModelGroupImpl> impl_;
};

}  // namespace mindspore

namespace skywork_rt::lite_runtime {

/// What a Model is in memory: a pointer to its implementation, which its copies share. The Model of 2.0 cannot be
/// copied, that of 2.2 can, and ModelGroup takes copies.
using ModelHandle = std::shared_ptr<void>;
static_assert(sizeof(mindspore::Model) == sizeof(ModelHandle), "a Model is more than a pointer to its implementation");

inline ModelHandle HandleOf(const mindspore::Model& model) {
  return reinterpret_cast<const ModelHandle&>(model);
}

}  // namespace skywork_rt::lite_runtime

__attribute__((weak)) void skywork_rt_model_group_constructor() __asm__(
    "_ZN9mindspore10ModelGroupC1ENS_14ModelGroupFlagE");

// Status ModelGroup::AddModel(const std::vector<Model>&)
__attribute__((weak)) mindspore::Status skywork_rt_model_group_add(
    mindspore::ModelGroup* group,
    const std::vector<skywork_rt::lite_runtime::ModelHandle>&
        models) __asm__("_ZN9mindspore10ModelGroup8AddModelERKSt6vectorINS_5ModelESaIS2_EE");

// Members are called as functions whose first argument is `this`, which the Itanium C++ ABI makes the same.
// void AscendDeviceInfo::SetRankID(uint32_t)
__attribute__((weak)) void skywork_rt_set_rank_id(mindspore::AscendDeviceInfo* device, std::uint32_t rank) __asm__(
    "_ZN9mindspore16AscendDeviceInfo9SetRankIDEj");

namespace skywork_rt::lite_runtime {

/// Whether the Lite that is loaded has what is declared above.
inline bool CanShareWeights() {
  return &skywork_rt_model_group_constructor != nullptr && &skywork_rt_model_group_add != nullptr;
}

/// False when the Lite that is loaded knows no ranks.
inline bool SetRankId(mindspore::AscendDeviceInfo* device, std::uint32_t rank) {
  if (&skywork_rt_set_rank_id == nullptr) return false;
  skywork_rt_set_rank_id(device, rank);
  return true;
}

}  // namespace skywork_rt::lite_runtime
