#include "backend/ascend/device_form.h"

#include <algorithm>

#include "skywork_rt/error.h"
#include "support/format.h"

namespace skywork_rt::ascend {
namespace {

[[noreturn]] void Refuse(const BundleGraph& graph, const std::string& complaint) {
  throw Error(ErrorCode::kCorruptBundle, StrCat("the graph ", graph.file, " (", graph.contract, ", form ", graph.form,
                                                ") ", complaint, ". Adopt or export the bundle again."));
}

Form FormOf(const BundleGraph& graph) {
  if (graph.form == "assign") return Form::kAssign;
  if (graph.form == "indexed") return Form::kIndexed;
  if (graph.form == "paged") return Form::kPaged;
  Refuse(graph, "has no form that this version knows");
}

bool SameCache(const BundleDeviceCache& a, const BundleDeviceCache& b) {
  return a.rows == b.rows && a.positions == b.positions && a.blocks == b.blocks && a.block_tokens == b.block_tokens &&
         a.table == b.table;
}

std::size_t PositionsOf(const DeviceForm& form) {
  const BundleDeviceCache& cache = form.cache;
  if (form.form != Form::kPaged) return static_cast<std::size_t>(cache.positions);
  const auto blocks = static_cast<std::size_t>(std::min(cache.table, cache.blocks - 1));
  return blocks * static_cast<std::size_t>(cache.block_tokens);
}

/// A step that the sequences may come to has a gear: whoever is admitted is never without one.
void CheckSteps(const DeviceForm& form, const BundleGraph& full, const BundleGraph& incremental, std::size_t longest) {
  const std::size_t positions = form.form == Form::kPaged ? 0 : longest;
  const int most = form.MostRows();
  if (!form.incremental.Smallest(most, positions)) {
    Refuse(incremental, StrCat("has no gear for ", most, " sequences of ", longest, " tokens; its gears are ",
                               form.incremental.ToString()));
  }
  if (form.form != Form::kAssign) return;
  if (!form.full.Smallest(most, longest)) {
    Refuse(full, StrCat("has no gear for ", most, " prompts of ", longest,
                        " tokens, all of which its one call must read; its gears are ", form.full.ToString()));
  }
  for (const BundleGear& gear : full.gears) {
    if (form.incremental.SmallestOfBatch(gear.batch, longest)) continue;
    Refuse(incremental, StrCat("has no gear of ", gear.batch, " rows and ", longest, " positions, but ", full.file,
                               " begins batches of that many rows; its gears are ", form.incremental.ToString()));
  }
}

}  // namespace

const char* NameOf(Form form) {
  switch (form) {
    case Form::kAssign: return "assign";
    case Form::kIndexed: return "indexed";
    case Form::kPaged: return "paged";
  }
  return "";
}

int DeviceForm::MostRows() const {
  const int rows =
      form == Form::kAssign ? std::min(full.max_batch(), incremental.max_batch()) : incremental.max_batch();
  return form == Form::kPaged ? std::min(rows, cache.blocks - 1) : std::min(rows, cache.rows);
}

std::size_t DeviceForm::MostTokens() const {
  if (form != Form::kPaged) return static_cast<std::size_t>(MostRows()) * max_length;
  return static_cast<std::size_t>(cache.blocks - 1) * static_cast<std::size_t>(cache.block_tokens);
}

DeviceForm ReadDeviceForm(const ModelSpec& model, const BundleGraph& full, const BundleGraph& incremental) {
  if (full.form != incremental.form || !SameCache(full.cache, incremental.cache)) {
    Refuse(incremental, StrCat("does not fit ", full.file, ", whose form or cache is another"));
  }
  DeviceForm form{FormOf(full), std::max(0, model.pad_id), full.cache, Gears(full.gears), Gears(incremental.gears), 0};
  // Paged steps find their length in the block tables: the second number of their gears says nothing.
  form.max_length = PositionsOf(form);
  if (form.form != Form::kPaged) form.max_length = std::min(form.max_length, form.incremental.max_length());
  if (static_cast<std::size_t>(model.max_length) > form.max_length) {
    Refuse(incremental,
           StrCat("holds sequences of ", form.max_length, " tokens, fewer than model.max_length = ", model.max_length));
  }
  if (form.full.max_length() > PositionsOf(form)) {
    Refuse(full, StrCat("has prompts of ", form.full.max_length(), " tokens (gears ", form.full.ToString(),
                        "), but the cache has ", PositionsOf(form), " positions"));
  }
  CheckSteps(form, full, incremental, static_cast<std::size_t>(model.max_length));
  return form;
}

}  // namespace skywork_rt::ascend
