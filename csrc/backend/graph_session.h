#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "skywork_rt/span.h"

namespace skywork_rt {

/// One loaded graph, bare: no cache, no positions, no loop. What a backend of graphs is built on, and what a benchmark
/// runs to know the cost of everything around it. Used by one thread at a time. Members throw Error(kBackend) with the
/// runtime's own text.
class GraphSession {
 public:
  using Shape = std::vector<std::int64_t>;

  enum class ElementType { kFloat32, kInt32, kInt64, kOther };

  /// What a graph states about one of its inputs.
  struct TensorInfo {
    std::string name;
    ElementType type = ElementType::kOther;
    Shape shape;
  };

  virtual ~GraphSession() = default;

  /// In the graph's own order; shapes as the file has them.
  virtual const std::vector<TensorInfo>& inputs() const = 0;
  /// Gives every input a shape, in the order of `inputs()`. Bindings are void from then on.
  virtual void Resize(const std::vector<Shape>& shapes) = 0;
  /// Lets the graph read an input from the caller's memory, without a copy, until it is bound anew or resized.
  virtual void Bind(std::size_t input, const void* data, std::size_t bytes) = 0;
  /// Computes the outputs of the bound inputs.
  virtual void Run() = 0;
  /// Output `index` of the last `Run`, float32, in the graph's order; valid until the next `Resize` or `Run`.
  /// Throws Error(kBackend) when there is no such output or it is not float32.
  virtual Span<const float> Output(std::size_t index) = 0;
};

}  // namespace skywork_rt
