#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "grammar/workshop.h"
#include "skywork_rt/export.h"
#include "skywork_rt/logits_mask.h"
#include "skywork_rt/model_spec.h"
#include "skywork_rt/sampling.h"
#include "skywork_rt/span.h"

namespace skywork_rt::grammar {

class Compilation;

/// Counters since the compiler was made.
struct GrammarStats {
  std::uint64_t compiled = 0;  // those that failed included
  std::uint64_t failed = 0;
  std::uint64_t reused = 0;  // requests whose grammar was compiled before, or was being compiled
  double compile_seconds = 0.0;
  std::uint64_t masks = 0;
  double mask_seconds = 0.0;
  double mask_p50 = 0.0;  // seconds, to a quarter
  double mask_p99 = 0.0;
  std::uint64_t waits = 0;    // masks that were not there when their row needed them, so that it sat steps out
  std::uint64_t guessed = 0;  // tokens whose masks were made ahead, since they would probably come
  std::uint64_t right = 0;    // those of them that came
};

/// Makes masks of grammars, for requests to one model. Any thread may call it. Masks keep what they need of it alive.
class SKYWORK_RT_API GrammarCompiler {
 public:
  /// Throws kUnsupported when the library cannot use the vocabulary.
  GrammarCompiler(std::shared_ptr<const LlguidanceFunctions> library, std::shared_ptr<const Vocabulary> vocabulary,
                  const ModelSpec& model, const Bounds& bounds = {});
  ~GrammarCompiler();

  /// The mask for one request; returns at once, and the grammar is compiled meanwhile. `type` and `text` as
  /// llg_new_matcher takes them. What is wrong with the grammar is thrown by the mask, before a token is chosen, or
  /// here if it is known already. `params` may be changed: ignore_eos is kept by the mask, so that the end of a
  /// complete output is one for the engine too. `prompt` is what the output's text goes on with; empty: the output is a
  /// text of its own. Throws kInvalidArgument when nothing could end an output, kBusy, kCapacity.
  std::shared_ptr<const LogitsMask> Mask(const std::string& type, const std::string& text, SamplingParams* params,
                                         Span<const TokenId> prompt);

  /// Begins to compile a grammar; whether that is done. Throws what is wrong with it, and kBusy when too many wait.
  bool IsCompiled(const std::string& type, const std::string& text);

  GrammarStats stats() const;

 private:
  using Kept = std::list<std::pair<std::string, std::shared_ptr<Compilation>>>;

  std::shared_ptr<Compilation> Compiled(const std::string& type, const std::string& text, bool for_request);
  std::shared_ptr<Compilation> Known(const std::string& key, Kept* leave);
  std::size_t Tidy(Kept* leave);

  const std::vector<TokenId> eos_ids_;
  const std::shared_ptr<Workshop> workshop_;
  std::mutex mutex_;
  /// The one used last first.
  Kept kept_;
  std::unordered_map<std::string, Kept::iterator> by_text_;
};

}  // namespace skywork_rt::grammar
