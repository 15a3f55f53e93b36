#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "skywork_rt/range.h"

namespace skywork_rt {

/// How a model is opened. Every default is written for one user on a small machine.
///
/// This is the table of the options: the binding, the checks, the command line and the reference page come from it. Its
/// twin for editors is python/skywork_rt/api/options.py, which a test holds equal to the last word.
struct GeneratorOptions {
  /// Name of a backend, or "auto": the first one that can run the bundle (docs/reference/backends.md). In Python also
  /// "mindspore", which "auto" never takes, and a PythonBackend of one's own.
  std::string backend = "auto";
  /// What to compute on: "cpu" or "ascend". "auto": the device of the backend. Other names are for backends of one's
  /// own.
  std::string device = "auto";
  /// Ascend backend: number of the card, as npu-smi counts them.
  int device_id = 0;
  /// Ascend backend: rank of this process among those of a rank table, for graphs that are cut over several cards.
  int rank_id = 0;
  /// Ascend backend: MindSpore Lite's configuration (context.cfg), which the other options override; two files, with a
  /// comma between them, are for the full and the incremental graph. Empty: what docs/ascend.md says.
  std::string ge_config = "";
  /// Ascend backend: ge.exec.precision_mode, such as "must_keep_origin_dtype" or "force_fp16". "auto": as ge_config
  /// says, else must_keep_origin_dtype.
  std::string ge_precision = "auto";
  /// Which of the bundle's weights the native backend computes with, such as "int4". "auto": those of its GGUF file
  /// ("gguf"), else int8, else the smallest in floats, and int4, which rounds coarsely, only where there is no other.
  std::string weights = "auto";
  /// Native backend: activations in "f32" (exact to float32 rounding) or "int8" (faster, not exact). "auto": f32.
  std::string activations = "auto";
  /// Native backend: keys and values in "f32" or "f16". "auto": f32.
  std::string kv_cache = "f32";
  /// Threads that compute. None: one a core of `affinity`, else one a core of this process's affinity mask, but no more
  /// than the CPU quota of its control groups, rounded up.
  int threads = 0;
  /// Numbers of the cores to compute on, as many as threads or more. None: the system decides.
  std::vector<int> affinity;
  /// Native backend: true maps the weights (shared with other processes, read when needed), false copies them into huge
  /// pages (faster to read). None: copies up to 1 GiB and a quarter of the free memory, maps what is larger.
  std::optional<bool> mmap;
  /// Check the SHA-256 of memory-mapped weights too.
  bool verify = false;
  /// Longest prompt + output, in tokens. None: the model's, or what the cache holds if that is less.
  std::size_t max_length = 0;
  /// Most tokens that the KV cache holds over all sequences, kept prefixes too. None: max_length * max_batch, or what
  /// max_cache_bytes holds if that is less.
  std::size_t max_cached_tokens = 0;
  /// Most bytes that those tokens take, keys and values together; whichever bound is less counts. None: nine tenths of
  /// the memory that is available (control groups count) beside weights, mapped ones too, and work buffers.
  std::size_t max_cache_bytes = 0;
  /// Most sequences that run at once.
  int max_batch = 16;
  /// Most prompt tokens a step; prefill_stretch bounds them by time.
  std::size_t prefill_budget = 512;
  /// While sequences decode, a step that reads prompts too takes at most this many times as long as one that does not,
  /// and at most 0.7 s, or half as long again where that is more: larger is faster prompts, smaller is steadier
  /// streams. Prompts alone are read for 2 s a step. A backend whose results depend on how prompts are cut (lite) reads
  /// a fixed number of tokens a step, which follows from the model's shape. 0: no bound but prefill_budget.
  float prefill_stretch = 4.0f;
  /// Most requests that wait; one more is refused.
  std::size_t max_queue = 4096;
  /// Most log-probabilities a token that a request may ask for (logprobs, prompt_logprobs). -1: no bound.
  int max_logprobs = 20;
  /// When a request may start: "reserve", when there is room for its prompt and max_tokens; "optimistic", for its
  /// prompt and one token. Then more run at once, and who needs room that is not there sends the lowest priority, of
  /// these the youngest, back to the queue, to be computed again later. Needs the native backend. Requests of several
  /// samples or beams always reserve.
  std::string admission = "reserve";
  /// Reuse the cache of prompts that begin alike.
  bool prefix_cache = true;

  /// Calls visit(name, field, range) for every field of `options`, GeneratorOptions that may be const. Python's None is
  /// 0 or an empty list here.
  template <typename Options, typename Visitor>
  static void VisitFields(Options& options, Visitor&& visit) {
    visit("backend", options.backend, Range::Any().Said("auto, or the name of a backend"));
    visit("device", options.device, Range::Any().Said("auto, cpu, ascend, or what a backend knows"));
    visit("device_id", options.device_id, Range::Within(0, 4095));
    visit("rank_id", options.rank_id, Range::Within(0, 65535));
    visit("ge_config", options.ge_config, Range::Any().Said("a file, or two with a comma between them"));
    visit("ge_precision", options.ge_precision, Range::Any().Said("auto, or a precision mode of GE"));
    visit("weights", options.weights, Range::Any().Said("auto, or the name of weights in the bundle"));
    visit("activations", options.activations, Range::Any().Said("auto, f32 or int8"));
    visit("kv_cache", options.kv_cache, Range::Any().Said("auto, f32 or f16"));
    visit("threads", options.threads, Range::Within(0, 1024));
    visit("affinity", options.affinity, Range::Any().Said("numbers of cores"));
    visit("mmap", options.mmap, Range::Any());
    visit("verify", options.verify, Range::Any());
    visit("max_length", options.max_length, Range::AtLeast(0).Said("at least 2, at most the model's"));
    visit("max_cached_tokens", options.max_cached_tokens, Range::AtLeast(0).Said("at least 1"));
    visit("max_cache_bytes", options.max_cache_bytes, Range::AtLeast(0).Said("at least 1"));
    visit("max_batch", options.max_batch, Range::Within(1, 4096));
    visit("prefill_budget", options.prefill_budget, Range::AtLeast(1));
    visit("prefill_stretch", options.prefill_stretch, Range::Within(0, 1000).Said("0, or in [1, 1000]"));
    visit("max_queue", options.max_queue, Range::AtLeast(1));
    visit("max_logprobs", options.max_logprobs, Range::AtLeast(-1).Said("at least 0, or -1 for no bound"));
    visit("admission", options.admission, Range::Any().Said("reserve or optimistic"));
    visit("prefix_cache", options.prefix_cache, Range::Any());
  }
};

}  // namespace skywork_rt
