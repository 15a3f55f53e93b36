#include "bundle/model_json.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "skywork_rt/error.h"
#include "support/format.h"

namespace skywork_rt {
namespace {

using Json = nlohmann::json;

constexpr int kOldestVersion = 1;
constexpr int kNewestVersion = 3;
constexpr int kVersionOfFolders = 3;
// Far above every Llama-structured model, and low enough that no product of two overflows 64 bits.
constexpr std::int64_t kMostDimension = std::int64_t{1} << 24;
constexpr std::int64_t kMostLayers = 4096;

/// One JSON object with its place in the file, so that every complaint says where.
class Node {
 public:
  Node(const Json& json, std::string place, const std::filesystem::path& path)
      : json_(json), place_(std::move(place)), path_(path) {
    if (!json_.is_object()) Fail(place_, "must be an object");
  }

  [[noreturn]] void Fail(const std::string& place, const std::string& complaint) const {
    throw Error(ErrorCode::kCorruptBundle, StrCat(path_.string(), ": ", place.empty() ? "the document" : place, " ",
                                                  complaint, ". Export the bundle again."));
  }

  std::string Place(const std::string& key) const { return place_.empty() ? key : place_ + "." + key; }

  const Json* Find(const std::string& key) const {
    const auto found = json_.find(key);
    return found == json_.end() || found->is_null() ? nullptr : &*found;
  }

  const Json& Get(const std::string& key) const {
    const Json* found = Find(key);
    if (found == nullptr) Fail(Place(key), "is missing");
    return *found;
  }

  Node Child(const std::string& key) const { return Node(Get(key), Place(key), path_); }

  std::string String(const std::string& key) const {
    const Json& value = Get(key);
    if (!value.is_string()) Fail(Place(key), StrCat("must be a string, but is ", value.type_name()));
    return value.get<std::string>();
  }

  bool Bool(const std::string& key, bool fallback) const {
    const Json* value = Find(key);
    if (value == nullptr) return fallback;
    if (!value->is_boolean()) Fail(Place(key), StrCat("must be true or false, but is ", value->type_name()));
    return value->get<bool>();
  }

  std::int64_t Integer(const std::string& key, std::int64_t least, std::int64_t most) const {
    return CheckInteger(Get(key), Place(key), least, most);
  }

  std::int64_t CheckInteger(const Json& value, const std::string& place, std::int64_t least, std::int64_t most) const {
    const bool fits =
        value.is_number_integer() &&
        !(value.is_number_unsigned() &&
          value.get<std::uint64_t>() > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()));
    if (!fits || value.get<std::int64_t>() < least || value.get<std::int64_t>() > most) {
      Fail(place, StrCat("must be an integer from ", least, " to ", most, ", but is ", Short(value)));
    }
    return value.get<std::int64_t>();
  }

  double Number(const std::string& key, double least, double most) const {
    return CheckNumber(Get(key), Place(key), least, most);
  }

  double CheckNumber(const Json& value, const std::string& place, double least, double most) const {
    if (!value.is_number() || !(value.get<double>() >= least) || !(value.get<double>() <= most)) {
      Fail(place, StrCat("must be a number from ", least, " to ", most, ", but is ", Short(value)));
    }
    return value.get<double>();
  }

  const Json& json() const { return json_; }
  const std::filesystem::path& path() const { return path_; }

 private:
  static std::string Short(const Json& value) {
    std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
    if (text.size() > 40) text = text.substr(0, 40) + "...";
    return text;
  }

