// later_lite.h calls members of classes that it does not have by their symbols: here against a library that has them.

#include "backend/lite_runtime/later_lite.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "ascend/later_lite_stand_in.h"

namespace skywork_rt::lite_runtime {
namespace {

TEST(LaterLite, AGroupGetsWhatTheModelsPointTo) {
  ASSERT_TRUE(CanShareWeights());
  const auto first = std::make_shared<int>(1);
  const auto second = std::make_shared<int>(2);
  const std::shared_ptr<void> models[] = {first, second};  // all that a Model is
  std::vector<ModelHandle> members;
  for (const auto& model : models) members.push_back(HandleOf(reinterpret_cast<const mindspore::Model&>(model)));
  {
    mindspore::ModelGroup group(mindspore::ModelGroupFlag::kShareWeight);
    skywork_rt_model_group_add(&group, members);
  }
  EXPECT_EQ(stand_in_flag, 1);
  ASSERT_EQ(stand_in_models, 2u);
  EXPECT_EQ(stand_in_implementations[0], first.get());
  EXPECT_EQ(stand_in_implementations[1], second.get());
  EXPECT_EQ(first.use_count(), 3) << "this one, the model's and the handle's: the group has copied and let go";
}

TEST(LaterLite, ADeviceGetsItsRank) {
  alignas(16) char memory[64] = {};
  auto* const device = reinterpret_cast<mindspore::AscendDeviceInfo*>(memory);
  EXPECT_TRUE(SetRankId(device, 7));
  EXPECT_EQ(stand_in_rank, 7u);
  EXPECT_EQ(stand_in_device, device);
}

}  // namespace
}  // namespace skywork_rt::lite_runtime
