#include "bindings/python_backend.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "skywork_rt/error.h"
#include "support/error_codes.h"
#include "support/format.h"

namespace skywork_rt::bindings {
namespace py = pybind11;
namespace {

constexpr const char* kModule = "skywork_rt.backends";

bool InterpreterEnds() {
#if PY_VERSION_HEX >= 0x030D0000
  return Py_IsInitialized() == 0 || Py_IsFinalizing() != 0;
#else
  return Py_IsInitialized() == 0 || _Py_IsFinalizing() != 0;
#endif
}

std::string ClassName(const py::handle& object) {
  return py::str(py::type::handle_of(object).attr("__name__"));
}

/// What Python raised, as an error of this library: skywork_rt.backends.failure finds the code and the words.
Error ToError(const py::object& backend, const char* method, const py::error_already_set& raised) {
  try {
    if (raised.trace()) PyException_SetTraceback(raised.value().ptr(), raised.trace().ptr());
    const auto told = py::module_::import("skywork_rt.backends.failure")
                          .attr("describe")(backend, method, raised.value())
                          .cast<std::pair<std::string, std::string>>();
    for (const NamedCode& named : kErrorCodes) {
      if (told.first == named.name) return {named.code, told.second};
    }
    return {ErrorCode::kBackend, told.second};
  } catch (const std::exception&) {  // it cannot be described: no memory, an exception that breaks when it is looked at
    return {ErrorCode::kBackend, raised.what()};
  }
}

[[noreturn]] void RefuseObject(const py::object& object, const std::string& complaint) {
  throw Error(ErrorCode::kInvalidArgument, StrCat(ClassName(object), ": ", complaint));
}

/// A number of the object's traits, in [least, most].
template <typename Number>
Number Trait(const py::object& object, const char* name, Number least) {
  try {
    const auto value = object.attr("traits").attr(name).cast<Number>();
    if (value >= least) return value;
  } catch (const py::cast_error&) {
  }
  RefuseObject(object, StrCat("traits.", name, " is ", std::string(py::repr(object.attr("traits").attr(name))),
                              ", but must be a whole number of at least ", least));
}

bool Ability(const py::object& object, const char* name) {
  return object.attr("traits").attr(name).cast<bool>();
}

Traits ReadTraits(const py::object& object) {
  Traits traits;
  traits.max_batch = Trait<int>(object, "max_batch", 1);
  traits.max_cached_tokens = Trait<std::size_t>(object, "max_cached_tokens", 1);
  traits.max_chunk = Trait<std::size_t>(object, "max_chunk", 1);
  traits.bytes_per_token = Trait<std::size_t>(object, "bytes_per_token", 0);
  traits.can_fork = Ability(object, "can_fork");
  traits.can_truncate = Ability(object, "can_truncate");
  traits.mixed_steps = Ability(object, "mixed_steps");
  traits.bitwise = Ability(object, "bitwise");
  return traits;
}

ModelSpec ReadModel(const py::object& object) {
  const py::object model = object.attr("model");
  if (!py::isinstance<ModelSpec>(model)) {
    RefuseObject(object, StrCat("model is a ", ClassName(model), ", but must be a skywork_rt.backends.ModelSpec"));
  }
  auto spec = model.cast<ModelSpec>();
  if (spec.vocab_size < 1 || spec.max_length < 2) {
    RefuseObject(object, StrCat("model has vocab_size ", spec.vocab_size, " and max_length ", spec.max_length,
                                ", but must have at least 1 and 2"));
  }
  return spec;
}

/// "float64 [3, 100]", or the class of what is no array.
std::string Describe(const py::object& value) {
  if (!py::isinstance<py::array>(value)) return StrCat("a ", ClassName(value));
  const auto array = value.cast<py::array>();
  std::string shape;
  for (py::ssize_t i = 0; i < array.ndim(); ++i) shape += StrCat(i == 0 ? "" : ", ", array.shape(i));
  return StrCat(std::string(py::str(array.dtype())), " [", shape, "]");
}

template <typename Number>
py::array_t<std::int32_t> ToArray(Span<const Number> values) {
  return py::array_t<std::int32_t>(static_cast<py::ssize_t>(values.size()), values.data());
}

/// Lets Python ask, while it computes, whether the step is still wanted.
class StepWatch {
 public:
  explicit StepWatch(ForwardWatch* watch) : watch_(watch), thread_(std::this_thread::get_id()) {}

