#include "bindings/generator.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <chrono>
#include <limits>
#include <memory>
#include <string>
#include <utility>

#include "bindings/grammar.h"
#include "bindings/mailbox.h"
#include "bindings/options.h"
#include "bindings/python_backend.h"
#include "skywork_rt/generator.h"
#include "support/format.h"

namespace skywork_rt::bindings {
namespace py = pybind11;
namespace {

using IdArray = py::array_t<std::int64_t, py::array::c_style>;
using std::chrono::milliseconds;

// A signal interrupts no condition variable, so the main thread, where Python handles signals, wakes up now and then to
// look for Ctrl-C. Others would take the GIL for nothing.
constexpr milliseconds kSignalPeriod{50};

bool OnMainThread() {
  const py::object main = py::module_::import("threading").attr("main_thread")();
  return main.attr("ident").cast<unsigned long>() == PyThread_get_thread_ident();
}

/// Ids as int64, so that what does not fit in TokenId is refused here instead of wrapping round.
std::vector<TokenId> ToTokens(const IdArray& ids, int vocab_size) {
  if (ids.ndim() != 1) {
    throw Error(ErrorCode::kInvalidArgument,
                StrCat("a list of token ids must have one dimension, but this has ", ids.ndim()));
  }
  std::vector<TokenId> tokens(static_cast<std::size_t>(ids.size()));
  const std::int64_t* data = ids.data();
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (data[i] < 0 || data[i] >= vocab_size) {
      throw Error(ErrorCode::kInvalidArgument,
                  StrCat("token id ", data[i], " at index ", i, " is outside [0, ", vocab_size, ")"));
    }
    tokens[i] = static_cast<TokenId>(data[i]);
  }
  return tokens;
}

/// Runs `poll`, which waits for at most the time it is given and says whether it is done, until it is done or
/// `timeout` seconds have passed (none: for ever). On the main thread Python's signal handlers run between two polls
/// and may throw.
template <typename Poll>
bool WaitInterruptibly(std::optional<double> timeout, const Poll& poll) {
  using Clock = std::chrono::steady_clock;
  constexpr double kForEver = 1e9;  // seconds; more would overflow the clock
  const double seconds = timeout && *timeout < kForEver ? *timeout : kForEver;
  const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  const milliseconds longest = OnMainThread() ? kSignalPeriod : milliseconds::max();
  for (;;) {
    const auto left = std::chrono::duration_cast<milliseconds>(end - Clock::now());
    const auto slice = std::max(milliseconds{0}, std::min(left, longest));
    bool done = false;
    {
      const py::gil_scoped_release release;
      done = poll(slice);
    }
    if (done) return true;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    if (Clock::now() >= end) return false;
  }
}

/// What NextFor gave: an update, None when the request is over, False when nothing came.
py::object ToPython(std::optional<bool> next, Update&& update) {
  if (!next.has_value()) return py::bool_(false);
  if (!*next) return py::none();
  return py::cast(std::move(update));
}

py::object Next(RequestHandle& handle, std::optional<double> timeout) {
  Update update;
  std::optional<bool> next;
  WaitInterruptibly(timeout, [&](milliseconds slice) {
    next = handle.NextFor(&update, slice);
    return next.has_value();
  });
  return ToPython(next, std::move(update));
}

/// The same without waiting, and without what makes waiting safe.
py::object Take(RequestHandle& handle) {
  Update update;
  const std::optional<bool> next = handle.NextFor(&update, milliseconds{0});
  return ToPython(next, std::move(update));
}

Result GetResult(RequestHandle& handle) {
  WaitInterruptibly(std::nullopt, [&](milliseconds slice) { return handle.WaitFor(slice); });
  const py::gil_scoped_release release;
  return handle.Get();
}

Request MakeRequest(const Generator& generator, const IdArray& prompt, const py::dict& params, int priority,
                    std::optional<double> deadline, std::size_t prompt_logprobs_from, bool begins_text,
                    bool clip_max_tokens, const std::string& cache_salt, const std::optional<GrammarOrder>& grammar) {
  Request request;
  request.prompt = ToTokens(prompt, generator.model().vocab_size);
  request.sampling = ReadSamplingParams(params);
  request.priority = priority;
  request.prompt_logprobs_from = prompt_logprobs_from;
  request.begins_text = begins_text;
  request.clip_max_tokens = clip_max_tokens;
  request.cache_salt = cache_salt;
  if (deadline) {
    constexpr double kMostSeconds = 1e9;
    if (!(*deadline > 0.0 && *deadline <= kMostSeconds)) {
      throw Error(ErrorCode::kInvalidArgument, StrCat("deadline is ", *deadline, " seconds, but must be in (0, 1e9]"));
    }
    request.deadline = milliseconds(std::max<std::int64_t>(1, static_cast<std::int64_t>(*deadline * 1e3)));
  }
  if (grammar.has_value()) {
    const auto& [compiler, type, text] = *grammar;
    const Span<const TokenId> before = begins_text ? Span<const TokenId>() : Span<const TokenId>(request.prompt);
    const py::gil_scoped_release release;
    request.mask = compiler->Mask(type, text, &request.sampling, before);
  }
  return request;
}

/// With a mailbox, news of the request are posted there under `key`.
RequestHandle Submit(Generator& generator, const Request& request, const std::shared_ptr<Mailbox>& mailbox,
                     Mailbox::Key key) {
  const py::gil_scoped_release release;
  if (mailbox == nullptr) return generator.Submit(request);
  NewsCallback post = [mailbox, key](bool ended) { mailbox->Post(key, ended); };
  RequestHandle handle = generator.Submit(request);
  handle.OnNews(std::move(post));
  return handle;
}

/// (key, ended) of what was posted. Where Python has no memory for them they go back.
py::list TakeEvents(Mailbox& mailbox) {
  const std::vector<Mailbox::Event> events = mailbox.Take();
  try {
    py::list taken;
    for (const Mailbox::Event& event : events) taken.append(py::make_tuple(event.key, event.ended));
    return taken;
  } catch (...) {
    for (const Mailbox::Event& event : events) mailbox.Post(event.key, event.ended);
    throw;
  }
}

/// A generator ends without the GIL: it waits for the engine, and gives back gigabytes.
struct DestroyWithoutGil {
  void operator()(Generator* generator) const {
    const py::gil_scoped_release release;
    const std::unique_ptr<Generator> owner(generator);
  }
};
using GeneratorHolder = std::unique_ptr<Generator, DestroyWithoutGil>;

ModelSpec MakeModelSpec(int vocab_size, int max_length, const std::string& name, const std::string& architecture,
                        int layers, int hidden_size, int intermediate_size, int heads, int kv_heads, int head_dim,
                        double rms_norm_eps, bool qkv_bias, bool tied_embeddings, const RopeSpec& rope, TokenId bos_id,
                        TokenId pad_id, const std::vector<TokenId>& eos_ids) {
  ModelSpec model;
  model.name = name;
  model.architecture = architecture;
  model.layers = layers;
  model.hidden_size = hidden_size;
  model.intermediate_size = intermediate_size;
  model.heads = heads;
  model.kv_heads = kv_heads;
  model.head_dim = head_dim;
  model.vocab_size = vocab_size;
  model.max_length = max_length;
  model.rms_norm_eps = rms_norm_eps;
  model.qkv_bias = qkv_bias;
  model.tied_embeddings = tied_embeddings;
  model.rope = rope;
  model.bos_id = bos_id;
  model.pad_id = pad_id;
  model.eos_ids = eos_ids;
  return model;
}

void BindModelSpec(py::module_& module) {
  py::class_<RopeSpec>(module, "RopeSpec", "Rotary position embedding, scaling folded in.")
      .def(py::init([](const std::string& type, double theta, const std::vector<float>& frequencies, float factor) {
             return RopeSpec{type, theta, frequencies, factor};
           }),
           py::kw_only(), py::arg("type") = "default", py::arg("theta") = 10000.0,
           py::arg("inverse_frequencies") = std::vector<float>(), py::arg("attention_factor") = 1.0F)
      .def_readonly("type", &RopeSpec::type)
      .def_readonly("theta", &RopeSpec::theta)
      .def_readonly("inverse_frequencies", &RopeSpec::inverse_frequencies)
      .def_readonly("attention_factor", &RopeSpec::attention_factor);
  py::class_<ModelSpec>(module, "ModelSpec", "The shape of the model, as model.json states it.")
      .def(py::init(&MakeModelSpec), py::kw_only(), py::arg("vocab_size"), py::arg("max_length"), py::arg("name") = "",
           py::arg("architecture") = "", py::arg("layers") = 0, py::arg("hidden_size") = 0,
           py::arg("intermediate_size") = 0, py::arg("heads") = 0, py::arg("kv_heads") = 0, py::arg("head_dim") = 0,
           py::arg("rms_norm_eps") = 1e-5, py::arg("qkv_bias") = false, py::arg("tied_embeddings") = false,
           py::arg("rope") = RopeSpec(), py::arg("bos_id") = -1, py::arg("pad_id") = -1,
           py::arg("eos_ids") = std::vector<TokenId>(),
           "What a backend of one's own says of its model: the vocabulary, and where a sequence ends.")
      .def_readonly("name", &ModelSpec::name)
      .def_readonly("architecture", &ModelSpec::architecture)
      .def_readonly("layers", &ModelSpec::layers)
      .def_readonly("hidden_size", &ModelSpec::hidden_size)
      .def_readonly("intermediate_size", &ModelSpec::intermediate_size)
      .def_readonly("heads", &ModelSpec::heads)
      .def_readonly("kv_heads", &ModelSpec::kv_heads)
      .def_readonly("head_dim", &ModelSpec::head_dim)
      .def_readonly("vocab_size", &ModelSpec::vocab_size)
      .def_readonly("max_length", &ModelSpec::max_length)
      .def_readonly("rms_norm_eps", &ModelSpec::rms_norm_eps)
      .def_readonly("qkv_bias", &ModelSpec::qkv_bias)
      .def_readonly("output_bias", &ModelSpec::output_bias, "attention's output adds a bias")
      .def_readonly("mlp_bias", &ModelSpec::mlp_bias, "the feed-forward adds biases")
      .def_readonly("qk_norm", &ModelSpec::qk_norm, "heads of q and k go through a norm before rotary")
      .def_readonly("layers_without_rope", &ModelSpec::layers_without_rope, "ascending; they do not turn q and k")
      .def_readonly("tied_embeddings", &ModelSpec::tied_embeddings)
      .def_readonly("rope", &ModelSpec::rope)
      .def_readonly("bos_id", &ModelSpec::bos_id, "-1: the model has none")
      .def_readonly("pad_id", &ModelSpec::pad_id, "-1: the model has none")
      .def_readonly("eos_ids", &ModelSpec::eos_ids);
}

const char* FinishReasonName(FinishReason reason) {
  switch (reason) {
    case FinishReason::kNone: return nullptr;
    case FinishReason::kStop: return "stop";
    case FinishReason::kLength: return "length";
    case FinishReason::kError: return "error";
  }
  return nullptr;
}

void BindResults(py::module_& module) {
  py::class_<TokenLogprob>(module, "TokenLogprob", "One token and its log-probability (natural logarithm).")
      .def_readonly("token", &TokenLogprob::token)
      .def_readonly("logprob", &TokenLogprob::logprob)
      .def_readonly("rank", &TokenLogprob::rank, "1: the likeliest");
  py::class_<Update>(module, "Update", "What one step added to one sample of a request.")
      .def_readonly("sample", &Update::sample)
      .def_readonly("token_ids", &Update::token_ids)
      .def_readonly("text", &Update::text)
      .def_readonly("logprobs", &Update::logprobs)
      .def_property_readonly("finish_reason", [](const Update& u) { return FinishReasonName(u.finish_reason); });
  py::class_<Sample>(module, "Sample", "One finished sample.")
      .def_readonly("token_ids", &Sample::token_ids)
      .def_readonly("text", &Sample::text)
      .def_property_readonly("finish_reason", [](const Sample& s) { return FinishReasonName(s.finish_reason); })
      .def_readonly("stop_reason", &Sample::stop_reason, "The id or the stop text; None when it ended by length.")
      .def_readonly("logprobs", &Sample::logprobs)
      .def_readonly("cumulative_logprob", &Sample::cumulative_logprob);
  py::class_<Timings>(module, "Timings", "Seconds from submission.")
      .def_readonly("queued", &Timings::queued)
      .def_readonly("first_token", &Timings::first_token)
      .def_readonly("total", &Timings::total);
  py::class_<Result>(module, "Result", "A finished request.")
      .def_readonly("samples", &Result::samples)
      .def_readonly("prompt_logprobs", &Result::prompt_logprobs)
      .def_readonly("seed", &Result::seed)
      .def_readonly("cached_prompt_tokens", &Result::cached_prompt_tokens)
      .def_readonly("timings", &Result::timings);
}

py::dict ToDict(const Stats& stats) {
  py::dict values;
  values["queued"] = stats.queued;
  values["running"] = stats.running;
  values["cached_tokens"] = stats.cached_tokens;
  values["cache_capacity"] = stats.cache_capacity;
  values["requests"] = stats.requests;
  values["finished"] = stats.finished;
  values["cancelled"] = stats.cancelled;
  values["failed"] = stats.failed;
  values["refused"] = stats.refused;
  values["prompt_tokens"] = stats.prompt_tokens;
  values["prefix_hit_tokens"] = stats.prefix_hit_tokens;
  values["preempted"] = stats.preempted;
  values["generated_tokens"] = stats.generated_tokens;
  values["steps"] = stats.steps;
  values["forward_seconds"] = stats.forward_seconds;
  values["sampling_seconds"] = stats.sampling_seconds;
  return values;
}

void BindHandle(py::module_& module) {
  py::class_<RequestHandle>(module, "RequestHandle", "A submitted request.")
      .def_property_readonly("id", &RequestHandle::id)
      .def("next", &Next, py::arg("timeout") = py::none(),
           "The next update; None when the request is over; False when none came within `timeout` seconds.")
      .def("take", &Take, "The same without waiting.")
      .def(
          "wait",
          [](const RequestHandle& handle, std::optional<double> timeout) {
            return WaitInterruptibly(timeout, [&](milliseconds slice) { return handle.WaitFor(slice); });
          },
          py::arg("timeout") = py::none(), "True when the request ended, well or badly, within `timeout` seconds.")
      .def("result", &GetResult, "Waits for the end; raises the request's error if it failed.")
      .def("cancel", &RequestHandle::Cancel, py::call_guard<py::gil_scoped_release>(),
           "Ends the request at the next step. Safe from any thread, any number of times.");
}

void BindMailbox(py::module_& module) {
  py::class_<Mailbox, std::shared_ptr<Mailbox>>(module, "Mailbox", "Tells an event loop which requests have news.")
      .def(py::init<>())
      .def("fileno", &Mailbox::descriptor, "A descriptor that is readable while there is something to take.")
      .def("open", &Mailbox::Open, "A new key, for a request that is going to be submitted.")
      .def("post", &Mailbox::Post, py::arg("key"), py::arg("ended"), "What the engine does: this request has news.")
      .def("take", &TakeEvents, "(key, ended) of the requests that have news, each once, in the order they came.")
      .def("close", &Mailbox::Close, py::arg("key"), "Drops what was posted and what is still to come.");
}

void BindRequest(py::module_& module) {
  py::class_<Request>(module, "Request", "A prompt and what to do with it; may be submitted any number of times.");
}

void BindGeneratorClass(py::module_& module) {
  py::class_<Generator, GeneratorHolder>(module, "Generator", "One model, its cache and its engine thread.")
      .def(py::init([](const std::string& bundle, const py::dict& values) {
             const GeneratorOptions options = ReadGeneratorOptions(values);
             const py::gil_scoped_release release;
             return GeneratorHolder(new Generator(bundle, options));
           }),
           py::arg("bundle"), py::arg("options") = py::dict())
      .def_static(
          "on_backend",
          [](py::object backend, const py::dict& values, const std::string& vocabulary) {
            const GeneratorOptions options = ReadGeneratorOptions(values);
            auto opened = std::make_unique<PythonBackend>(std::move(backend));
            const py::gil_scoped_release release;
            return GeneratorHolder(new Generator(std::move(opened), options, vocabulary));
          },
          py::arg("backend"), py::arg("options") = py::dict(), py::arg("vocabulary") = "",
          "On a skywork_rt.backends.PythonBackend. `vocabulary`: path of a vocab.bin, or empty.")
      .def_property_readonly("model", &Generator::model, py::return_value_policy::reference_internal)
      .def_property_readonly("options", [](const Generator& g) { return bindings::ToDict(g.options()); })
      .def("stats", [](const Generator& g) { return ToDict(g.stats()); })
      .def("request", &MakeRequest, py::arg("prompt"), py::arg("params"), py::arg("priority") = 0,
           py::arg("deadline") = py::none(), py::arg("prompt_logprobs_from") = 1, py::arg("begins_text") = false,
           py::arg("clip_max_tokens") = false, py::arg("cache_salt") = "", py::arg("grammar") = py::none(),
           "A request for this model, not checked yet. `grammar`: a compiler, and the type and text that it takes.")
      .def("check", &Generator::Check, py::arg("request"), py::call_guard<py::gil_scoped_release>(),
           "Raises what submit would, but BusyError. Starts nothing.")
      .def("submit", &Submit, py::arg("request"), py::arg("mailbox") = py::none(), py::arg("key") = 0,
           py::keep_alive<0, 1>(),  // a request that somebody waits for keeps its generator open
           "Queues one request. With `mailbox`, its news are posted there under `key`, which was opened before.")
      .def(
          "try_submit",
          [](Generator& generator, const Request& request) {
            const py::gil_scoped_release release;
            Request copy = request;
            return generator.TrySubmit(&copy);
          },
          py::arg("request"), py::keep_alive<0, 1>(), "The same, but None when the queue is full.")
      .def(
          "decode",
          [](const Generator& generator, const IdArray& ids, bool skip_special_tokens) {
            const std::vector<TokenId> tokens = ToTokens(ids, generator.model().vocab_size);
            return generator.Decode(Span<const TokenId>(tokens), skip_special_tokens);
          },
          py::arg("ids"), py::arg("skip_special_tokens") = true, "Text of `ids` through the bundle's vocabulary.")
      .def(
          "close",
          [](Generator& generator, bool finish) {
            const py::gil_scoped_release release;
            generator.Close(finish ? Generator::CloseMode::kFinish : Generator::CloseMode::kCancel);
          },
          py::arg("finish") = false, "Cancels (or finishes) what is queued and running, then stops. Idempotent.");
}

}  // namespace

void BindGenerator(py::module_& module) {
  BindModelSpec(module);
  BindResults(module);
  BindHandle(module);
  BindMailbox(module);
  BindRequest(module);
  BindGeneratorClass(module);
}

}  // namespace skywork_rt::bindings
