#include "grammar/pretend_library.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

// The library's own types, which nobody else looks into.
namespace skywork_rt::grammar {

struct LlgTokenizer {
  std::vector<std::string> tokens;
  std::uint32_t end = 0;
};

struct LlgMatcher {
  const LlgTokenizer* tokenizer = nullptr;
  std::string type;
  std::string text;
  std::string error;
  std::size_t place = 0;            // in text
  std::vector<std::size_t> places;  // before each token
};

}  // namespace skywork_rt::grammar

namespace skywork_rt::testing {
namespace {

using grammar::LlgConstraintInit;
using grammar::LlgMatcher;
using grammar::LlgTokenizer;
using grammar::LlgTokenizerInit;

std::atomic<int> alive{0};
std::atomic<int> compiled{0};
std::mutex gate_mutex;
std::condition_variable gate;
bool is_open = true;

void WaitForGate() {
  std::unique_lock<std::mutex> lock(gate_mutex);
  gate.wait(lock, [] { return is_open; });
}

LlgTokenizer* NewTokenizer(const LlgTokenizerInit* init, char* error, std::size_t error_size) {
  if (init->vocab_size == 0) {
    std::strncpy(error, "no tokens", error_size);
    return nullptr;
  }
  ++alive;
  auto* tokenizer = new LlgTokenizer;
  const auto* bytes = reinterpret_cast<const char*>(init->token_bytes);
  for (std::uint32_t i = 0; i < init->vocab_size; ++i) {
    tokenizer->tokens.emplace_back(bytes, init->token_lens[i]);
    bytes += init->token_lens[i];
  }
  tokenizer->end = init->tok_eos;
  return tokenizer;
}

void FreeTokenizer(LlgTokenizer* tokenizer) {
  if (tokenizer != nullptr) --alive;
  delete tokenizer;
}

LlgMatcher* NewMatcher(const LlgConstraintInit* init, const char* type, const char* text) {
  if (std::string(type) == "gated") WaitForGate();
  ++compiled;
  ++alive;
  return new LlgMatcher{init->tokenizer, type, text, std::string(type) == "wrong" ? text : "", 0, {}};
}

LlgMatcher* CloneMatcher(const LlgMatcher* matcher) {
  ++alive;
  return new LlgMatcher(*matcher);
}

void FreeMatcher(LlgMatcher* matcher) {
  --alive;
  delete matcher;
}

const char* GetError(LlgMatcher* matcher) {
  return matcher->error.empty() ? nullptr : matcher->error.c_str();
}

std::size_t MaskBytes(const LlgMatcher* matcher) {
  return (matcher->tokenizer->tokens.size() + 31) / 32 * 4;
}

bool MayEnd(const LlgMatcher& matcher) {
  return matcher.place == matcher.text.size() || matcher.text[matcher.place] == '|';
}

std::size_t Next(const LlgMatcher& matcher) {
  return matcher.place + (matcher.place < matcher.text.size() && matcher.text[matcher.place] == '|' ? 1 : 0);
}

bool Fits(const LlgMatcher& matcher, const std::string& token) {
  if (matcher.text.compare(Next(matcher), token.size(), token) == 0) return true;
  return matcher.type == "hidden" && token == "#" && Next(matcher) < matcher.text.size();
}

std::int32_t ComputeMask(LlgMatcher* matcher, std::uint32_t* mask, std::size_t bytes) {
  if (matcher->type == "stuck" && matcher->place > 0) WaitForGate();
  std::fill(mask, mask + bytes / 4, 0);
  const std::vector<std::string>& tokens = matcher->tokenizer->tokens;
  bool any = false;
  const auto allow = [&](std::size_t id) {
    mask[id / 32] |= 1U << (id % 32);
    any = true;
  };
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    const std::string& token = tokens[id];
    if (id == matcher->tokenizer->end) {
      if (MayEnd(*matcher)) allow(id);
    } else if (!token.empty() && Fits(*matcher, token)) {
      allow(id);
    }
  }
  if (any) return 0;
  matcher->error = "NoExtensionBias";
  return -1;
}

std::int32_t Consume(LlgMatcher* matcher, std::uint32_t token) {
  matcher->places.push_back(matcher->place);
  matcher->place = Next(*matcher) + matcher->tokenizer->tokens[token].size();
  return 0;
}

std::int32_t Rollback(LlgMatcher* matcher, std::size_t tokens) {
  if (!matcher->error.empty() || tokens > matcher->places.size()) return -1;
  matcher->place = matcher->places[matcher->places.size() - tokens];
  matcher->places.resize(matcher->places.size() - tokens);
  return 0;
}

const char* Version() {
  return "pretended@1.9.0";
}

}  // namespace

PretendLibrary::PretendLibrary() {
  Open();
  compiled = 0;
}

PretendLibrary::~PretendLibrary() {
  Open();
}

std::shared_ptr<const grammar::LlguidanceFunctions> PretendLibrary::functions() const {
  auto functions = std::make_shared<grammar::LlguidanceFunctions>();
  functions->get_version = Version;
  functions->new_tokenizer = NewTokenizer;
  functions->free_tokenizer = FreeTokenizer;
  functions->new_matcher = NewMatcher;
  functions->clone_matcher = CloneMatcher;
  functions->free_matcher = FreeMatcher;
  functions->get_error = GetError;
  functions->get_mask_byte_size = MaskBytes;
  functions->compute_mask_into = ComputeMask;
  functions->consume_token = Consume;
  functions->rollback = Rollback;
  return functions;
}

void PretendLibrary::Open() {
  {
    const std::lock_guard<std::mutex> lock(gate_mutex);
    is_open = true;
  }
  gate.notify_all();
}

void PretendLibrary::Shut() {
  const std::lock_guard<std::mutex> lock(gate_mutex);
  is_open = false;
}

int PretendLibrary::Alive() {
  return alive;
}

int PretendLibrary::Compiled() {
  return compiled;
}

}  // namespace skywork_rt::testing
