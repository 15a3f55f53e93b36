#include "grammar/grammar_mask.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <utility>

#include "support/current_error.h"

namespace skywork_rt::grammar {
namespace {

bool Has(const std::vector<std::uint32_t>& bits, TokenId id) {
  const auto i = static_cast<std::size_t>(id);
  return (bits[i / 32] >> (i % 32) & 1U) != 0;
}

void Set(std::vector<std::uint32_t>* bits, TokenId id) {
  const auto i = static_cast<std::size_t>(id);
  (*bits)[i / 32] |= 1U << (i % 32);
}

void Clear(std::vector<std::uint32_t>* bits, TokenId id) {
  const auto i = static_cast<std::size_t>(id);
  (*bits)[i / 32] &= ~(1U << (i % 32));
}

bool AllZero(const std::vector<std::uint32_t>& bits) {
  return std::all_of(bits.begin(), bits.end(), [](std::uint32_t word) { return word == 0; });
}

}  // namespace

/// The matcher of one sample, which jobs on the workshop's threads move along, one job at a time. It lives as long as
/// its mask or a job of it.
class GrammarMask::Row : public Pending, public std::enable_shared_from_this<Row> {
 public:
  explicit Row(std::shared_ptr<Compilation> compilation)
      : Pending("following the grammar to its next token", compilation->workshop().get(),
                &compilation->workshop()->fillers()),
        compilation_(std::move(compilation)) {}

  /// Moves on by tokens, of which `position` come after it in all.
  void Advance(std::vector<TokenId> tokens, std::size_t position) {
    Order([self = shared_from_this(), tokens = std::move(tokens), position] {
      if (!self->unwanted_) self->Run(tokens, position);
    });
  }

  /// What may come next, and what probably comes: when it is Ready and Check has not thrown.
  const Ahead& ahead() const { return ahead_; }
  /// Whether `ahead` is there.
  bool Done() const { return !pending() && !failure().has_value(); }

  /// Its mask is gone: what has not begun need not.
  void Drop() { unwanted_ = true; }

 private:
  void Run(const std::vector<TokenId>& tokens, std::size_t position) {
    Begin();
    std::optional<Error> failed;
    try {
      failed = Move(tokens, position);
    } catch (...) {
      failed = CurrentError(ErrorCode::kInternal);
    }
    End(std::move(failed));
  }

  std::optional<Error> Move(const std::vector<TokenId>& tokens, std::size_t position) {
    const auto began = Clock::now();
    Learn(tokens);
    consumed_.insert(consumed_.end(), tokens.begin(), tokens.end());
    Ahead ahead;
    if (!Follow(&ahead.mask)) {
      const Error wrong = WrongAfter(position, matcher_->error());
      if (!looked_ahead_) return wrong;
      Restart();  // it may have used up on guesses what the library allows it
      if (!Follow(&ahead.mask)) return wrong;
    }
    compilation_->workshop()->masks.Add(Clock::now() - began);
    Look(began, &ahead);
    ahead_ = std::move(ahead);
    return std::nullopt;
  }

  // The tokens are those that were guessed, as far as they came, and what came then.
  void Learn(const std::vector<TokenId>& tokens) {
    for (std::size_t i = 0; i < tokens.size() && i <= ahead_.tokens.size(); ++i) {
      compilation_->habits().Learn(consumed_.empty() && i == 0 ? compilation_->first() : ahead_.behind(i), tokens[i]);
    }
  }

  bool Follow(RawMask* mask) {
    if (matcher_ == nullptr) matcher_ = compilation_->NewMatcher();
    for (; followed_ < consumed_.size(); ++followed_) {
      if (!matcher_->Consume(consumed_[followed_])) return false;
    }
    return matcher_->ComputeMask(mask);
  }

  void Look(Clock::time_point began, Ahead* ahead) {
    Workshop* workshop = compilation_->workshop().get();
    const AheadBounds bounds{workshop->bounds().most_ahead, began + workshop->bounds().longest_ahead};
    const bool sound = LookAhead(&compilation_->habits(), bounds, matcher_.get(), &workshop->masks, ahead);
    looked_ahead_ = looked_ahead_ || !ahead->tokens.empty();
    if (!sound) Restart();
    workshop->guessed += ahead->tokens.size();
  }

  void Restart() {
    matcher_ = nullptr;
    followed_ = 0;
    looked_ahead_ = false;
  }

