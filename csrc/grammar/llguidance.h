#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "skywork_rt/export.h"

namespace skywork_rt::grammar {

// What llguidance's C interface looks like (parser/llguidance.h of its repository, versions 1.8 and 1.9). The library
// itself is not linked: its functions are looked up in a shared library that is there at run time.

struct LlgTokenizer;
struct LlgMatcher;

/// What a grammar may take, with the library's own defaults but for the states of its lexer: one is one or two
/// kilobytes, and every sample has its own, so these are a hundred megabytes at the most.
struct LlgParserLimits {
  std::size_t max_items_in_row = 2000;
  std::uint64_t initial_lexer_fuel = 1'000'000;
  std::uint64_t step_lexer_fuel = 200'000;
  std::size_t step_max_items = 50'000;
  std::size_t max_lexer_states = 50'000;
  std::size_t max_grammar_size = 500'000;
  bool precompute_large_lexemes = true;
  bool verbose_errors = false;
};

struct LlgConstraintInit {
  const LlgTokenizer* tokenizer = nullptr;
  std::uint32_t log_buffer_level = 0;
  std::uint32_t log_stderr_level = 0;
  bool ff_tokens_ok = false;
  bool backtrack_ok = false;
  LlgParserLimits limits;
  /// Fields that later versions may add: zero means their defaults there.
  std::uint64_t later[16] = {};
};

/// The library reads as much of it as `struct_size` says.
struct LlgTokenizerInit {
  std::size_t struct_size = sizeof(LlgTokenizerInit);
  std::uint32_t vocab_size = 0;
  std::uint32_t tok_eos = 0;
  const std::uint32_t* token_lens = nullptr;
  const std::uint8_t* token_bytes = nullptr;
  const char* tokenizer_json = nullptr;
  bool tokenize_assumes_string = false;
  std::size_t (*tokenize_fn)(const void*, const std::uint8_t*, std::size_t, std::uint32_t*, std::size_t) = nullptr;
  bool use_approximate_greedy_tokenize_fn = false;
  const void* tokenize_user_data = nullptr;
  const char* const* slices = nullptr;
  const std::uint32_t* tok_eos_extra = nullptr;
  std::uint32_t tok_eos_extra_count = 0;
};

/// The functions that are used. Tests fill it with functions of their own.
struct LlguidanceFunctions {
  const char* (*get_version)() = nullptr;
  LlgTokenizer* (*new_tokenizer)(const LlgTokenizerInit*, char* error, std::size_t error_size) = nullptr;
  void (*free_tokenizer)(LlgTokenizer*) = nullptr;
  LlgMatcher* (*new_matcher)(const LlgConstraintInit*, const char* type, const char* text) = nullptr;
  LlgMatcher* (*clone_matcher)(const LlgMatcher*) = nullptr;
  void (*free_matcher)(LlgMatcher*) = nullptr;
  const char* (*get_error)(LlgMatcher*) = nullptr;
  std::size_t (*get_mask_byte_size)(const LlgMatcher*) = nullptr;
  std::int32_t (*compute_mask_into)(LlgMatcher*, std::uint32_t* mask, std::size_t bytes) = nullptr;
  std::int32_t (*consume_token)(LlgMatcher*, std::uint32_t token) = nullptr;
  std::int32_t (*rollback)(LlgMatcher*, std::size_t tokens) = nullptr;
};

/// Looks the functions up in the shared library at `path`, which Python has loaded as a module; it is loaded here if
/// nobody has. Throws kUnsupported when a function is missing or the version is one whose structures are not known.
SKYWORK_RT_API std::shared_ptr<const LlguidanceFunctions> LoadLlguidance(const std::string& path);

}  // namespace skywork_rt::grammar
