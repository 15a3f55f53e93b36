#include "bindings/options.h"

#include <pybind11/stl.h>

#include <limits>

#include "bindings/option_reader.h"

namespace skywork_rt::bindings {
namespace py = pybind11;

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
  reader.Read("backend", &options.backend);
  reader.Read("device", &options.device);
  reader.Read("weights", &options.weights);
  reader.Read("activations", &options.activations);
  reader.Read("kv_cache", &options.kv_cache);
  reader.Read("threads", &options.threads);
  reader.Read("affinity", &options.affinity);
  reader.Read("mmap", &options.mmap);
  reader.Read("verify", &options.verify);
  reader.Read("max_length", &options.max_length);
  reader.Read("max_cached_tokens", &options.max_cached_tokens);
  reader.Read("max_batch", &options.max_batch);
  reader.Read("prefill_budget", &options.prefill_budget);
  reader.Read("max_queue", &options.max_queue);
  reader.Read("prefix_cache", &options.prefix_cache);
  reader.Finish();
  return options;
}

py::dict ToDict(const GeneratorOptions& options) {
  py::dict values;
  values["backend"] = options.backend;
  values["device"] = options.device;
  values["weights"] = options.weights;
  values["activations"] = options.activations;
  values["kv_cache"] = options.kv_cache;
  values["threads"] = options.threads;
  values["affinity"] = options.affinity;
  values["mmap"] = options.mmap;
  values["verify"] = options.verify;
  values["max_length"] = options.max_length;
  values["max_cached_tokens"] = options.max_cached_tokens;
  values["max_batch"] = options.max_batch;
  values["prefill_budget"] = options.prefill_budget;
  values["max_queue"] = options.max_queue;
  values["prefix_cache"] = options.prefix_cache;
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
