#include "grammar/workshop.h"

#include <array>
#include <utility>

#include "support/format.h"

namespace skywork_rt::grammar {

std::string Matcher::error() const {
  if (matcher_ == nullptr) return "out of memory";
  const char* message = library_->get_error(matcher_);
  return message != nullptr ? message : "";
}

bool Matcher::ComputeMask(std::vector<std::uint32_t>* mask) {
  const std::size_t bytes = library_->get_mask_byte_size(matcher_);
  mask->assign(bytes / sizeof(std::uint32_t), 0);
  return library_->compute_mask_into(matcher_, mask->data(), bytes) == 0;
}

Workshop::Workshop(std::shared_ptr<const LlguidanceFunctions> library, std::shared_ptr<const Vocabulary> vocabulary,
                   std::size_t rows, const Bounds& bounds)
    : library_(std::move(library)),
      vocabulary_(std::move(vocabulary)),
      tokens_(*vocabulary_, rows),
      bounds_(bounds),
      compilers_(bounds.threads, bounds.longest_job),
      fillers_(bounds.threads, bounds.longest_job) {
  LlgTokenizerInit init;
  init.vocab_size = static_cast<std::uint32_t>(tokens_.size());
  init.tok_eos = static_cast<std::uint32_t>(tokens_.end());
  init.token_lens = tokens_.lengths().data();
  init.token_bytes = tokens_.bytes().data();
  init.use_approximate_greedy_tokenize_fn = true;  // for tokens that a grammar forces, which are not asked for
  std::array<char, 1024> message{};
  tokenizer_ = library_->new_tokenizer(&init, message.data(), message.size());
  if (tokenizer_ == nullptr) {
    throw Error(ErrorCode::kUnsupported,
                StrCat("llguidance cannot use the vocabulary of this model: ", message.data()));
  }
}

Workshop::~Workshop() {
  library_->free_tokenizer(tokenizer_);  // it counts its own users: a compilation that was given up keeps what it needs
}

std::unique_ptr<Matcher> Workshop::Compile(const std::string& type, const std::string& text) const {
  LlgConstraintInit init;
  init.tokenizer = tokenizer_;
  init.limits = bounds_.limits;
  return std::make_unique<Matcher>(library_, library_->new_matcher(&init, type.c_str(), text.c_str()));
}

Error WrongAfter(std::size_t position, const std::string& message) {
  if (message.rfind("NoExtension", 0) == 0) {
    return Error(ErrorCode::kInvalidArgument,
                 StrCat("the grammar is at a dead end after ", position,
                        " tokens: no token of this model may follow, and the output may not end there. Look for a rule "
                        "that nothing fulfils, or for a character that the model cannot write"));
  }
  return Error(ErrorCode::kInvalidArgument,
               StrCat("the grammar cannot be followed after ", position, " tokens: ", message.substr(0, 500),
                      ". Make it simpler: fewer alternatives at one place, shorter bounds"));
}

}  // namespace skywork_rt::grammar