  /// With the GIL, which it gives up: whoever asks may wait for the engine.
  bool GiveUp(std::size_t done, std::size_t total) {
    if (std::this_thread::get_id() != thread_) {
      throw Error(ErrorCode::kInvalidArgument, "watch.give_up() must be asked on the thread that forward() runs on");
    }
    if (watch_ == nullptr || done == 0 || done >= total) return false;
    const py::gil_scoped_release release;
    given_up_ = watch_->GiveUp(done, total) || given_up_;
    return given_up_;
  }
  bool given_up() const { return given_up_; }
  /// The step is over; who kept the object hears False from now on.
  void End() { watch_ = nullptr; }

 private:
  ForwardWatch* watch_;
  const std::thread::id thread_;
  bool given_up_ = false;
};

/// Ends a step's watch however the step ends.
class WatchedStep {
 public:
  explicit WatchedStep(ForwardWatch* watch) : watch_(std::make_shared<StepWatch>(watch)) {}
  ~WatchedStep() { watch_->End(); }
  WatchedStep(const WatchedStep&) = delete;
  WatchedStep& operator=(const WatchedStep&) = delete;
  const std::shared_ptr<StepWatch>& watch() const { return watch_; }

 private:
  std::shared_ptr<StepWatch> watch_;
};

/// Replaces what the options leave open by what the object says; what it does not know is refused by name.
void TakeChoice(const std::string& backend, const py::dict& chosen, const char* name, const std::string& plain,
                std::string* option) {
  const std::string told = chosen.contains(name) ? chosen[name].cast<std::string>() : plain;
  if (*option != plain && *option != "auto" && *option != told) {
    throw Error(ErrorCode::kUnsupported,
                StrCat("the backend \"", backend, "\" does not know ", name, " \"", *option, "\": leave it out"));
  }
  *option = told;
}

void RefuseSwitch(const std::string& backend, const char* name, bool given) {
  if (!given) return;
  throw Error(ErrorCode::kUnsupported,
              StrCat("the backend \"", backend, "\" has no use for the option ", name, ": leave it out"));
}

}  // namespace

/// Holds the GIL. A thread that Python does not know gets a state that is kept until the backend dies: what libraries
/// keep by thread (contexts, threading.local) would else be made anew in every step.
class PythonBackend::Gil {
 public:
  explicit Gil(const PythonBackend& backend) {
    if (InterpreterEnds()) throw Error(ErrorCode::kClosed, "the Python interpreter ends: it computes nothing any more");
    const bool foreign = PyGILState_GetThisThreadState() == nullptr;
    gil_.emplace();
    if (!foreign || backend.keeper_ != std::thread::id()) return;
    gil_->inc_ref();
    backend.keeper_ = std::this_thread::get_id();
  }
  void Forget() { gil_->dec_ref(); }

