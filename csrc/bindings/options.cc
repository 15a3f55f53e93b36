#include "bindings/options.h"

#include <pybind11/stl.h>

#include <limits>

#include "bindings/option_reader.h"

namespace skywork_rt::bindings {
namespace py = pybind11;
namespace {

/// Calls visit(name, field) for every field of GeneratorOptions, const or not.
template <typename Options, typename Visitor>
void VisitOptions(Options& options, const Visitor& visit) {
  visit("backend", options.backend);
  visit("device", options.device);
  visit("weights", options.weights);
  visit("activations", options.activations);
  visit("kv_cache", options.kv_cache);
  visit("threads", options.threads);
  visit("affinity", options.affinity);
  visit("mmap", options.mmap);
  visit("verify", options.verify);
  visit("max_length", options.max_length);
  visit("max_cached_tokens", options.max_cached_tokens);
  visit("max_batch", options.max_batch);
  visit("prefill_budget", options.prefill_budget);
  visit("max_queue", options.max_queue);
  visit("prefix_cache", options.prefix_cache);
}

}  // namespace

SamplingParams ReadSamplingParams(const py::dict& values) {
  SamplingParams params;
  OptionReader reader(values, "SamplingParams");
  reader.Read("max_tokens", &params.max_tokens);
  reader.Read("min_tokens", &params.min_tokens);
  reader.Read("temperature", &params.temperature);
  reader.Read("top_k", &params.top_k);
  reader.Read("top_p", &params.top_p);
  reader.Read("min_p", &params.min_p);
  reader.Read("typical_p", &params.typical_p);
  reader.Read("repetition_penalty", &params.repetition_penalty);
  reader.Read("presence_penalty", &params.presence_penalty);
  reader.Read("frequency_penalty", &params.frequency_penalty);
  reader.Read("no_repeat_ngram_size", &params.no_repeat_ngram_size);
  reader.Read("logit_bias", &params.logit_bias);
  reader.Read("bad_words_ids", &params.bad_words_ids);
  reader.Read("stop", &params.stop);
  reader.Read("stop_token_ids", &params.stop_token_ids);
  reader.Read("include_stop_str_in_output", &params.include_stop_str_in_output);
  reader.Read("ignore_eos", &params.ignore_eos);
  reader.Read("skip_special_tokens", &params.skip_special_tokens);
  reader.Read("n", &params.n);
  reader.Read("seed", &params.seed);
  reader.Read("logprobs", &params.logprobs);
  reader.Read("prompt_logprobs", &params.prompt_logprobs);
  reader.Read("num_beams", &params.num_beams);
  reader.Read("length_penalty", &params.length_penalty);
  reader.Read("early_stopping", &params.early_stopping);
  reader.Finish();
  return params;
}

GeneratorOptions ReadGeneratorOptions(const py::dict& values) {
  GeneratorOptions options;
  OptionReader reader(values, "Generator");
  VisitOptions(options, [&](const char* name, auto& field) { reader.Read(name, &field); });
  reader.Finish();
  return options;
}

py::dict ToDict(const GeneratorOptions& options) {
  py::dict values;
  VisitOptions(options, [&](const char* name, const auto& field) { values[name] = field; });
  return values;
}

void BindOptions(py::module_& module) {
  module.def(
      "validate_sampling_params",
      [](const py::dict& values, int vocab_size) { Validate(ReadSamplingParams(values), vocab_size); },
      py::arg("values"), py::arg("vocab_size") = std::numeric_limits<int>::max(),
      "Checks the fields of SamplingParams given by name; raises InvalidArgumentError that names the wrong one.");
  module.def(
      "generator_option_defaults", [] { return ToDict(GeneratorOptions{}); },
      "Every option of Generator with its default.");
}

}  // namespace skywork_rt::bindings
