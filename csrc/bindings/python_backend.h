#pragma once

#include <pybind11/pybind11.h>

#include <cstddef>
#include <thread>

#include "backend/backend.h"
#include "backend/sequence_ledger.h"

namespace skywork_rt::bindings {

/// A backend that a Python object computes: a skywork_rt.backends.PythonBackend. What every backend owes the engine
/// (ids, lengths, reservations, checks) is done here; the object gives logits, and hears what else happens.
///
/// It takes the GIL in each call that reaches the object, and for no longer. It may be used and may die on any thread;
/// when the interpreter has begun to end it computes no more, and leaks the object.
class PythonBackend final : public Backend {
 public:
  /// With the GIL. Throws Error(kInvalidArgument) for an object whose model, traits or name is wrong.
  explicit PythonBackend(pybind11::object object);
  ~PythonBackend() override;
  PythonBackend(const PythonBackend&) = delete;
  PythonBackend& operator=(const PythonBackend&) = delete;

  const ModelSpec& model() const override { return model_; }
  Traits traits() const override { return traits_; }
  GeneratorOptions Chosen(GeneratorOptions options) const override;
  SeqId Open(std::size_t max_tokens) override;
  std::size_t Length(SeqId seq) const override { return ledger_.Length(seq); }
  using Backend::Forward;
  bool Forward(Span<const Chunk> chunks, Span<float> logits, ForwardWatch* watch) override;
  void Reorder(Span<const SeqId> from, Span<const SeqId> to) override;
  void Copy(SeqId from, SeqId to, std::size_t length) override;
  void Truncate(SeqId seq, std::size_t length) override;
  void Close(SeqId seq) override;

 private:
  class Gil;

  /// Calls `method` of the object, with the GIL. What it raises is thrown as Error that names class and method.
  template <typename... Args>
  pybind11::object Call(const char* method, const Args&... args) const;
  pybind11::list ToPython(Span<const Chunk> chunks) const;
  void TakeLogits(const pybind11::object& result, Span<float> logits) const;

  pybind11::object object_;
  ModelSpec model_;
  Traits traits_;
  SequenceLedger ledger_;
  mutable std::thread::id keeper_;  // the thread whose Python state is kept between calls
};

void BindPythonBackend(pybind11::module_& module);

}  // namespace skywork_rt::bindings
