// The plugin on the real MindSpore Lite, as the core loads it: conformance on the bundle that SKYWORK_RT_TEST_BUNDLE
// names (any size; a small one is quick), and errors that need no bundle of a real model.

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "backend/plugin.h"
#include "bundle/bundle.h"
#include "conformance/conformance.h"
#include "skywork_rt/error.h"
#include "support/temporary_directory.h"

namespace skywork_rt {
namespace {

const PluginEntry& Plugin() {
  void* module = dlopen(LITE_PLUGIN, RTLD_NOW | RTLD_LOCAL);
  if (module == nullptr) throw std::runtime_error(dlerror());
  using EntryFunction = const PluginEntry* (*)();
  return *reinterpret_cast<EntryFunction>(dlsym(module, kPluginSymbol))();
}

/// As the registry opens it.
std::unique_ptr<Backend> Open(const Bundle& bundle, const BackendOptions& options) {
  const std::string reason = Plugin().backend.why_not(bundle, options);
  if (!reason.empty()) throw Error(ErrorCode::kUnsupported, reason);
  return Plugin().backend.make(bundle, options);
}

std::string TestBundle() {
  const char* given = std::getenv("SKYWORK_RT_TEST_BUNDLE");
  return given == nullptr ? "" : given;
}

std::vector<BackendUnderTest> RealBackends() {
  if (TestBundle().empty()) return {};
  return {{"RealGraphs", [](const BackendOptions& options) { return Open(Bundle::Open(TestBundle()), options); }}};
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(BackendConformance);
INSTANTIATE_TEST_SUITE_P(Lite, BackendConformance, ::testing::ValuesIn(RealBackends()), ConformanceName);

TEST(RealLite, HasABundleToRunConformanceOn) {
  if (TestBundle().empty())
    GTEST_SKIP() << "SKYWORK_RT_TEST_BUNDLE names no bundle: conformance ran on the double only";
  EXPECT_FALSE(Bundle::Open(TestBundle()).graphs().empty());
}

/// A bundle whose one graph is `contents`, with a true SHA-256 unless `sha256` is given.
void WriteBundle(const std::filesystem::path& folder, const std::string& contents, const std::string& sha256) {
  std::ofstream(folder / "full.ms") << contents;
  std::ofstream(folder / "model.json")
      << R"({"format": "skywork_rt.bundle", "version": 1, "producer": "test", "model": {"name": "t",
          "architecture": "llama", "layers": 1, "hidden_size": 8, "intermediate_size": 16, "heads": 2, "kv_heads": 2,
          "head_dim": 4, "vocab_size": 16, "max_length": 64, "rms_norm_eps": 1e-5, "qkv_bias": false,
          "tied_embeddings": true, "rope": {"type": "default", "theta": 10000.0, "inverse_frequencies": [1.0, 0.01],
          "attention_factor": 1.0}, "bos_id": 1, "pad_id": null, "eos_ids": [2]},
          "graphs": [{"file": "full.ms", "contract": "host-cache/full", "flavour": "lite2.0-cpu",
          "precision": "float32"}], "files": {"full.ms": {"role": "graph", "size": )"
      << contents.size() << R"(, "sha256": ")" << sha256 << R"("}}})";
}

class BadGraph : public ::testing::Test {
 protected:
  Error Refusal(const BackendOptions& options = {}) {
    try {
      Open(Bundle::Open(folder_.path()), options);
    } catch (const Error& error) {
      return error;
    }
    return {ErrorCode::kInternal, "accepted"};
  }

  skywork_rt::testing::TemporaryDirectory folder_;
};

constexpr const char* kJunk = "this is no graph\n";
constexpr const char* kJunkSha256 = "7e529bfa26d21edb98d0eae94fe27b9e296828723d4d286fd902bc730f826d41";

TEST_F(BadGraph, OfAnotherHashNeverReachesLite) {
  WriteBundle(folder_.path(), kJunk, std::string(64, '0'));
  const Error error = Refusal();
  EXPECT_EQ(error.code(), ErrorCode::kCorruptBundle) << error.what();
  EXPECT_NE(std::string(error.what()).find(kJunkSha256), std::string::npos) << error.what();
}

TEST_F(BadGraph, ThatLiteRefusesIsABackendErrorWithLitesWords) {
  WriteBundle(folder_.path(), kJunk, kJunkSha256);
  const Error error = Refusal();
  EXPECT_EQ(error.code(), ErrorCode::kBackend) << error.what();
  EXPECT_NE(std::string(error.what()).find("full.ms"), std::string::npos) << error.what();
  EXPECT_NE(std::string(error.what()).find("it logged"), std::string::npos) << error.what();
}

TEST_F(BadGraph, LeavesStandardErrorAlone) {
  if (std::getenv("LITE_HOME") != nullptr) GTEST_SKIP() << "LITE_HOME's Lite is not ours to patch: it may log a line";
  WriteBundle(folder_.path(), kJunk, kJunkSha256);
  ::testing::internal::CaptureStderr();
  ::testing::internal::CaptureStdout();
  Refusal();
  EXPECT_EQ(::testing::internal::GetCapturedStdout(), "");
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
}

TEST_F(BadGraph, OptionsThatLiteCannotServeAreRefusedByName) {
  WriteBundle(folder_.path(), kJunk, kJunkSha256);
  BackendOptions options;
  options.weights = "int4";
  EXPECT_NE(std::string(Refusal(options).what()).find("weights"), std::string::npos);
  options = {};
  options.device = "ascend";
  EXPECT_EQ(Refusal(options).code(), ErrorCode::kUnsupported);
  options = {};
  options.kv_cache = "f16";
  EXPECT_NE(std::string(Refusal(options).what()).find("kv_cache"), std::string::npos);
}

TEST_F(BadGraph, WithoutLiteTheErrorNamesTheCommand) {
  WriteBundle(folder_.path(), kJunk, kJunkSha256);
  GTEST_FLAG_SET(death_test_style, "threadsafe");  // a fresh process: in this one Lite may be loaded already
  EXPECT_EXIT(
      {
        setenv("SKYWORK_RT_CACHE", folder_.path().c_str(), 1);
        unsetenv("LITE_HOME");
        std::fprintf(stderr, "%s", Refusal().what());
        std::_Exit(0);
      },
      ::testing::ExitedWithCode(0), "is not prepared in .*skywork-rt lite install");
  EXPECT_EXIT(
      {
        setenv("LITE_HOME", folder_.path().c_str(), 1);
        std::fprintf(stderr, "%s", Refusal().what());
        std::_Exit(0);
      },
      ::testing::ExitedWithCode(0), "libmindspore-lite.so does not exist");
}

}  // namespace
}  // namespace skywork_rt
