#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "skywork_rt/export.h"
#include "skywork_rt/model_spec.h"

namespace skywork_rt {

/// One file of a bundle, as model.json states it.
struct BundleFile {
  std::string name;    // inside the bundle: a plain name; since version 3 also FOLDER/NAME, at most three parts
  std::string role;    // "graph", "weights", "graph_data", "vocabulary", "tokenizer", "generation_config"
  std::uint64_t size;  // bytes
  std::string sha256;  // 64 lower-case hexadecimal digits
};

/// One shape that a graph is compiled for.
struct BundleGear {
  int batch = 0;
  int length = 0;  // tokens of a prompt, or positions of the cache that a step of one token attends to
};

/// The KV cache that a graph of the contract "device-cache" holds in its Parameters.
struct BundleDeviceCache {
  int rows = 0;       // forms assign and indexed: sequences
  int positions = 0;  // and tokens of each
  int blocks = 0;     // form paged: blocks, the first of which takes what is padding
  int block_tokens = 0;
  int table = 0;  // blocks of the longest sequence
};

/// One exported graph. Contracts are described in docs/bundle-format.md.
struct BundleGraph {
  std::string file;
  std::string contract;   // "host-cache/full", "host-cache/incremental", "device-cache/full", ...
  std::string flavour;    // "lite2.0-cpu", "ge"
  std::string precision;  // "float32"
  std::string weights;    // the file that holds its weights, which graphs may share; empty: its own, or X.msw of X.ms
  // Of contract "device-cache" alone:
  std::string form;               // "assign", "indexed", "paged"
  BundleDeviceCache cache;        // of both graphs
  std::vector<BundleGear> gears;  // at least one
};

/// A bundle directory that has been opened and checked: model.json is well formed, every listed file is there with
/// its stated size. Contents are checked by VerifyFile, which whoever reads a file calls when its rule says so.
class SKYWORK_RT_API Bundle {
 public:
  /// Throws Error: kNotFound (no directory, no model.json: no bundle), kCorruptBundle, kUnsupported (newer format).
  static Bundle Open(const std::filesystem::path& directory);

  const std::filesystem::path& directory() const { return directory_; }
  const ModelSpec& model() const { return model_; }
  const std::vector<BundleGraph>& graphs() const { return graphs_; }
  /// weights name ("f32", "int4", ...) to file name.
  const std::map<std::string, std::string>& weights() const { return weights_; }
  const std::vector<BundleFile>& files() const { return files_; }

  /// What the bundle can be run with, for messages: "graph host-cache/full (lite2.0-cpu), weights int4".
  std::string Contents() const;
  /// The graph with this contract and flavour, or nullptr.
  const BundleGraph* FindGraph(const std::string& contract, const std::string& flavour) const;
  /// The file with this role, or nullptr.
  const BundleFile* FindRole(const std::string& role) const;
  /// Path of a listed file. Throws kCorruptBundle when it is not listed.
  std::filesystem::path PathOf(const std::string& file) const;
  /// Reads the whole file and compares its SHA-256. Throws kCorruptBundle that names both digests.
  void VerifyFile(const std::string& file) const;

 private:
  std::filesystem::path directory_;
  ModelSpec model_;
  std::vector<BundleFile> files_;
  std::vector<BundleGraph> graphs_;
  std::map<std::string, std::string> weights_;
};

}  // namespace skywork_rt
