#include "backend/ascend/ge_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "ascend/reference_device.h"
#include "backend/ascend/ge_options.h"
#include "skywork_rt/error.h"
#include "support/temporary_directory.h"

namespace skywork_rt::ascend {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;
using ::testing::Not;

constexpr const char* kRecipe =
    "[ascend_context]\nplugin_custom_ops=All\nprovider=ge\n[ge_session_options]\nge.exec.formatMode=1\n"
    "ge.exec.precision_mode=must_keep_origin_dtype\nge.externalWeight=1\nge.exec.atomicCleanPolicy=1\n";

class Config : public ::testing::Test {
 protected:
  GeConfig Read(const std::string& text) {
    std::ofstream(file_) << text;
    return GeConfig::Read(file_);
  }

  std::string Refusal(const std::string& text, ErrorCode code = ErrorCode::kInvalidArgument) {
    try {
      Read(text);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code);
      return error.what();
    }
    return "";
  }

  skywork_rt::testing::TemporaryDirectory folder_;
  std::filesystem::path file_ = folder_.path() / "context.cfg";
};

TEST_F(Config, TheRecipesFileIsRead) {
  const GeConfig config = Read(kRecipe);
  EXPECT_EQ(*config.Find("ascend_context", "plugin_custom_ops"), "All");
  EXPECT_EQ(*config.Find("ge_session_options", "ge.externalWeight"), "1");
  EXPECT_EQ(config.Find("ge_graph_options", "ge.dynamicDims"), nullptr);
}

TEST_F(Config, CommentsSpacesAndWindowsLinesAreNoMatter) {
  const GeConfig config = Read("\xEF\xBB\xBF# a note\r\n\r\n [ ge_graph_options ]\r\n ge.dynamicDims = 1,1;2,2 \r\n");
  EXPECT_EQ(*config.Find("ge_graph_options", "ge.dynamicDims"), "1,1;2,2");
}

TEST_F(Config, AnUnknownNameIsRefusedWithItsLineAndTheNearestKnownOnes) {
  EXPECT_THAT(Refusal("[ascend_contex]\n"), ::testing::AllOf(HasSubstr("context.cfg:1:"), HasSubstr("ascend_context")));
  EXPECT_THAT(Refusal("[ge_session_options]\nge.externalWeights=1\n"),
              ::testing::AllOf(HasSubstr("context.cfg:2:"), HasSubstr("are ge.externalWeight")));
  EXPECT_THAT(Refusal("[ascend_context]\nge.externalWeight=1\n"), HasSubstr("it belongs to [ge_session_options]"));
}

TEST_F(Config, WhatIsNoConfigurationIsRefused) {
  EXPECT_THAT(Refusal("provider=ge\n"), HasSubstr("before the first [section]"));
  EXPECT_THAT(Refusal("[ascend_context]\nprovider\n"), HasSubstr("no key=value"));
  EXPECT_THAT(Refusal("[ascend_context\n"), HasSubstr("does not end it"));
  EXPECT_THAT(Refusal("[ascend_context]\nprovider=\n"), HasSubstr("has no value"));
  EXPECT_THAT(Refusal("[ascend_context]\nprovider=acl\n"), HasSubstr("through ge only"));
  EXPECT_THAT(Refusal("[ascend_context]\nprovider=ge\nprovider=ge\n"), HasSubstr("twice"));
  EXPECT_THAT(Refusal("[ascend_context]\n[ascend_context]\n"), HasSubstr("twice"));
  EXPECT_THAT(Refusal(std::string("[ascend_context]\0\n", 18)), HasSubstr("no text"));
  std::filesystem::remove(file_);
  EXPECT_THROW(GeConfig::Read(file_), Error);
}

TEST(GeConfigOption, OneFileIsForBothGraphsAndThreeAreRefused) {
  EXPECT_THAT(GeConfigFiles(""), ::testing::ElementsAre("", ""));
  EXPECT_THAT(GeConfigFiles("a.cfg"), ::testing::ElementsAre("a.cfg", "a.cfg"));
  EXPECT_THAT(GeConfigFiles("a.cfg, b.cfg"), ::testing::ElementsAre("a.cfg", "b.cfg"));
  EXPECT_THROW(GeConfigFiles("a,b,c"), Error);
  EXPECT_THROW(GeConfigFiles("a,"), Error);
  EXPECT_NO_THROW(CheckPrecision("force_fp16"));
  EXPECT_THROW(CheckPrecision("fp16"), Error);
}

