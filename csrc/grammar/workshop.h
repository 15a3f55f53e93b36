#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "grammar/llguidance.h"
#include "grammar/token_table.h"
#include "grammar/work_pool.h"
#include "grammar/work_times.h"
#include "skywork_rt/error.h"
#include "text/vocabulary.h"

namespace skywork_rt::grammar {

/// What bounds a grammar's work. Tests make them small.
struct Bounds {
  /// For compiling, and as many for masks: what is followed already never waits for what is compiled.
  std::size_t threads = 2;
  /// Longest compilation, and longest mask of one token. What takes longer is given up.
  std::chrono::steady_clock::duration longest_job = std::chrono::seconds(10);
  /// Compiled grammars that are kept for requests with the same text.
  std::size_t kept = 64;
  /// Bytes of text of those, at most: a compiled grammar takes a hundred times its text, and more.
  std::size_t kept_text = std::size_t{4} << 20;
  /// Grammars that may wait when one more is to be compiled ahead, as a server does it for each; more are refused. A
  /// list of requests in a program is as long as it is.
  std::size_t most_pending = 256;
  /// Tokens that are guessed behind one place (LogitsMask::Likely), and how long a mask may take with their masks.
  std::size_t most_ahead = 4;
  std::chrono::steady_clock::duration longest_ahead = std::chrono::microseconds(500);
  LlgParserLimits limits;
};

/// A matcher of the library's, which follows one sample. Its own memory, and the workshop's thread alone uses it.
class Matcher {
 public:
  /// `matcher` is owned. nullptr: none.
  Matcher(std::shared_ptr<const LlguidanceFunctions> library, LlgMatcher* matcher)
      : library_(std::move(library)), matcher_(matcher) {}
  ~Matcher() {
    if (matcher_ != nullptr) library_->free_matcher(matcher_);
  }
  Matcher(const Matcher&) = delete;
  Matcher& operator=(const Matcher&) = delete;

  std::unique_ptr<Matcher> Clone() const {
    return std::make_unique<Matcher>(library_, library_->clone_matcher(matcher_));
  }
  /// What the library says is wrong; empty when nothing is.
  std::string error() const;
  /// false: wrong.
  bool Consume(TokenId token) { return library_->consume_token(matcher_, static_cast<std::uint32_t>(token)) == 0; }
  /// As if the last `tokens` had not been consumed. false: wrong.
  bool Rollback(std::size_t tokens) { return library_->rollback(matcher_, tokens) == 0; }
  /// One bit an id of the token table. false: wrong.
  bool ComputeMask(std::vector<std::uint32_t>* mask);

 private:
  std::shared_ptr<const LlguidanceFunctions> library_;
  LlgMatcher* matcher_;
};

/// What all grammars of one model share: the library, the model's tokens as it knows them, threads, counters.
class Workshop {
 public:
  Workshop(std::shared_ptr<const LlguidanceFunctions> library, std::shared_ptr<const Vocabulary> vocabulary,
           std::size_t rows, const Bounds& bounds);
  ~Workshop();
  Workshop(const Workshop&) = delete;
  Workshop& operator=(const Workshop&) = delete;

  /// Compiles a grammar: slow, and without bounds on its time. Never nullptr; its error() says what is wrong with it.
  std::unique_ptr<Matcher> Compile(const std::string& type, const std::string& text) const;

  const Vocabulary& vocabulary() const { return *vocabulary_; }
  const TokenTable& tokens() const { return tokens_; }
  const Bounds& bounds() const { return bounds_; }
  WorkPool& compilers() { return compilers_; }
  WorkPool& fillers() { return fillers_; }

  WorkTimes compiling;
  WorkTimes masks;
  std::atomic<std::uint64_t> failed{0};   // grammars that do not compile
  std::atomic<std::uint64_t> reused{0};   // requests whose grammar was compiled before
  std::atomic<std::uint64_t> waits{0};    // masks that were not there when their row needed them
  std::atomic<std::uint64_t> guessed{0};  // tokens whose masks were made ahead
  std::atomic<std::uint64_t> right{0};    // those of them that came

 private:
  const std::shared_ptr<const LlguidanceFunctions> library_;
  const std::shared_ptr<const Vocabulary> vocabulary_;
  const TokenTable tokens_;
  const Bounds bounds_;
  LlgTokenizer* tokenizer_ = nullptr;
  WorkPool compilers_;
  WorkPool fillers_;  // of masks
};

/// The library's own words about a dead end are a code; everything else is told as it is.
Error WrongAfter(std::size_t position, const std::string& message);

}  // namespace skywork_rt::grammar
