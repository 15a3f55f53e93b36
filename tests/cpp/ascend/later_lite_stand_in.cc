// ModelGroup and AscendDeviceInfo::SetRankID as the headers of MindSpore 2.2 and later declare them, in a library of
// its own: what later_lite.h declares by their symbols must reach them with the arguments in their places.

#include "later_lite_stand_in.h"

#include <include/api/status.h>

#include <memory>
#include <vector>

int stand_in_flag = 0;
std::size_t stand_in_models = 0;
const void* stand_in_implementations[8] = {};
std::uint32_t stand_in_rank = 0;
const void* stand_in_device = nullptr;

namespace mindspore {

class ModelImpl;
class ModelGroupImpl;

// That of 2.2, whose copies share their implementation.
class __attribute__((visibility("default"))) Model {
 public:
  std::shared_ptr<ModelImpl> impl_;
};

enum class ModelGroupFlag : int { kShareWeight = 0x0001, kShareWorkspace = 0x0002 };

class __attribute__((visibility("default"))) ModelGroup {
 public:
  explicit ModelGroup(ModelGroupFlag flags);
  ~ModelGroup() = default;
  Status AddModel(const std::vector<Model>& model_list);

 private:
  std::shared_ptr<ModelGroupImpl> impl_;
};

ModelGroup::ModelGroup(ModelGroupFlag flags) {
  stand_in_flag = static_cast<int>(flags);
}

Status ModelGroup::AddModel(const std::vector<Model>& model_list) {
  stand_in_models = model_list.size();
  for (std::size_t i = 0; i < model_list.size(); ++i) stand_in_implementations[i] = model_list[i].impl_.get();
  return Status();
}

// Lite's own is in its library, which this test does without.
Status::Status() = default;

class __attribute__((visibility("default"))) AscendDeviceInfo {
 public:
  void SetRankID(std::uint32_t rank_id);
};

void AscendDeviceInfo::SetRankID(std::uint32_t rank_id) {
  stand_in_rank = rank_id;
  stand_in_device = this;
}

}  // namespace mindspore
