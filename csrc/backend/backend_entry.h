#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "backend/backend.h"
#include "backend/graph_session.h"
#include "bundle/bundle.h"
#include "skywork_rt/generator_options.h"

namespace skywork_rt {

/// What the engine asks of a backend: the user's options, checked, with 0 replaced by what it means where the engine
/// knows it. Here max_batch is the most sequences that are open at once: those that run, and those that are kept for
/// prefix reuse.
struct BackendOptions : GeneratorOptions {
  BackendOptions() = default;
  explicit BackendOptions(const GeneratorOptions& options) : GeneratorOptions(options) {}
};

/// What an open backend takes of the memory, in bytes, told before it is opened.
struct BackendMemory {
  std::size_t weights = 0;    // all of them, mapped ones too: a step reads them all
  std::size_t work = 0;       // buffers, and what the cache takes beside its tokens
  std::size_t per_token = 0;  // keys and values of one cached token, as they are stored
};

/// One kind of backend, built in or from a plugin: what the registry knows of it. A constant that lives as long as the
/// process.
struct BackendEntry {
  const char* name;         // what GeneratorOptions::backend says, such as "lite"
  const char* description;  // what it was built with, for people

  /// Empty when this backend can run the bundle with these options; else a sentence that says what is missing and what
  /// to do. Looks at nothing but its arguments: it is asked for "auto", before the backend is chosen.
  std::string (*why_not)(const Bundle& bundle, const BackendOptions& options);
  /// Opens the bundle, for which `why_not` said nothing. Throws Error, as MakeBackend says.
  std::unique_ptr<Backend> (*make)(const Bundle& bundle, const BackendOptions& options);

  /// What `make` would take with these options, max_cached_tokens and max_length aside, which follow from it. Reads no
  /// file's content. Throws what `make` throws for options and shapes that it refuses. Null: unknown, and the engine
  /// reckons with keys and values in float32 beside nothing.
  BackendMemory (*memory)(const Bundle& bundle, const BackendOptions& options) = nullptr;

  // For benchmarks, which compare a backend with its bare graphs; null where there are none.

  /// Opens a graph of the bundle by its file's name, its SHA-256 checked.
  std::unique_ptr<GraphSession> (*open_graph)(const Bundle& bundle, const std::string& file, int threads) = nullptr;
  /// Slots of the cache that the backend gives its graphs when the longest sequence has `longest` tokens.
  std::size_t (*cache_slots)(std::size_t longest, std::size_t max_length) = nullptr;
};

}  // namespace skywork_rt
