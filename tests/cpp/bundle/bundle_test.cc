#include "bundle/bundle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "skywork_rt/error.h"
#include "support/sha256.h"
#include "support/temporary_directory.h"

namespace skywork_rt {
namespace {

using Json = nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::TemporaryDirectory;

const std::string kContent = "not really a graph";

std::string Digest(const std::string& text) {
  Sha256 hash;
  hash.Update(text.data(), text.size());
  return hash.HexDigest();
}

Json GoodJson() {
  return Json::parse(R"({
    "format": "skywork_rt.bundle", "version": 1,
    "model": {"name": "m", "architecture": "llama", "layers": 2, "hidden_size": 8, "intermediate_size": 16, "heads": 4,
              "kv_heads": 2, "head_dim": 4, "vocab_size": 100, "max_length": 64, "rms_norm_eps": 1e-5,
              "rope": {"type": "default", "theta": 10000.0, "inverse_frequencies": [1.0, 0.01]},
              "bos_id": 1, "pad_id": null, "eos_ids": [2, 3]},
    "graphs": [{"file": "g", "contract": "host-cache/full", "flavour": "lite2.0-cpu", "precision": "float32"}],
    "weights": {"int8": "g"}
  })");
}

/// A bundle on disk with one file "g"; `change` edits its model.json before it is written.
class BundleTest : public ::testing::Test {
 protected:
  void Write(const std::function<void(Json&)>& change = {}) {
    Json json = GoodJson();
    json["files"] = {{"g", {{"role", "graph"}, {"size", kContent.size()}, {"sha256", Digest(kContent)}}}};
    if (change) change(json);
    directory_.Write("model.json", json.dump());
    directory_.Write("g", kContent);
  }

  /// Opens, and returns the message of the Error, whose code must be `code`.
  std::string Complaint(ErrorCode code) {
    try {
      Bundle::Open(directory_.path());
    } catch (const Error& error) {
      EXPECT_STREQ(ErrorCodeName(error.code()), ErrorCodeName(code)) << error.what();
      return error.what();
    }
    ADD_FAILURE() << "was opened";
    return "";
  }

  TemporaryDirectory directory_;
};

TEST_F(BundleTest, OpensAWholeOne) {
  Write();
  const Bundle bundle = Bundle::Open(directory_.path());
  const ModelSpec& model = bundle.model();
  EXPECT_EQ(model.layers, 2);
  EXPECT_EQ(model.heads, 4);
  EXPECT_EQ(model.kv_heads, 2);
  EXPECT_EQ(model.bos_id, 1);
  EXPECT_EQ(model.pad_id, -1);
  EXPECT_EQ(model.eos_ids, (std::vector<TokenId>{2, 3}));
  EXPECT_EQ(model.rope.inverse_frequencies, (std::vector<float>{1.0F, 0.01F}));
  EXPECT_EQ(model.rope.attention_factor, 1.0F);
  EXPECT_EQ(model.CacheBytesPerToken(4), 2U * 2 * 2 * 4 * 4);
  ASSERT_NE(bundle.FindGraph("host-cache/full", "lite2.0-cpu"), nullptr);
  EXPECT_EQ(bundle.FindGraph("host-cache/full", "ge"), nullptr);
  EXPECT_EQ(bundle.weights().at("int8"), "g");
  ASSERT_NE(bundle.FindRole("graph"), nullptr);
  EXPECT_EQ(bundle.FindRole("tokenizer"), nullptr);
  EXPECT_EQ(bundle.PathOf("g"), directory_.path() / "g");
  EXPECT_THROW(bundle.PathOf("h"), Error);
  bundle.VerifyFile("g");
}

TEST_F(BundleTest, ReadsThePartsThatVersion2Adds) {
  Write();
  const ModelSpec without = Bundle::Open(directory_.path()).model();
  EXPECT_FALSE(without.output_bias || without.mlp_bias || without.qk_norm);
  EXPECT_TRUE(without.layers_without_rope.empty());
  Write([](Json& json) {
    json["version"] = 2;
    json["model"].update(
        {{"output_bias", true}, {"mlp_bias", true}, {"qk_norm", true}, {"layers_without_rope", {0, 1}}});
  });
  const ModelSpec with = Bundle::Open(directory_.path()).model();
  EXPECT_TRUE(with.output_bias && with.mlp_bias && with.qk_norm);
  EXPECT_EQ(with.layers_without_rope, (std::vector<int>{0, 1}));
}

TEST_F(BundleTest, GraphsMayShareAFileOfWeightsThatIsListed) {
  Write();
  EXPECT_EQ(Bundle::Open(directory_.path()).graphs()[0].weights, "");
  Write([](Json& json) { json["graphs"][0]["weights"] = "g"; });
  EXPECT_EQ(Bundle::Open(directory_.path()).graphs()[0].weights, "g");
  Write([](Json& json) { json["graphs"][0]["weights"] = "h"; });
  EXPECT_THAT(Complaint(ErrorCode::kCorruptBundle), HasSubstr("graphs[0].weights names \"h\""));
  Write([](Json& json) { json["graphs"][0]["weights"] = 1; });
  EXPECT_THAT(Complaint(ErrorCode::kCorruptBundle), HasSubstr("graphs[0].weights"));
}

TEST_F(BundleTest, NamesALayerWithoutRopeThatIsNone) {
  for (const char* list : {"[2]", "[-1]", "[1, 1]", "[1, 0]", "[0.5]", "[\"0\"]", "{}", "1"}) {
    Write([&](Json& json) { json["model"]["layers_without_rope"] = Json::parse(list); });
    EXPECT_THAT(Complaint(ErrorCode::kCorruptBundle), HasSubstr("model.layers_without_rope")) << list;
  }
}

TEST_F(BundleTest, SaysWhenThereIsNone) {
  EXPECT_THAT(Complaint(ErrorCode::kNotFound), HasSubstr("no model.json"));
  try {
    Bundle::Open(directory_.path() / "absent");
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kNotFound);
    EXPECT_THAT(error.what(), HasSubstr("no such directory"));
  }
  directory_.Write("file", "x");
  try {
    Bundle::Open(directory_.path() / "file");
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("is a file"));
  }
  directory_.Write("model.json", "{}");
  EXPECT_THAT(Complaint(ErrorCode::kNotFound), HasSubstr("format"));
}

