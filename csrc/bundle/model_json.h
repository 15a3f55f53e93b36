#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "bundle/bundle.h"
#include "skywork_rt/model_spec.h"

namespace skywork_rt {

/// What model.json says, checked for structure and ranges but not against the disk.
struct ModelJson {
  ModelSpec model;
  std::vector<BundleFile> files;
  std::vector<BundleGraph> graphs;
  std::map<std::string, std::string> weights;
};

/// Parses the text of a model.json of format version 1 to 3 (docs/bundle-format.md). `path` is for messages only.
/// Throws Error: kCorruptBundle (not JSON, a missing or wrong value, named by its place), kUnsupported (newer
/// version, other architecture).
ModelJson ParseModelJson(const std::string& text, const std::filesystem::path& path);

}  // namespace skywork_rt
