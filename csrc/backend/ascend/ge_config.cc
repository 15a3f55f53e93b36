#include "backend/ascend/ge_config.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <sstream>
#include <system_error>

#include "backend/ascend/ge_keys.h"
#include "skywork_rt/error.h"
#include "support/format.h"

namespace skywork_rt::ascend {
namespace {

namespace fs = std::filesystem;

constexpr std::uintmax_t kMostBytes = std::uintmax_t{1} << 20;

[[noreturn]] void Refuse(const std::string& place, const std::string& complaint) {
  throw Error(ErrorCode::kInvalidArgument, StrCat(place, ": ", complaint));
}

std::string Trimmed(const std::string& text) {
  const char* const blank = " \t\r";
  const std::size_t begin = text.find_first_not_of(blank);
  return begin == std::string::npos ? "" : text.substr(begin, text.find_last_not_of(blank) - begin + 1);
}

std::string Joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

std::string ReadText(const fs::path& file) {
  std::error_code error;
  if (!fs::is_regular_file(file, error)) {
    throw Error(ErrorCode::kNotFound,
                StrCat("ge_config names ", file.string(), ", which is no file: give MindSpore Lite's context.cfg"));
  }
  if (fs::file_size(file, error) > kMostBytes)
    Refuse(file.string(), "has more than 1 MiB; a configuration is far smaller");
  std::ifstream in(file, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  if (!in) throw Error(ErrorCode::kNotFound, StrCat(file.string(), " cannot be read: check its permissions"));
  if (text.str().find('\0') != std::string::npos) Refuse(file.string(), "is no text");
  return text.str();
}

const GeSection* FindSection(const std::string& name) {
  for (const GeSection& section : GeSections()) {
    if (name == section.name) return &section;
  }
  return nullptr;
}

/// The section that has the key, which was written elsewhere; empty for none.
std::string SectionOf(const std::string& key) {
  for (const GeSection& section : GeSections()) {
    const auto same = [&](const char* known) { return key == known; };
    if (std::any_of(section.keys.begin(), section.keys.end(), same)) return section.name;
  }
  return "";
}

}  // namespace

GeConfig GeConfig::Read(const fs::path& file) {
  GeConfig config;
  std::istringstream text(ReadText(file));
  std::string section;
  std::size_t number = 0;
  for (std::string line; std::getline(text, line);) {
    ++number;
    if (number == 1 && line.compare(0, 3, "\xEF\xBB\xBF") == 0) line.erase(0, 3);
    config.Take(Trimmed(line), StrCat(file.string(), ":", number), &section);
  }
  return config;
}

void GeConfig::Take(const std::string& line, const std::string& place, std::string* section) {
  if (line.empty() || line[0] == '#') return;
  if (line[0] == '[') {
    if (line.back() != ']') Refuse(place, StrCat("\"", line, "\" begins a section and does not end it with ]"));
    TakeSection(Trimmed(line.substr(1, line.size() - 2)), place, section);
    return;
  }
  const std::size_t equals = line.find('=');
  if (equals == std::string::npos) {
    Refuse(place, StrCat("\"", line, "\" is no [section], no key=value and no # comment"));
  }
  if (section->empty()) Refuse(place, StrCat("\"", line, "\" stands before the first [section]"));
  TakeKey(*section, Trimmed(line.substr(0, equals)), Trimmed(line.substr(equals + 1)), place);
}

void GeConfig::TakeSection(const std::string& name, const std::string& place, std::string* section) {
  if (FindSection(name) == nullptr) {
    std::vector<const char*> known;
    for (const GeSection& each : GeSections()) known.push_back(each.name);
    Refuse(place,
           StrCat("there is no section [", name, "]; the nearest known ones are ", Joined(Nearest(name, known))));
  }
  if (!sections_.emplace(name, std::map<std::string, std::string>()).second) {
    Refuse(place, StrCat("the section [", name, "] stands twice: Lite would read one of them only"));
  }
  *section = name;
}

void GeConfig::TakeKey(const std::string& section, const std::string& key, const std::string& value,
                       const std::string& place) {
  const std::vector<const char*>& known = FindSection(section)->keys;
  const bool is_known = std::any_of(known.begin(), known.end(), [&](const char* each) { return key == each; });
  if (!is_known) {
    const std::string elsewhere = SectionOf(key);
    Refuse(place, StrCat("the section [", section, "] has no key ", key,
                         elsewhere.empty() ? StrCat("; the nearest known ones are ", Joined(Nearest(key, known)))
                                           : StrCat("; it belongs to [", elsewhere, "]")));
  }
  if (value.empty()) Refuse(place, StrCat(key, " has no value"));
  if (key == "provider" && value != "ge") {
    Refuse(place, StrCat("provider is ", value, ", but graphs with a device cache run through ge only"));
  }
  if (!sections_.at(section).emplace(key, value).second) Refuse(place, StrCat(key, " stands twice in [", section, "]"));
}

const std::string* GeConfig::Find(const std::string& section, const std::string& key) const {
  const auto found = sections_.find(section);
  if (found == sections_.end()) return nullptr;
  const auto value = found->second.find(key);
  return value == found->second.end() ? nullptr : &value->second;
}

std::vector<std::string> GeConfigFiles(const std::string& option) {
  if (option.empty()) return {"", ""};
  std::vector<std::string> files;
  for (std::size_t begin = 0; begin <= option.size();) {
    const std::size_t end = std::min(option.find(',', begin), option.size());
    files.push_back(Trimmed(option.substr(begin, end - begin)));
    begin = end + 1;
  }
  if (files.size() > 2 || std::find(files.begin(), files.end(), "") != files.end()) {
    throw Error(ErrorCode::kInvalidArgument,
                StrCat("ge_config is \"", option,
                       "\", but must be one file, or two with a comma between them: of the "
                       "full graph and of the incremental one"));
  }
  if (files.size() == 1) files.push_back(files[0]);
  return files;
}

void CheckPrecision(const std::string& mode) {
  const std::vector<const char*> known{"must_keep_origin_dtype",
                                       "force_fp16",
                                       "force_fp32",
                                       "allow_fp32_to_fp16",
                                       "allow_fp32_to_bf16",
                                       "allow_mix_precision",
                                       "allow_mix_precision_fp16",
                                       "allow_mix_precision_bf16",
                                       "cube_fp16in_fp32out"};
  if (mode == "auto") return;
  if (std::any_of(known.begin(), known.end(), [&](const char* each) { return mode == each; })) return;
  throw Error(ErrorCode::kInvalidArgument, StrCat("ge_precision is \"", mode,
                                                  "\", but must be auto or a mode of GE; the "
                                                  "nearest are ",
                                                  Joined(Nearest(mode, known))));
}

}  // namespace skywork_rt::ascend