  const Json& json_;
  std::string place_;
  const std::filesystem::path& path_;
};

bool IsPlainName(const std::string& name) {
  return !name.empty() && name.size() <= 255 && name != "." && name != ".." &&
         std::none_of(name.begin(), name.end(), [](char c) { return c == '/' || c == '\\' || c == '\0'; });
}

/// A plain name, or since version 3 up to three of them with slashes between: graphs of MindSpore name the files of
/// their weights, and these names cannot be changed.
bool IsInside(const std::string& name, std::int64_t version) {
  if (version < kVersionOfFolders) return IsPlainName(name);
  constexpr int kMostParts = 3;
  int parts = 0;
  for (std::size_t begin = 0; begin <= name.size(); ++parts) {
    const std::size_t end = std::min(name.find('/', begin), name.size());
    if (!IsPlainName(name.substr(begin, end - begin))) return false;
    begin = end + 1;
  }
  return parts <= kMostParts;
}

bool IsSha256(const std::string& text) {
  return text.size() == 64 &&
         std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

RopeSpec ParseRope(const Node& node, int head_dim) {
  RopeSpec rope;
  rope.type = node.String("type");
  rope.theta = node.Number("theta", 1e-6, 1e12);
  rope.attention_factor =
      static_cast<float>(node.Find("attention_factor") ? node.Number("attention_factor", 1e-3, 1e3) : 1.0);
  const Json& list = node.Get("inverse_frequencies");
  const std::string place = node.Place("inverse_frequencies");
  const auto expected = static_cast<std::size_t>(head_dim / 2);
  if (!list.is_array() || list.size() != expected) {
    node.Fail(place, StrCat("must be a list of head_dim / 2 = ", expected, " numbers, but has ", list.size()));
  }
  rope.inverse_frequencies.reserve(expected);
  for (const Json& value : list) {
    rope.inverse_frequencies.push_back(static_cast<float>(node.CheckNumber(value, place, 0.0, 1e6)));
  }
  return rope;
}

int Dimension(const Node& node, const std::string& key) {
  return static_cast<int>(node.Integer(key, 1, kMostDimension));
}

TokenId OptionalId(const Node& node, const std::string& key, int vocab_size) {
  return node.Find(key) == nullptr ? -1 : static_cast<TokenId>(node.Integer(key, 0, vocab_size - 1));
}

void ParseSpecialIds(const Node& node, ModelSpec* model) {
  model->bos_id = OptionalId(node, "bos_id", model->vocab_size);
  model->pad_id = OptionalId(node, "pad_id", model->vocab_size);
  const Json* list = node.Find("eos_ids");
  if (list == nullptr) return;
  if (!list->is_array()) node.Fail(node.Place("eos_ids"), "must be a list of token ids");
  for (const Json& value : *list) {
    model->eos_ids.push_back(
        static_cast<TokenId>(node.CheckInteger(value, node.Place("eos_ids"), 0, model->vocab_size - 1)));
  }
}

std::vector<int> LayersWithoutRope(const Node& node, int layers) {
  std::vector<int> indices;
  const Json* list = node.Find("layers_without_rope");
  if (list == nullptr) return indices;
  const std::string place = node.Place("layers_without_rope");
  if (!list->is_array()) node.Fail(place, "must be a list of numbers of layers");
  for (const Json& value : *list) {
    const std::int64_t least = indices.empty() ? 0 : indices.back() + 1;
    indices.push_back(static_cast<int>(node.CheckInteger(value, place, least, layers - 1)));
  }
  return indices;
}

ModelSpec ParseModel(const Node& node) {
  ModelSpec model;
  model.name = node.String("name");
  model.architecture = node.String("architecture");
  if (model.architecture != "llama") {
    throw Error(ErrorCode::kUnsupported, StrCat(node.path().string(), ": model.architecture is \"", model.architecture,
                                                "\", but this version runs only \"llama\". A newer skywork_rt may."));
  }
  model.layers = static_cast<int>(node.Integer("layers", 1, kMostLayers));
  model.hidden_size = Dimension(node, "hidden_size");
  model.intermediate_size = Dimension(node, "intermediate_size");
  model.heads = Dimension(node, "heads");
  model.kv_heads = Dimension(node, "kv_heads");
  model.head_dim = Dimension(node, "head_dim");
  model.vocab_size = Dimension(node, "vocab_size");
  model.max_length = Dimension(node, "max_length");
  model.rms_norm_eps = node.Number("rms_norm_eps", 0.0, 1.0);
  model.qkv_bias = node.Bool("qkv_bias", false);
  model.output_bias = node.Bool("output_bias", false);
  model.mlp_bias = node.Bool("mlp_bias", false);
  model.qk_norm = node.Bool("qk_norm", false);
  model.layers_without_rope = LayersWithoutRope(node, model.layers);
  model.tied_embeddings = node.Bool("tied_embeddings", false);
  if (model.heads % model.kv_heads != 0) {
    node.Fail(node.Place("kv_heads"), StrCat("= ", model.kv_heads, " does not divide heads = ", model.heads));
  }
  if (model.head_dim % 2 != 0) node.Fail(node.Place("head_dim"), StrCat("= ", model.head_dim, " is odd"));
  model.rope = ParseRope(node.Child("rope"), model.head_dim);
  ParseSpecialIds(node, &model);
  return model;
}

BundleFile ParseFile(const Node& files, const std::string& name, std::int64_t version) {
  if (!IsInside(name, version))
    files.Fail(files.Place(name), "is not a plain file name: it must stay inside the bundle");
  const Node node = files.Child(name);
  BundleFile file;
  file.name = name;
  file.role = node.String("role");
  file.size = static_cast<std::uint64_t>(node.Integer("size", 0, std::numeric_limits<std::int64_t>::max()));
  file.sha256 = node.String("sha256");
  if (!IsSha256(file.sha256)) node.Fail(node.Place("sha256"), "must be 64 lower-case hexadecimal digits");
  return file;
}

void RequireListed(const Node& node, const std::string& place, const std::string& file,
                   const std::vector<BundleFile>& files) {
  const bool listed = std::any_of(files.begin(), files.end(), [&](const BundleFile& f) { return f.name == file; });
  if (!listed) node.Fail(place, StrCat("names \"", file, "\", which \"files\" does not list"));
}

BundleDeviceCache ParseDeviceCache(const Node& node, const std::string& form) {
  BundleDeviceCache cache;
  if (form == "paged") {
    cache.blocks = static_cast<int>(node.Integer("blocks", 2, kMostDimension));
    cache.block_tokens = static_cast<int>(node.Integer("block_tokens", 1, kMostDimension));
    cache.table = static_cast<int>(node.Integer("table", 1, kMostDimension));
  } else {
    cache.rows = static_cast<int>(node.Integer("rows", 1, kMostDimension));
    cache.positions = static_cast<int>(node.Integer("positions", 1, kMostDimension));
  }
  return cache;
}

std::vector<BundleGear> ParseGears(const Node& node) {
  const Json& list = node.Get("gears");
  const std::string place = node.Place("gears");
  constexpr std::size_t kMostGears = 4096;
  if (!list.is_array() || list.empty() || list.size() > kMostGears) {
    node.Fail(place, StrCat("must be a list of 1 to ", kMostGears, " pairs, batch and length"));
  }
  std::vector<BundleGear> gears;
  for (const Json& pair : list) {
    if (!pair.is_array() || pair.size() != 2) node.Fail(place, "must hold pairs, batch and length");
    gears.push_back({static_cast<int>(node.CheckInteger(pair[0], place, 1, kMostDimension)),
                     static_cast<int>(node.CheckInteger(pair[1], place, 1, kMostDimension))});
  }
  return gears;
}

/// What belongs to the contract "device-cache" alone.
void ParseDeviceGraph(const Node& node, BundleGraph* graph) {
  if (graph->contract.rfind("device-cache/", 0) != 0) return;
  graph->form = node.String("form");
  if (graph->form != "assign" && graph->form != "indexed" && graph->form != "paged") {
    node.Fail(node.Place("form"), StrCat("is \"", graph->form, "\", but must be assign, indexed or paged"));
  }
  graph->cache = ParseDeviceCache(node.Child("cache"), graph->form);
  graph->gears = ParseGears(node);
}

std::vector<BundleGraph> ParseGraphs(const Node& root, const std::vector<BundleFile>& files) {
  std::vector<BundleGraph> graphs;
  const Json* list = root.Find("graphs");
  if (list == nullptr) return graphs;
  if (!list->is_array()) root.Fail("graphs", "must be a list");
  for (const Json& entry : *list) {
    const Node node(entry, StrCat("graphs[", graphs.size(), "]"), root.path());
    BundleGraph graph;
    graph.file = node.String("file");
    graph.contract = node.String("contract");
    graph.flavour = node.String("flavour");
    graph.precision = node.String("precision");
    if (node.Find("weights") != nullptr) graph.weights = node.String("weights");
    ParseDeviceGraph(node, &graph);
    RequireListed(node, node.Place("file"), graph.file, files);
    if (!graph.weights.empty()) RequireListed(node, node.Place("weights"), graph.weights, files);
    graphs.push_back(std::move(graph));
  }
  return graphs;
}

std::map<std::string, std::string> ParseWeights(const Node& root, const std::vector<BundleFile>& files) {
  std::map<std::string, std::string> weights;
  if (root.Find("weights") == nullptr) return weights;
  const Node node = root.Child("weights");
  for (const auto& item : node.json().items()) {
    const std::string file = node.String(item.key());
    RequireListed(node, node.Place(item.key()), file, files);
    weights.emplace(item.key(), file);
  }
  return weights;
}

/// The version, which this reader knows.
std::int64_t CheckFormat(const Node& root) {
  if (root.Find("format") == nullptr || root.String("format") != "skywork_rt.bundle") {
    throw Error(ErrorCode::kNotFound, StrCat(root.path().string(),
                                             " is not a skywork_rt bundle's: its \"format\" is not "
                                             "\"skywork_rt.bundle\". Make one with: skywork-rt export SOURCE OUT"));
  }
  const std::int64_t version = root.Integer("version", 0, std::numeric_limits<std::int32_t>::max());
  if (version < kOldestVersion || version > kNewestVersion) {
    throw Error(ErrorCode::kUnsupported,
                StrCat(root.path().string(), " has format version ", version, ", but this version of skywork_rt reads ",
                       kOldestVersion, " to ", kNewestVersion, ". Upgrade skywork_rt, or export the model again."));
  }
  return version;
}

Json ParseJson(const std::string& text, const std::filesystem::path& path) {
  // A depth limit: the parser recurses once a level when it destroys, so a hostile file could overflow the stack.
  constexpr int kMostDepth = 64;
  const auto too_deep = [&](int depth, Json::parse_event_t, Json&) {
    if (depth > kMostDepth) {
      throw Error(ErrorCode::kCorruptBundle,
                  StrCat(path.string(), ": nested more than ", kMostDepth, " levels deep. Export the bundle again."));
    }
    return true;
  };
  try {
    return Json::parse(text, too_deep);
  } catch (const Json::exception& e) {
    throw Error(ErrorCode::kCorruptBundle,
                StrCat(path.string(), " is not valid JSON (", e.what(), "). Export the bundle again."));
  }
}

}  // namespace

ModelJson ParseModelJson(const std::string& text, const std::filesystem::path& path) {
  const Json json = ParseJson(text, path);
  const Node root(json, "", path);
  const std::int64_t version = CheckFormat(root);
  ModelJson parsed;
  parsed.model = ParseModel(root.Child("model"));
  const Node files = root.Child("files");
  for (const auto& item : files.json().items()) parsed.files.push_back(ParseFile(files, item.key(), version));
  parsed.graphs = ParseGraphs(root, parsed.files);
  parsed.weights = ParseWeights(root, parsed.files);
  if (parsed.graphs.empty() && parsed.weights.empty()) {
    root.Fail("", "has neither graphs nor weights, so nothing can run it");
  }
  return parsed;
}

}  // namespace skywork_rt
