#pragma once

#include <cstddef>
#include <vector>

#include "skywork_rt/model_spec.h"
#include "skywork_rt/span.h"

namespace skywork_rt {

/// Guesses how a sequence goes on, so that one Forward may yield several tokens (speculative decoding, Leviathan et al.
/// 2023, arXiv:2211.17192). A guess is kept when it is the token that the sampler chooses at its place, so guesses
/// change how fast an output comes and never what it is.
class Proposer {
 public:
  virtual ~Proposer() = default;

  /// Appends at most `most` tokens to `proposed` that may follow `tokens`, a prompt and its output so far. Called on
  /// the engine's thread, before each step, for every sequence that decodes.
  virtual void Propose(Span<const TokenId> tokens, std::size_t most, std::vector<TokenId>* proposed) = 0;
};

}  // namespace skywork_rt
