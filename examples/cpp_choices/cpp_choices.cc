// Lets a model choose one of several answers, through a LogitsMask of one's own:
//
//     cpp_choices BUNDLE PROMPT CHOICE...
//
// PROMPT and each CHOICE are token ids with commas between them, such as 5,6,7. A library that follows grammars is put
// behind the same four members; where it is slow, Ready says no and a thread of its own calls `wake` (see
// docs/structured-outputs.md).
#include <skywork_rt/generator.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace {

using Ids = std::vector<skywork_rt::TokenId>;

/// Allows what one of the choices goes on with, and the end where one of them is whole.
class Choices final : public skywork_rt::LogitsMask {
 public:
  Choices(std::shared_ptr<const std::vector<Ids>> choices, const skywork_rt::ModelSpec& model)
      : choices_(std::move(choices)),
        eos_ids_(model.eos_ids),
        bits_((static_cast<std::size_t>(model.vocab_size) + 31) / 32) {}

  bool Ready(std::function<void()> /*wake*/) override { return true; }  // it is quick: nothing is waited for

  skywork_rt::Span<const std::uint32_t> Allowed() override {
    bits_.assign(bits_.size(), 0);
    for (const Ids& choice : *choices_) {
      if (choice.size() < chosen_.size() || !std::equal(chosen_.begin(), chosen_.end(), choice.begin())) continue;
      if (choice.size() > chosen_.size()) {
        Allow(choice[chosen_.size()]);
      } else {
        for (const skywork_rt::TokenId id : eos_ids_) Allow(id);
      }
    }
    return {bits_.data(), bits_.size()};
  }

  void Accept(skywork_rt::TokenId token) override { chosen_.push_back(token); }

  std::unique_ptr<skywork_rt::LogitsMask> Fork() const override { return std::make_unique<Choices>(*this); }

 private:
  void Allow(skywork_rt::TokenId id) {
    bits_[static_cast<std::size_t>(id) / 32] |= std::uint32_t{1} << (static_cast<std::size_t>(id) % 32);
  }

  std::shared_ptr<const std::vector<Ids>> choices_;
  std::vector<skywork_rt::TokenId> eos_ids_;
  Ids chosen_;
  std::vector<std::uint32_t> bits_;
};

Ids ReadIds(const std::string& text) {
  Ids ids;
  std::istringstream words(text);
  for (std::string word; std::getline(words, word, ',');) ids.push_back(std::stoi(word));
  return ids;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    std::cerr << "usage: cpp_choices BUNDLE PROMPT CHOICE...\n";
    return 2;
  }
  try {
    skywork_rt::Generator generator(argv[1]);
    std::vector<Ids> choices;
    for (int i = 3; i < argc; ++i) choices.push_back(ReadIds(argv[i]));
    skywork_rt::Request request;
    request.prompt = ReadIds(argv[2]);
    request.sampling.temperature = 0.0f;
    request.clip_max_tokens = true;  // it ends by itself
    request.mask = std::make_shared<Choices>(std::make_shared<const std::vector<Ids>>(choices), generator.model());
    const skywork_rt::Result result = generator.Submit(request).Get();
    for (const skywork_rt::TokenId id : result.samples[0].token_ids) std::cout << id << ' ';
    std::cout << '\n';
    return 0;
  } catch (const skywork_rt::Error& error) {
    std::cerr << skywork_rt::ErrorCodeName(error.code()) << ": " << error.what() << '\n';
    return 1;
  }
}
