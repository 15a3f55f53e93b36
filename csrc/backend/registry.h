#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/backend_entry.h"
#include "bundle/bundle.h"
#include "skywork_rt/export.h"

namespace skywork_rt {

struct BackendSummary {
  std::string name;         // what GeneratorOptions::backend says
  std::string description;  // one line, for people; empty for a plugin of others, which is loaded when it is used
};

/// Our backends, installed or not, in the order in which "auto" asks them, then those whose plugins lie in the folders
/// of PluginFolders().
SKYWORK_RT_API std::vector<BackendSummary> KnownBackends();

/// The backend of this name, whose plugin is loaded if it is one. Throws Error: kInvalidArgument (there is no such
/// name), kBackendUnavailable (its plugin is missing or does not load).
SKYWORK_RT_API const BackendEntry& FindBackend(const std::string& name);

/// The backend that `options.backend` names; for "auto" the first that can run the bundle. Throws what FindBackend
/// throws, and kUnsupported, with every backend's reason, when none can.
SKYWORK_RT_API std::string ResolveBackend(const Bundle& bundle, const BackendOptions& options);

/// Opens `bundle` on the backend that ResolveBackend gives. Throws what that throws, kUnsupported (the bundle has
/// nothing for it, or it cannot do an option), and what reading the bundle's files throws.
SKYWORK_RT_API std::unique_ptr<Backend> MakeBackend(const Bundle& bundle, const BackendOptions& options);

/// A type of the native backend's packed weights, for whoever packs or chooses them.
struct PackedType {
  const char* name;
  std::size_t scale_bytes;  // of 16 rows by scale_groups groups of 32 inputs
  int scale_groups;
  std::size_t code_bytes;  // of 16 rows by 32 inputs
  bool integers;           // whether activations="int8" is possible
};
SKYWORK_RT_API std::vector<PackedType> PackedTypes();

}  // namespace skywork_rt