TEST_F(BundleTest, RefusesANewerFormatByNumber) {
  Write([](Json& json) { json["version"] = 4; });
  EXPECT_THAT(Complaint(ErrorCode::kUnsupported), AllOf(HasSubstr("version 4"), HasSubstr("reads 1 to 3")));
  Write([](Json& json) { json["version"] = 0; });
  EXPECT_THAT(Complaint(ErrorCode::kUnsupported), HasSubstr("version 0"));
}

TEST_F(BundleTest, NamesTheMissingOrWrongValue) {
  const std::vector<std::pair<std::function<void(Json&)>, std::string>> cases = {
      {[](Json& j) { j["model"].erase("layers"); }, "model.layers is missing"},
      {[](Json& j) { j["model"]["layers"] = 0; }, "model.layers must be an integer from 1"},
      {[](Json& j) { j["model"]["layers"] = 1.5; }, "1.5"},
      {[](Json& j) { j["model"]["layers"] = 18446744073709551615ULL; }, "18446744073709551615"},
      {[](Json& j) { j["model"]["heads"] = "four"; }, "four"},
      {[](Json& j) { j["model"]["kv_heads"] = 3; }, "kv_heads = 3 does not divide heads = 4"},
      {[](Json& j) { j["model"]["head_dim"] = 5; }, "head_dim = 5 is odd"},
      {[](Json& j) { j["model"]["eos_ids"] = {100}; }, "eos_ids must be an integer from 0 to 99"},
      {[](Json& j) { j["model"]["rope"]["inverse_frequencies"] = {1.0}; }, "has 1"},
      {[](Json& j) {
         j["model"]["rope"]["inverse_frequencies"] = {1.0, "x"};
       },
       "inverse_frequencies must be a number"},
      {[](Json& j) { j["model"] = 3; }, "model must be an object"},
      {[](Json& j) { j.erase("graphs"), j.erase("weights"); }, "neither graphs nor weights"},
      {[](Json& j) { j["graphs"][0]["file"] = "h"; }, "names \"h\""},
      {[](Json& j) { j["weights"]["int8"] = "../g"; }, "names \"../g\""},
      {[](Json& j) { j["files"]["../up"] = j["files"]["g"]; }, "must stay inside"},
      {[](Json& j) { j["files"]["g"]["sha256"] = "abc"; }, "64 lower-case"},
      {[](Json& j) { j["files"]["g"]["size"] = -1; }, "files.g.size"},
  };
  for (const auto& [change, expected] : cases) {
    Write(change);
    EXPECT_THAT(Complaint(ErrorCode::kCorruptBundle), HasSubstr(expected));
  }
}

/// Makes a bundle of version 3 of it, with two graphs that hold their cache.
void WithDeviceCache(Json& json) {
  json["version"] = 3;
  json["files"]["full/g"] = json["files"]["full/v/d"] = json["files"]["g"];
  json["graphs"] = Json::parse(R"([
    {"file": "full/g", "contract": "device-cache/full", "flavour": "ge", "precision": "float16", "form": "paged",
     "cache": {"blocks": 9, "block_tokens": 16, "table": 4}, "gears": [[1, 16], [4, 64]]},
    {"file": "g", "contract": "device-cache/incremental", "flavour": "ge", "precision": "float16", "form": "assign",
     "cache": {"rows": 4, "positions": 64}, "gears": [[4, 64]]}])");
}

