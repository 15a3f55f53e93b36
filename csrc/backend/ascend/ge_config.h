#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace skywork_rt::ascend {

/// A configuration of MindSpore Lite (context.cfg): sections with keys and values, checked against the known ones.
///
///     # a comment
///     [ge_session_options]
///     ge.externalWeight=1
class GeConfig {
 public:
  /// Throws Error: kNotFound (no such file), kInvalidArgument (not UTF-8 text of at most 1 MiB, a line that is none of
  /// these, an unknown section or key, one that stands twice, a provider other than ge), with the line's number and the
  /// nearest known names.
  static GeConfig Read(const std::filesystem::path& file);

  /// The value, or nullptr.
  const std::string* Find(const std::string& section, const std::string& key) const;

 private:
  void Take(const std::string& line, const std::string& place, std::string* section);
  void TakeSection(const std::string& name, const std::string& place, std::string* section);
  void TakeKey(const std::string& section, const std::string& key, const std::string& value, const std::string& place);

  std::map<std::string, std::map<std::string, std::string>> sections_;
};

/// The files that GeneratorOptions::ge_config names: of the full and of the incremental graph. One file is for both,
/// none gives two empty names. Throws Error(kInvalidArgument) for three or more.
std::vector<std::string> GeConfigFiles(const std::string& option);

/// Refuses a precision mode that GE does not know, with the known ones. Throws Error(kInvalidArgument).
void CheckPrecision(const std::string& mode);

}  // namespace skywork_rt::ascend
