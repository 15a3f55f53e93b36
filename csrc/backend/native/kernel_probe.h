#pragma once

#include <cstddef>
#include <string>

#include "skywork_rt/export.h"

namespace skywork_rt::native {

/// Products of random weights, as a model's layers make them, without a model.
struct ProductProbe {
  std::string weights = "int8";   ///< A type of packed weights.
  bool int8_activations = false;  ///< Else exact ones.
  int rows = 4096;                ///< Of each matrix.
  int cols = 4096;
  int tokens = 1;   ///< That share the reading of the weights, at most 96.
  int threads = 1;  ///< All that compute.
  /// Of different weights that a pass goes through: beyond all caches, they come from memory. They lie in huge pages up
  /// to the size of a file that is copied (FileContents::kMostCopied), in small ones beyond it, as mapped files do.
  std::size_t bytes = 0;
  int passes = 1;
};

/// What a pass of the probe was: the quickest one.
struct ProductTimes {
  double seconds = 0;             ///< Of all products of a pass, with the packing of their activations.
  std::size_t bytes = 0;          ///< Of weights that it read.
  std::size_t multiply_adds = 0;  ///< Of all its products.
};

/// Measures. Throws Error(kInvalidArgument) for numbers out of range and unknown types, Error(kCapacity) when memory is
/// short.
SKYWORK_RT_API ProductTimes TimeProducts(const ProductProbe& probe);

/// Attention to cached positions: some queries of one key/value head and the blocks of 128 positions that they see.
struct AttentionProbe {
  int head_dim = 128;
  int queries = 1;  ///< That share the reading of the cache, at most 24.
  int threads = 1;
  std::size_t bytes = 0;  ///< Of keys and values in float32 that a pass goes through.
  int passes = 1;
};

struct AttentionTimes {
  double seconds = 0;         ///< Of the quickest pass.
  std::size_t bytes = 0;      ///< Of keys and values that it read.
  std::size_t positions = 0;  ///< Query times position.
};

/// Measures. Throws as TimeProducts.
SKYWORK_RT_API AttentionTimes TimeAttention(const AttentionProbe& probe);

/// Seconds from the start to the end of a parallel region in which nothing is to be done: the median of 1000.
SKYWORK_RT_API double TimeRegion(int threads);

}  // namespace skywork_rt::native
