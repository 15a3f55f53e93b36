#include "bundle/bundle.h"

#include <algorithm>
#include <fstream>
#include <system_error>
#include <utility>
#include <vector>

#include "bundle/model_json.h"
#include "skywork_rt/error.h"
#include "support/format.h"
#include "support/sha256.h"

namespace skywork_rt {
namespace {

namespace fs = std::filesystem;

constexpr const char* kModelJson = "model.json";
constexpr std::uintmax_t kMostJsonBytes = std::uintmax_t{64} << 20;

void RequireDirectory(const fs::path& directory) {
  std::error_code error;
  const fs::file_status status = fs::status(directory, error);
  if (!fs::exists(status)) {
    throw Error(ErrorCode::kNotFound, StrCat("There is no bundle at ", directory.string(),
                                             ": no such directory. Make one with: skywork-rt export SOURCE OUT"));
  }
  if (!fs::is_directory(status)) {
    throw Error(ErrorCode::kNotFound, StrCat(directory.string(), " is a file, but a bundle is a directory. ",
                                             "Make one with: skywork-rt export ", directory.string(), " OUT"));
  }
}

std::string ReadModelJson(const fs::path& path) {
  std::error_code error;
  if (!fs::is_regular_file(path, error)) {
    throw Error(ErrorCode::kNotFound, StrCat(path.parent_path().string(), " is no bundle: it has no ", kModelJson,
                                             ". Make one with: skywork-rt export SOURCE OUT"));
  }
  const std::uintmax_t size = fs::file_size(path, error);
  if (error || size > kMostJsonBytes) {
    throw Error(ErrorCode::kCorruptBundle, StrCat(path.string(), " has ", size, " bytes, more than the ",
                                                  kMostJsonBytes, " that a model.json may have"));
  }
  std::ifstream in(path, std::ios::binary);
  std::string text(static_cast<std::size_t>(size), '\0');
  if (!in.read(text.data(), static_cast<std::streamsize>(size))) {
    throw Error(ErrorCode::kNotFound, StrCat(path.string(), " cannot be read: check its permissions"));
  }
  return text;
}

void CheckSize(const fs::path& path, const BundleFile& file) {
  std::error_code error;
  // symlinks are followed on purpose: caches link their blobs; the name itself cannot leave the directory.
  if (!fs::is_regular_file(path, error)) {
    throw Error(ErrorCode::kCorruptBundle,
                StrCat(path.string(), " is missing, but model.json lists it. Export the bundle again."));
  }
  const std::uintmax_t size = fs::file_size(path, error);
  if (error || size != file.size) {
    throw Error(ErrorCode::kCorruptBundle, StrCat(path.string(), " has ", size, " bytes, but model.json says ",
                                                  file.size, ": truncated or replaced. Export the bundle again."));
  }
}

}  // namespace

Bundle Bundle::Open(const fs::path& directory) {
  RequireDirectory(directory);
  const fs::path json_path = directory / kModelJson;
  ModelJson parsed = ParseModelJson(ReadModelJson(json_path), json_path);
  for (const BundleFile& file : parsed.files) CheckSize(directory / file.name, file);
  Bundle bundle;
  bundle.directory_ = directory;
  bundle.model_ = std::move(parsed.model);
  bundle.files_ = std::move(parsed.files);
  bundle.graphs_ = std::move(parsed.graphs);
  bundle.weights_ = std::move(parsed.weights);
  return bundle;
}

std::string Bundle::Contents() const {
  std::string text;
  for (const BundleGraph& graph : graphs_) {
    text += StrCat(text.empty() ? "" : ", ", "graph ", graph.contract, " (", graph.flavour, ")");
  }
  for (const auto& [name, file] : weights_) text += StrCat(text.empty() ? "" : ", ", "weights ", name);
  return text;
}

const BundleGraph* Bundle::FindGraph(const std::string& contract, const std::string& flavour) const {
  const auto found = std::find_if(graphs_.begin(), graphs_.end(), [&](const BundleGraph& graph) {
    return graph.contract == contract && graph.flavour == flavour;
  });
  return found == graphs_.end() ? nullptr : &*found;
}

const BundleFile* Bundle::FindRole(const std::string& role) const {
  const auto found =
      std::find_if(files_.begin(), files_.end(), [&](const BundleFile& file) { return file.role == role; });
  return found == files_.end() ? nullptr : &*found;
}

fs::path Bundle::PathOf(const std::string& file) const {
  const bool listed =
      std::any_of(files_.begin(), files_.end(), [&](const BundleFile& entry) { return entry.name == file; });
  if (!listed) {
    throw Error(ErrorCode::kCorruptBundle,
                StrCat(directory_.string(), " has no file \"", file, "\" listed in model.json"));
  }
  return directory_ / file;
}

void Bundle::VerifyFile(const std::string& file) const {
  const fs::path path = PathOf(file);
  const auto entry =
      std::find_if(files_.begin(), files_.end(), [&](const BundleFile& candidate) { return candidate.name == file; });
  std::ifstream in(path, std::ios::binary);
  if (!in) throw Error(ErrorCode::kCorruptBundle, StrCat(path.string(), " cannot be opened: check its permissions"));
  Sha256 hash;
  std::vector<char> buffer(std::size_t{1} << 20);
  while (in) {
    in.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
    hash.Update(buffer.data(), static_cast<std::size_t>(in.gcount()));
  }
  const std::string found = hash.HexDigest();
  if (in.bad() || found != entry->sha256) {
    throw Error(ErrorCode::kCorruptBundle,
                StrCat(path.string(), " is damaged: its SHA-256 is ", found, ", but model.json says ", entry->sha256,
                       ". Copy or export the bundle again."));
  }
}

}  // namespace skywork_rt
