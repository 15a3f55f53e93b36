#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "backend/plugin.h"
#include "skywork_rt/export.h"

namespace skywork_rt {

/// Where plugins are looked for, in order: the folder `backends` beside libskywork_rt.so, then each folder of the
/// environment variable SKYWORK_RT_BACKENDS (separated by colons).
std::vector<std::filesystem::path> PluginFolders();

/// Names of the plugins in those folders, in order and each once: of the files skywork_rt_<name>.so. Their session
/// modules (skywork_rt_<name>_session….so) are none.
std::vector<std::string> InstalledPlugins();

/// Loads `skywork_rt_<name>.so` from the first folder that has it, once a process, with RTLD_LOCAL; never closes it,
/// because its libraries do not survive being unloaded. Safe from any thread.
/// Throws Error(kBackendUnavailable) that lists the folders, or repeats the dynamic loader's own words.
SKYWORK_RT_API const PluginEntry& LoadPlugin(const std::string& name);

/// The same from one file, without the search and without remembering.
const PluginEntry& LoadPluginFile(const std::filesystem::path& file);

}  // namespace skywork_rt
