#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "skywork_rt/export.h"
#include "skywork_rt/model_spec.h"
#include "skywork_rt/span.h"

namespace skywork_rt {

/// Says which tokens may come next in one sample: a grammar, a schema, a list of choices. The engine calls it on its
/// own thread, in this order, once a token: Ready until it says yes, Allowed, Accept.
///
/// Work that takes long belongs on a thread of the mask's own. A sample whose mask is not ready sits a step out; the
/// others run on. Members may throw Error, which ends the request.
class SKYWORK_RT_API LogitsMask {
 public:
  virtual ~LogitsMask() = default;

  /// Whether Allowed may be called. If not, the mask keeps `wake` and calls it, once and from any thread, when it may.
  /// Must not wait.
  virtual bool Ready(std::function<void()> wake) = 0;
  /// One bit a token, the lowest first: bit id % 32 of word id / 32 says whether `id` may come next. At least
  /// vocab_size bits, valid until Accept. To end the output, allow nothing but ids that end it.
  virtual Span<const std::uint32_t> Allowed() = 0;
  /// `token` was chosen.
  virtual void Accept(TokenId token) = 0;
  /// Tokens that will probably come after those that were accepted, one behind the other. Where the backend allows it,
  /// the engine computes with them ahead, so that one step may yield several tokens; what comes is chosen as ever, so
  /// this changes how fast an output comes and never what it is. Worth it where Ready says yes at once as long as they
  /// are what is accepted. Valid until Accept.
  virtual Span<const TokenId> Likely() { return {}; }
  /// Another one in the same state, for another sample of the request.
  virtual std::unique_ptr<LogitsMask> Fork() const = 0;
};

}  // namespace skywork_rt