 private:
  std::optional<py::gil_scoped_acquire> gil_;
};

PythonBackend::PythonBackend(py::object object)
    : object_(std::move(object)),
      model_(ReadModel(object_)),
      traits_(ReadTraits(object_)),
      ledger_(model_.vocab_size, static_cast<std::size_t>(model_.max_length), traits_) {}

PythonBackend::~PythonBackend() {
  if (InterpreterEnds()) {
    static_cast<void>(object_.release());
    return;
  }
  Gil gil(*this);
  try {
    object_.attr("shutdown")();
  } catch (py::error_already_set& raised) {
    raised.discard_as_unraisable("skywork_rt.backends.PythonBackend.shutdown");
  }
  object_ = py::object();
  if (keeper_ == std::this_thread::get_id()) gil.Forget();
}

template <typename... Args>
py::object PythonBackend::Call(const char* method, const Args&... args) const {
  try {
    return object_.attr(method)(args...);
  } catch (py::error_already_set& raised) {
    throw ToError(object_, method, raised);
  }
}

GeneratorOptions PythonBackend::Chosen(GeneratorOptions options) const {
  const Gil gil(*this);
  const auto name = Call("get_name").cast<std::string>();
  const auto chosen = Call("get_choices").cast<py::dict>();
  options.backend = name;
  TakeChoice(name, chosen, "device", "cpu", &options.device);
  TakeChoice(name, chosen, "weights", "auto", &options.weights);
  TakeChoice(name, chosen, "activations", "auto", &options.activations);
  TakeChoice(name, chosen, "kv_cache", "f32", &options.kv_cache);
  const GeneratorOptions plain;
  RefuseSwitch(name, "device_id", options.device_id != plain.device_id);
  RefuseSwitch(name, "rank_id", options.rank_id != plain.rank_id);
  RefuseSwitch(name, "ge_config", options.ge_config != plain.ge_config);
  RefuseSwitch(name, "ge_precision", options.ge_precision != plain.ge_precision);
  RefuseSwitch(name, "mmap", options.mmap.value_or(false));
  RefuseSwitch(name, "verify", options.verify);
  options.mmap = false;
  return options;
}

SeqId PythonBackend::Open(std::size_t max_tokens) {
  const SeqId seq = ledger_.Open(max_tokens);
  try {
    const Gil gil(*this);
    Call("open", seq, max_tokens);
  } catch (...) {
    ledger_.Close(seq);
    throw;
  }
  return seq;
}

bool PythonBackend::Forward(Span<const Chunk> chunks, Span<float> logits, ForwardWatch* watch) {
  ledger_.CheckForward(chunks, Span<const float>(logits.data(), logits.size()));
  {
    const Gil gil(*this);
    const WatchedStep step(watch);
    const py::object result = Call("forward", ToPython(chunks), py::cast(step.watch()));
    if (result.is_none() && step.watch()->given_up()) return false;
    if (!logits.empty()) TakeLogits(result, logits);
  }
  ledger_.Advance(chunks);
  return true;
}

py::list PythonBackend::ToPython(Span<const Chunk> chunks) const {
  const py::object type = py::module_::import(kModule).attr("Chunk");
  py::list list;
  for (const Chunk& chunk : chunks) {
    list.append(type(chunk.seq, ledger_.Length(chunk.seq), ToArray(chunk.tokens), ToArray(chunk.logit_rows)));
  }
  return list;
}

void PythonBackend::TakeLogits(const py::object& result, Span<float> logits) const {
  const auto vocab = static_cast<py::ssize_t>(model_.vocab_size);
  const auto rows = static_cast<py::ssize_t>(logits.size()) / vocab;
  const bool is_float = py::isinstance<py::array_t<float>>(result);
  const auto array = is_float ? result.cast<py::array>() : py::array();
  if (!is_float || array.ndim() != 2 || array.shape(0) != rows || array.shape(1) != vocab) {
    throw Error(ErrorCode::kBackend,
                StrCat(ClassName(object_), ".forward returned ", Describe(result), ", but must return float32 [", rows,
                       ", ", vocab, "]: a row of logits for ", "each of the wanted rows"));
  }
  const auto plain = py::array_t<float, py::array::c_style | py::array::forcecast>::ensure(array);
  if (!plain) throw py::error_already_set();
  std::copy_n(plain.data(), logits.size(), logits.data());
}

void PythonBackend::Reorder(Span<const SeqId> from, Span<const SeqId> to) {
  ledger_.CheckReorder(from, to);
  {
    const Gil gil(*this);
    const py::object type = py::module_::import(kModule).attr("Move");
    py::list moves;
    for (std::size_t i = 0; i < to.size(); ++i) {
      if (from[i] != to[i]) moves.append(type(from[i], to[i], ledger_.Length(from[i])));
    }
    if (!moves.empty()) Call("copy", moves);
  }
  ledger_.Reorder(from, to);
}

void PythonBackend::Copy(SeqId from, SeqId to, std::size_t length) {
  ledger_.CheckCopy(from, to, length);
  {
    const Gil gil(*this);
    py::list moves;
    moves.append(py::module_::import(kModule).attr("Move")(from, to, length));
    Call("copy", moves);
  }
  ledger_.SetLength(to, length);
}

void PythonBackend::Truncate(SeqId seq, std::size_t length) {
  ledger_.CheckTruncate(seq, length);
  {
    const Gil gil(*this);
    Call("truncate", seq, length);
  }
  ledger_.SetLength(seq, length);
}

// It is closed whatever the object does: nothing can be done with it any more.
void PythonBackend::Close(SeqId seq) {
  ledger_.CheckClose(seq);
  ledger_.Close(seq);
  const Gil gil(*this);
  Call("close", seq);
}

void BindPythonBackend(py::module_& module) {
  py::class_<StepWatch, std::shared_ptr<StepWatch>>(module, "StepWatch", "Says whether a running step is still wanted.")
      .def("give_up", &StepWatch::GiveUp, py::arg("done"), py::arg("total"),
           "Asked in forward() between two parts, when `done` of its `total` are computed: True when the step is "
           "not wanted any more, and forward() should return None.");
}

}  // namespace skywork_rt::bindings