TEST_F(BundleTest, ReadsThePartsThatVersion3Adds) {
  std::filesystem::create_directories(directory_.path() / "full" / "v");
  directory_.Write("full/g", kContent);
  directory_.Write("full/v/d", kContent);
  Write(&WithDeviceCache);
  const Bundle bundle = Bundle::Open(directory_.path());
  const BundleGraph& paged = *bundle.FindGraph("device-cache/full", "ge");
  EXPECT_EQ(paged.form, "paged");
  EXPECT_EQ(paged.cache.blocks * 100 + paged.cache.block_tokens + paged.cache.table, 920);
  ASSERT_EQ(paged.gears.size(), 2u);
  EXPECT_EQ(paged.gears[1].batch * 1000 + paged.gears[1].length, 4064);
  const BundleGraph& assign = *bundle.FindGraph("device-cache/incremental", "ge");
  EXPECT_EQ(assign.cache.rows * 1000 + assign.cache.positions, 4064);
  bundle.VerifyFile("full/v/d");
}

TEST_F(BundleTest, NamesTheWrongValueOfADeviceCache) {
  const std::vector<std::pair<std::function<void(Json&)>, std::string>> cases = {
      {[](Json& j) { j["graphs"][0]["form"] = "dense"; }, "graphs[0].form is \"dense\""},
      {[](Json& j) { j["graphs"][0].erase("form"); }, "graphs[0].form is missing"},
      {[](Json& j) { j["graphs"][0]["cache"]["blocks"] = 1; }, "graphs[0].cache.blocks must be an integer from 2"},
      {[](Json& j) { j["graphs"][1]["cache"].erase("rows"); }, "graphs[1].cache.rows is missing"},
      {[](Json& j) { j["graphs"][0]["gears"] = Json::array(); }, "graphs[0].gears must be a list of 1 to"},
      {[](Json& j) { j["graphs"][0]["gears"] = {{1}}; }, "must hold pairs"},
      {[](Json& j) { j["graphs"][0]["gears"][0][1] = 0; }, "graphs[0].gears must be an integer from 1"},
      {[](Json& j) { j["version"] = 2; }, "must stay inside"},
      {[](Json& j) { j["files"]["full/../g"] = j["files"]["g"]; }, "must stay inside"},
      {[](Json& j) { j["files"]["a/b/c/d"] = j["files"]["g"]; }, "must stay inside"},
      {[](Json& j) { j["files"]["/g"] = j["files"]["g"]; }, "must stay inside"},
      {[](Json& j) { j["files"]["full/"] = j["files"]["g"]; }, "must stay inside"},
  };
  for (const auto& [change, expected] : cases) {
    Write([change = change](Json& json) {
      WithDeviceCache(json);
      change(json);
    });
    EXPECT_THAT(Complaint(ErrorCode::kCorruptBundle), HasSubstr(expected));
  }
}

TEST_F(BundleTest, RefusesAnotherArchitecture) {
  Write([](Json& json) { json["model"]["architecture"] = "mamba"; });
  EXPECT_THAT(Complaint(ErrorCode::kUnsupported), HasSubstr("mamba"));
}

TEST_F(BundleTest, NoticesAMissingATruncatedAndAChangedFile) {
  Write();
  const Bundle bundle = Bundle::Open(directory_.path());
  std::string changed = kContent;
  changed[3] ^= 1;
  directory_.Write("g", changed);
  try {
    bundle.VerifyFile("g");
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCorruptBundle);
    EXPECT_THAT(error.what(), AllOf(HasSubstr(Digest(changed)), HasSubstr(Digest(kContent))));
  }
  directory_.Write("g", kContent.substr(1));
  EXPECT_THAT(Complaint(ErrorCode::kCorruptBundle), AllOf(HasSubstr("17 bytes"), HasSubstr("18")));
  std::filesystem::remove(directory_.path() / "g");
  EXPECT_THAT(Complaint(ErrorCode::kCorruptBundle), HasSubstr("is missing"));
}

// Every cut of a good model.json is an Error of the family, never anything else.
TEST_F(BundleTest, SurvivesAModelJsonCutAnywhere) {
  Write();
  Json json = GoodJson();
  json["files"] = Json::object();
  const std::string text = json.dump();
  for (std::size_t length = 0; length < text.size(); ++length) {
    directory_.Write("model.json", text.substr(0, length));
    EXPECT_THROW(Bundle::Open(directory_.path()), Error) << length;
  }
}

TEST_F(BundleTest, RefusesDeepNesting) {
  Write();
  directory_.Write("model.json", std::string(100000, '[') + std::string(100000, ']'));
  EXPECT_THAT(Complaint(ErrorCode::kCorruptBundle), HasSubstr("levels deep"));
}

}  // namespace
}  // namespace skywork_rt
