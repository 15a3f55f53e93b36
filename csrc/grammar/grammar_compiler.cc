#include "grammar/grammar_compiler.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>

#include "grammar/compilation.h"
#include "grammar/grammar_mask.h"
#include "support/format.h"

namespace skywork_rt::grammar {
namespace {

void SortOut(std::vector<TokenId>* ids) {
  std::sort(ids->begin(), ids->end());
  ids->erase(std::unique(ids->begin(), ids->end()), ids->end());
}

}  // namespace

GrammarCompiler::GrammarCompiler(std::shared_ptr<const LlguidanceFunctions> library,
                                 std::shared_ptr<const Vocabulary> vocabulary, const ModelSpec& model,
                                 const Bounds& bounds)
    : eos_ids_(model.eos_ids),
      workshop_(std::make_shared<Workshop>(std::move(library), std::move(vocabulary),
                                           static_cast<std::size_t>(model.vocab_size), bounds)) {}

GrammarCompiler::~GrammarCompiler() = default;

std::shared_ptr<const LogitsMask> GrammarCompiler::Mask(const std::string& type, const std::string& text,
                                                        SamplingParams* params, Span<const TokenId> prompt) {
  auto terms = std::make_shared<MaskTerms>();
  const auto in_vocabulary = [&](TokenId id) {
    return id >= 0 && static_cast<std::size_t>(id) < workshop_->tokens().rows();
  };
  std::copy_if(params->stop_token_ids.begin(), params->stop_token_ids.end(), std::back_inserter(terms->own_ends),
               in_vocabulary);  // the others are refused when the request is submitted
  terms->ends = terms->own_ends;
  terms->ends.insert(terms->ends.end(), eos_ids_.begin(), eos_ids_.end());
  SortOut(&terms->own_ends);
  SortOut(&terms->ends);
  terms->ignores_eos = params->ignore_eos;
  if (terms->ends.empty()) {
    throw Error(ErrorCode::kInvalidArgument,
                "the model has no eos id, so nothing could end an output when its grammar is complete: give "
                "stop_token_ids");
  }
  auto compilation = Compiled(type, text, true);
  if (compilation->failure().has_value()) compilation->Check();
  params->ignore_eos = false;
  IncrementalDecoder decoder(workshop_->vocabulary(), params->skip_special_tokens,
                             Span<const TokenId>(params->shown_special_token_ids));
  decoder.Continue(prompt);
  return std::make_shared<GrammarMask>(std::move(compilation), std::move(terms), std::move(decoder));
}

bool GrammarCompiler::IsCompiled(const std::string& type, const std::string& text) {
  const auto compilation = Compiled(type, text, false);
  if (!compilation->Ready(nullptr)) return false;
  compilation->Check();
  return true;
}

// Under the lock nothing is compiled: that is posted.
std::shared_ptr<Compilation> GrammarCompiler::Compiled(const std::string& type, const std::string& text,
                                                       bool for_request) {
  const std::string key = StrCat(type, '\0', text);
  Kept leave;  // freed outside the lock
  const std::lock_guard<std::mutex> lock(mutex_);
  if (auto known = Known(key, &leave)) {
    if (for_request) ++workshop_->reused;
    return known;
  }
  const std::size_t pending = Tidy(&leave);
  if (!for_request && pending >= workshop_->bounds().most_pending) {
    throw Error(ErrorCode::kBusy, StrCat(pending, " grammars wait to be compiled: try again later"));
  }
  auto compilation = std::make_shared<Compilation>(workshop_, type, text);
  compilation->Start();
  kept_.emplace_front(key, compilation);
  by_text_[key] = kept_.begin();
  return compilation;
}

// nullptr: it is not known, or it failed for what need not fail again. The lock is held.
std::shared_ptr<Compilation> GrammarCompiler::Known(const std::string& key, Kept* leave) {
  const auto found = by_text_.find(key);
  if (found == by_text_.end()) return nullptr;
  const std::optional<ErrorCode> failure = found->second->second->failure();
  if (!failure.has_value() || *failure == ErrorCode::kInvalidArgument) {  // wrong today, wrong tomorrow
    kept_.splice(kept_.begin(), kept_, found->second);
    return kept_.front().second;
  }
  leave->splice(leave->end(), kept_, found->second);
  by_text_.erase(found);
  return nullptr;
}

// Makes room for one more, and returns how many are on their way. Those do not count and do not leave: somebody waits
// for them, and would only ask for them again. The lock is held.
std::size_t GrammarCompiler::Tidy(Kept* leave) {
  std::size_t pending = 0;
  std::size_t done = 0;
  std::size_t text = 0;
  for (auto each = kept_.begin(); each != kept_.end();) {
    const auto next = std::next(each);
    if (each->second->pending()) {
      ++pending;
    } else if (++done >= workshop_->bounds().kept || (text += each->first.size()) > workshop_->bounds().kept_text) {
      by_text_.erase(each->first);
      leave->splice(leave->end(), kept_, each);
    }
    each = next;
  }
  return pending;
}

GrammarStats GrammarCompiler::stats() const {
  GrammarStats stats;
  stats.compiled = workshop_->compiling.count();
  stats.failed = workshop_->failed;
  stats.reused = workshop_->reused;
  stats.compile_seconds = workshop_->compiling.seconds();
  stats.masks = workshop_->masks.count();
  stats.mask_seconds = workshop_->masks.seconds();
  stats.mask_p50 = workshop_->masks.Quantile(0.5);
  stats.mask_p99 = workshop_->masks.Quantile(0.99);
  stats.waits = workshop_->waits;
  stats.guessed = workshop_->guessed;
  stats.right = workshop_->right;
  return stats;
}

}  // namespace skywork_rt::grammar
