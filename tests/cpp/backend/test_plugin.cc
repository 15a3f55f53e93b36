// One source for the plugins of plugin_loader_test: TEST_PLUGIN_ABI is what the plugin claims; without it the
// library has no entry at all.
#include "backend/plugin.h"

#ifdef TEST_PLUGIN_ABI

namespace {

std::unique_ptr<skywork_rt::Backend> Make(const skywork_rt::Bundle&, const skywork_rt::BackendOptions&) {
  return nullptr;
}

std::string WhyNot(const skywork_rt::Bundle&, const skywork_rt::BackendOptions&) {
  return "a test's plugin runs nothing";
}

constexpr skywork_rt::PluginEntry kEntry{TEST_PLUGIN_ABI, {"good", "a test's plugin", &WhyNot, &Make}};

}  // namespace

extern "C" SKYWORK_RT_API const skywork_rt::PluginEntry* skywork_rt_backend_plugin() {
  return &kEntry;
}

#endif