BundleGraph Graph(const char* role, const char* form, std::vector<BundleGear> gears) {
  BundleGraph graph;
  graph.contract = std::string("device-cache/") + role;
  graph.form = form;
  graph.gears = std::move(gears);
  graph.cache.table = 256;
  return graph;
}

TEST_F(Config, OursOverrideTheFileAndWhatItLeavesOpenIsTheRecipes) {
  BackendOptions options;
  const BundleGraph graph = Graph("full", "assign", {{1, 4096}});
  EXPECT_THAT(OverridesFor(graph, GeConfig(), options),
              IsSupersetOf({GeOption{"ascend_context", "provider", "ge"},
                            GeOption{"ascend_context", "plugin_custom_ops", "All"},
                            GeOption{"ge_session_options", "ge.externalWeight", "1"},
                            GeOption{"ge_session_options", "ge.exec.precision_mode", "must_keep_origin_dtype"}}));
  EXPECT_THAT(OverridesFor(graph, Read(kRecipe), options),
              ::testing::ElementsAre(GeOption{"ascend_context", "provider", "ge"}));
  options.ge_precision = "force_fp16";
  EXPECT_THAT(OverridesFor(graph, Read(kRecipe), options),
              Contains(GeOption{"ge_session_options", "ge.exec.precision_mode", "force_fp16"}));
}

/// The context.cfg that the export writes and what the backend tells GE by itself are one configuration.
TEST_F(Config, TheExportWritesWhatTheBackendSays) {
  for (const Form form : {Form::kAssign, Form::kIndexed, Form::kPaged}) {
    const std::vector<BundleGraph> graphs = ReferenceGraphs(form);
    for (const std::size_t index : {0, 1}) {
      const GeConfig written = GeConfig::Read(ReferenceContext(form, index == 0 ? "full" : "incremental"));
      const std::vector<GeOption> own = OverridesFor(graphs.at(index), GeConfig(), {});
      EXPECT_EQ(own.size(), 9u);
      for (const GeOption& option : own) {
        const std::string* value = written.Find(option[0], option[1]);
        ASSERT_NE(value, nullptr) << option[1];
        EXPECT_EQ(*value, option[2]) << NameOf(form) << " " << option[1];
      }
      EXPECT_THAT(OverridesFor(graphs.at(index), written, {}),
                  ::testing::ElementsAre(GeOption{"ascend_context", "provider", "ge"}));
    }
  }
}

TEST_F(Config, GearsAreToldToGeAsTheRecipeWritesThem) {
  const BackendOptions options;
  EXPECT_THAT(OverridesFor(Graph("incremental", "indexed", {{1, 256}, {4, 1024}}), GeConfig(), options),
              IsSupersetOf({GeOption{"ge_graph_options", "ge.inputShape",
                                     "batch_index:-1;batch_valid_length:-1;tokens:-1,1;zactivate_len:-1"},
                            GeOption{"ge_graph_options", "ge.dynamicDims", "1,1,1,256;4,4,4,1024"},
                            GeOption{"ge_graph_options", "ge.dynamicNodeType", "1"}}));
  EXPECT_THAT(
      OverridesFor(Graph("full", "paged", {{1, 256}, {2, 512}}), GeConfig(), options),
      IsSupersetOf({GeOption{"ge_graph_options", "ge.inputShape", "batch_valid_length:-1;slot_mapping:-1;tokens:-1,-1"},
                    GeOption{"ge_graph_options", "ge.dynamicDims", "1,256,1,256;2,1024,2,512"}}));
  EXPECT_THAT(OverridesFor(Graph("incremental", "paged", {{1, 1}, {8, 1}}), GeConfig(), options),
              Contains(GeOption{"ge_graph_options", "ge.inputShape",
                                "batch_valid_length:-1;block_tables:-1,256;slot_mapping:-1;tokens:-1,1"}));
  const GeConfig own = Read("[ge_graph_options]\nge.dynamicDims=1,1,1,256\n");
  for (const GeOption& option : OverridesFor(Graph("incremental", "indexed", {{1, 256}, {4, 1024}}), own, options)) {
    EXPECT_NE(option[1], "ge.dynamicDims") << "the file's own gears stay";
  }
}

}  // namespace
}  // namespace skywork_rt::ascend
