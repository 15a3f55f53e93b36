#include "backend/registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "skywork_rt/error.h"
#include "support/temporary_directory.h"

namespace skywork_rt {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;

constexpr const char* kModel =
    R"({"format": "skywork_rt.bundle", "version": 1, "producer": "test", "model": {"name": "t",
    "architecture": "llama", "layers": 1, "hidden_size": 8, "intermediate_size": 16, "heads": 2, "kv_heads": 2,
    "head_dim": 4, "vocab_size": 16, "max_length": 64, "rms_norm_eps": 1e-5, "qkv_bias": false,
    "tied_embeddings": true, "rope": {"type": "default", "theta": 10000.0, "inverse_frequencies": [1.0, 0.01],
    "attention_factor": 1.0}, "bos_id": 1, "pad_id": null, "eos_ids": [2]}, )";
constexpr const char* kWeights = R"("weights": {"int8": "w.bin"}, "files": {"w.bin": {"role": "weights", "size": 1,
    "sha256": "0000000000000000000000000000000000000000000000000000000000000000"}}})";
constexpr const char* kGraphs = R"("graphs": [{"file": "f.ms", "contract": "host-cache/full", "flavour": "lite2.0-cpu",
    "precision": "float32"}], "files": {"f.ms": {"role": "graph", "size": 1,
    "sha256": "0000000000000000000000000000000000000000000000000000000000000000"}}})";

/// A bundle whose files are one byte each: enough to be asked about.
class Registry : public ::testing::Test {
 protected:
  Bundle WithWeights() { return Write(kWeights, "w.bin"); }
  Bundle WithGraphs() { return Write(kGraphs, "f.ms"); }

  static BackendOptions Asking(const std::string& backend, const std::string& device = "auto") {
    BackendOptions options;
    options.backend = backend;
    options.device = device;
    return options;
  }

  static Error Refusal(const Bundle& bundle, const BackendOptions& options) {
    try {
      MakeBackend(bundle, options);
    } catch (const Error& error) {
      return error;
    }
    return {ErrorCode::kInternal, "it was opened"};
  }

 private:
  Bundle Write(const char* rest, const char* file) {
    directory_.Write("model.json", std::string(kModel) + rest);
    directory_.Write(file, "x");
    return Bundle::Open(directory_.path());
  }

  const testing::TemporaryDirectory directory_;
};

std::vector<std::string> Names() {
  std::vector<std::string> names;
  for (const BackendSummary& backend : KnownBackends()) names.push_back(backend.name);
  return names;
}

/// The folder of the test's plugins is searched while it lives.
class WithTestPlugins {
 public:
  WithTestPlugins() { setenv("SKYWORK_RT_BACKENDS", TEST_PLUGIN_FOLDER, 1); }
  ~WithTestPlugins() { unsetenv("SKYWORK_RT_BACKENDS"); }
  WithTestPlugins(const WithTestPlugins&) = delete;
  WithTestPlugins& operator=(const WithTestPlugins&) = delete;
};

TEST_F(Registry, AutoTakesNativeWhereThereAreWeightsForIt) {
  EXPECT_EQ(ResolveBackend(WithWeights(), Asking("auto")), "native");
}

TEST_F(Registry, AutoTellsWhyNoBackendCanRunABundle) {
  const Error error = Refusal(WithWeights(), Asking("auto", "ascend"));
  EXPECT_THAT(error.what(), AllOf(HasSubstr("No backend can run"), HasSubstr("native: "), HasSubstr("lite: "),
                                  HasSubstr("not on \"ascend\"")));
}

TEST_F(Registry, ANamedBackendSaysWhatTheBundleLacks) {
  const Error error = Refusal(WithGraphs(), Asking("native"));
  EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
  EXPECT_THAT(error.what(), AllOf(HasSubstr("no weights for the backend \"native\""),
                                  HasSubstr("graph host-cache/full"), HasSubstr("--for native")));
}

TEST_F(Registry, UnknownNamesAreRefusedWithTheKnownOnes) {
  const Error error = Refusal(WithWeights(), Asking("cuda"));
  EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(error.what(), HasSubstr("backend is \"cuda\", but must be auto, native, lite or ascend."));
}

TEST_F(Registry, APluginOfAnybodyIsABackendByItsFilesName) {
  EXPECT_THAT(Names(), ElementsAre("native", "lite", "ascend"));
  const WithTestPlugins plugins;
  EXPECT_THAT(Names(), IsSupersetOf({"native", "lite", "ascend", "good"}));
  EXPECT_EQ(ResolveBackend(WithWeights(), Asking("good")), "good");
  EXPECT_THAT(Refusal(WithWeights(), Asking("good")).what(), HasSubstr("a test's plugin runs nothing"));
}

}  // namespace
}  // namespace skywork_rt