  const std::shared_ptr<Compilation> compilation_;
  std::atomic<bool> unwanted_{false};
  // Between Order and End the jobs', otherwise the mask's.
  std::unique_ptr<Matcher> matcher_;  // nullptr: one that has followed nothing
  std::vector<TokenId> consumed_;
  std::size_t followed_ = 0;  // how many of them the matcher has consumed
  bool looked_ahead_ = false;
  Ahead ahead_;
};

GrammarMask::GrammarMask(std::shared_ptr<Compilation> compilation, std::shared_ptr<const MaskTerms> terms,
                         IncrementalDecoder text)
    : compilation_(std::move(compilation)), terms_(std::move(terms)), text_(std::move(text)) {}

GrammarMask::~GrammarMask() {
  if (row_ != nullptr) row_->Drop();
}

bool GrammarMask::Ready(std::function<void()> wake) {
  return row_ != nullptr ? row_->Ready(std::move(wake)) : compilation_->Ready(std::move(wake));
}

Span<const std::uint32_t> GrammarMask::Allowed() {
  if (row_ != nullptr) {
    row_->Check();
  } else {
    compilation_->Check();
  }
  const RawMask& raw = row_ != nullptr ? row_->ahead().behind(taken_) : compilation_->first();
  const TokenTable& tokens = compilation_->workshop()->tokens();
  const std::size_t rows = tokens.rows();
  bits_.assign(raw.begin(), raw.begin() + static_cast<std::ptrdiff_t>((rows + 31) / 32));
  if (rows % 32 != 0) bits_.back() &= (1U << (rows % 32)) - 1;
  if (text_.strips_next()) AllowTwins(raw);
  if (Has(raw, tokens.end())) {
    AllowEnds();
  } else {
    ForbidEnds();
  }
  return Span<const std::uint32_t>(bits_);
}

// Where the text loses a leading space, a piece that has one counts as what is left of it.
void GrammarMask::AllowTwins(const RawMask& raw) {
  for (const TokenTable::Twin& twin : compilation_->workshop()->tokens().twins()) {
    Clear(&bits_, twin.id);
    if (twin.stripped >= 0 && Has(raw, twin.stripped)) Set(&bits_, twin.id);
  }
}

void GrammarMask::AllowEnds() {
  const bool complete = AllZero(bits_);
  const std::vector<TokenId>& ends = terms_->ignores_eos && !complete ? terms_->own_ends : terms_->ends;
  for (const TokenId id : ends) Set(&bits_, id);
}

// An id that ends the output may also be a text, or a special token that the grammar names: within an output it would
// cut it short, so it comes only where nothing else can.
void GrammarMask::ForbidEnds() {
  std::vector<TokenId> cleared;
  for (const TokenId id : terms_->ends) {
    if (!Has(bits_, id)) continue;
    Clear(&bits_, id);
    cleared.push_back(id);
  }
  if (cleared.empty() || !AllZero(bits_)) return;
  for (const TokenId id : cleared) Set(&bits_, id);
}

void GrammarMask::Accept(TokenId token) {
  if (std::binary_search(terms_->ends.begin(), terms_->ends.end(), token)) return;  // nothing comes after it
  Follow(text_.strips_next() ? compilation_->workshop()->tokens().AtStart(token) : token);
  if (text_.at_start()) {
    std::string ignored;
    text_.Push(token, &ignored);
  }
}

// What was guessed is not told to the matcher before something else comes: its masks are there.
void GrammarMask::Follow(TokenId token) {
  history_.push_back(token);
  if (row_ == nullptr) {
    row_ = std::make_shared<Row>(compilation_);
  } else if (taken_ < row_->ahead().tokens.size() && row_->ahead().tokens[taken_] == token) {
    ++taken_;
    ++compilation_->workshop()->right;
    return;
  }
  Advance();
}

void GrammarMask::Advance() {
  row_->Advance({history_.begin() + static_cast<std::ptrdiff_t>(told_), history_.end()}, history_.size());
  told_ = history_.size();
  taken_ = 0;
}

Span<const TokenId> GrammarMask::Likely() {
  if (row_ == nullptr || text_.strips_next() || !row_->Done()) return {};
  const std::vector<TokenId>& tokens = row_->ahead().tokens;
  return {tokens.data() + taken_, tokens.size() - taken_};
}

std::unique_ptr<LogitsMask> GrammarMask::Fork() const {
  auto fork = std::make_unique<GrammarMask>(compilation_, terms_, text_);
  if (history_.empty()) return fork;
  fork->history_ = history_;
  fork->row_ = std::make_shared<Row>(compilation_);
  fork->Advance();
  return fork;
}

}  // namespace skywork_rt::grammar
