#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "grammar/compilation.h"
#include "skywork_rt/logits_mask.h"
#include "text/incremental_decoder.h"

namespace skywork_rt::grammar {

/// What of a request its grammar must know.
struct MaskTerms {
  /// The ids that end an output which may end: the model's eos ids and the request's stop ids, ascending, each once.
  std::vector<TokenId> ends;
  /// Those of them that the request gave itself: with `ignores_eos` they alone end an output that may go on.
  std::vector<TokenId> own_ends;
  /// The output goes on as long as the grammar lets it.
  bool ignores_eos = false;
};

/// Follows a grammar along one sample. What takes long is done on the workshop's threads: after Accept the next mask is
/// computed there, while the engine computes its step.
class GrammarMask final : public LogitsMask {
 public:
  /// `text` is in the state in which the output begins: whether its first piece loses a leading space.
  GrammarMask(std::shared_ptr<Compilation> compilation, std::shared_ptr<const MaskTerms> terms,
              IncrementalDecoder text);
  ~GrammarMask() override;

  bool Ready(std::function<void()> wake) override;
  Span<const std::uint32_t> Allowed() override;
  void Accept(TokenId token) override;
  Span<const TokenId> Likely() override;
  std::unique_ptr<LogitsMask> Fork() const override;

 private:
  class Row;

  void Follow(TokenId token);
  void Advance();
  void AllowEnds();
  void ForbidEnds();
  void AllowTwins(const RawMask& raw);

  const std::shared_ptr<Compilation> compilation_;
  const std::shared_ptr<const MaskTerms> terms_;
  IncrementalDecoder text_;
  std::shared_ptr<Row> row_;         // nullptr: nothing was accepted yet
  std::vector<TokenId> history_;     // as the grammar is given them
  std::size_t told_ = 0;             // how many of them the row was told
  std::size_t taken_ = 0;            // how many of its guesses came since then
  std::vector<std::uint32_t> bits_;  // what Allowed gave
};

}  // namespace skywork_rt::grammar
