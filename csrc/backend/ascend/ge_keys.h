#pragma once

#include <string>
#include <vector>

namespace skywork_rt::ascend {

/// A section of MindSpore Lite's configuration file, and the keys that it may have.
struct GeSection {
  const char* name;
  std::vector<const char*> keys;
};

/// Sections and keys that matter to graphs on Ascend through the provider `ge`. Sources: MindSpore Lite's
/// src/common/common.h (2.2 to 2.6), CANN's ge_api_types.h (7.0), and the configurations of MindFormers' documentation.
const std::vector<GeSection>& GeSections();

/// What `name` may have been meant to be: the three of `known` that differ the least from it, the nearest first.
std::vector<std::string> Nearest(const std::string& name, const std::vector<const char*>& known);

}  // namespace skywork_rt::ascend
