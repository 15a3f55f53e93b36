#include "bindings/grammar.h"

#include <chrono>
#include <cstdint>
#include <filesystem>

#include "grammar/llguidance.h"
#include "skywork_rt/model_spec.h"
#include "text/vocabulary.h"

namespace skywork_rt::bindings {
namespace py = pybind11;
namespace {

using grammar::GrammarCompiler;

std::shared_ptr<GrammarCompiler> MakeCompiler(const std::string& library, const std::string& vocabulary,
                                              const ModelSpec& model, double longest_seconds, std::size_t kept,
                                              std::size_t most_ahead) {
  grammar::Bounds bounds;
  bounds.longest_job = std::chrono::milliseconds(static_cast<std::int64_t>(longest_seconds * 1e3));
  bounds.kept = kept;
  bounds.most_ahead = most_ahead;
  const py::gil_scoped_release release;
  auto tokens = std::make_shared<const Vocabulary>(Vocabulary::Load(std::filesystem::path(vocabulary)));
  return std::make_shared<GrammarCompiler>(grammar::LoadLlguidance(library), std::move(tokens), model, bounds);
}

py::dict StatsOf(const GrammarCompiler& compiler) {
  const grammar::GrammarStats stats = compiler.stats();
  py::dict values;
  values["compiled"] = stats.compiled;
  values["failed"] = stats.failed;
  values["reused"] = stats.reused;
  values["compile_seconds"] = stats.compile_seconds;
  values["masks"] = stats.masks;
  values["mask_seconds"] = stats.mask_seconds;
  values["mask_p50_seconds"] = stats.mask_p50;
  values["mask_p99_seconds"] = stats.mask_p99;
  values["waits"] = stats.waits;
  values["guessed"] = stats.guessed;
  values["right"] = stats.right;
  return values;
}

}  // namespace

void BindGrammar(py::module_& module) {
  py::class_<GrammarCompiler, std::shared_ptr<GrammarCompiler>>(
      module, "GrammarCompiler", "Makes the masks of grammars for one model, through llguidance.")
      .def(py::init(&MakeCompiler), py::arg("library"), py::arg("vocabulary"), py::arg("model"), py::kw_only(),
           py::arg("longest_seconds"), py::arg("kept"), py::arg("most_ahead"),
           "`library`: path of llguidance's extension module. `vocabulary`: path of a vocab.bin.")
      .def("compiled", &GrammarCompiler::IsCompiled, py::arg("type"), py::arg("text"),
           py::call_guard<py::gil_scoped_release>(),
           "Begins to compile a grammar; whether that is done. Raises what is wrong with it.")
      .def("stats", &StatsOf, "Counters: grammars compiled, masks filled, and what they took.");
}

}  // namespace skywork_rt::bindings
