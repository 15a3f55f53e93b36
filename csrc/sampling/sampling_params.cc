#include <limits>
#include <string>
#include <string_view>

#include "skywork_rt/error.h"
#include "skywork_rt/sampling.h"
#include "support/field_check.h"
#include "support/format.h"
#include "support/utf8.h"

namespace skywork_rt {
namespace {

template <typename T>
[[noreturn]] void Refuse(std::string_view field, const T& value, const std::string& allowed) {
  throw Error(ErrorCode::kInvalidArgument, StrCat(field, " is ", value, ", but must be ", allowed));
}

// NaN satisfies no comparison, so every condition says what is allowed, not what is wrong.
template <typename T>
void Allow(bool allowed, std::string_view field, const T& value, std::string_view range) {
  if (!allowed) Refuse(field, value, std::string(range));
}

void CheckToken(const std::string& field, TokenId token, int vocab_size) {
  if (token < 0 || token >= vocab_size) Refuse(field, token, StrCat("a token id from 0 to ", vocab_size - 1));
}

std::string Indexed(std::string_view field, std::size_t i) {
  return StrCat(field, "[", i, "]");
}

// Bounds of lists. What a list costs is paid at every token, or is a table the size of the list; these are far above
// what anybody has asked for, and a request at all of them takes a few megabytes.
constexpr std::size_t kMostStopTexts = 256;
constexpr std::size_t kMostStopBytes = 4096;  // of one text
constexpr std::size_t kMostBadWords = 16384;
constexpr std::size_t kMostBadWordTokens = 256;  // of one sequence

void CheckCount(const std::string& field, std::size_t count, std::size_t most, std::string_view unit) {
  if (count <= most) return;
  throw Error(ErrorCode::kInvalidArgument, StrCat(field, " has ", count, " ", unit, ", but must have at most ", most));
}

void CheckListLengths(const SamplingParams& p, int vocab_size) {
  const auto vocabulary = static_cast<std::size_t>(vocab_size);
  CheckCount("logit_bias", p.logit_bias.size(), vocabulary, "entries");
  CheckCount("stop_token_ids", p.stop_token_ids.size(), vocabulary, "ids");
  CheckCount("logprob_token_ids", p.logprob_token_ids.size(), vocabulary, "ids");
  CheckCount("shown_special_token_ids", p.shown_special_token_ids.size(), vocabulary, "ids");
  CheckCount("bad_words_ids", p.bad_words_ids.size(), kMostBadWords, "sequences");
  for (std::size_t i = 0; i < p.bad_words_ids.size(); ++i) {
    CheckCount(Indexed("bad_words_ids", i), p.bad_words_ids[i].size(), kMostBadWordTokens, "ids");
  }
  CheckCount("stop", p.stop.size(), kMostStopTexts, "texts");
  for (std::size_t i = 0; i < p.stop.size(); ++i) {
    CheckCount(Indexed("stop", i), p.stop[i].size(), kMostStopBytes, "bytes");
  }
}

void CheckTokens(const SamplingParams& p, int vocab_size) {
  for (std::size_t i = 0; i < p.logit_bias.size(); ++i) {
    const auto& [token, bias] = p.logit_bias[i];
    CheckToken(Indexed("logit_bias", i), token, vocab_size);
    Allow(bias < std::numeric_limits<float>::infinity(), StrCat("logit_bias of token ", token), bias,
          "a finite number, or -inf to ban the token");
  }
  for (std::size_t i = 0; i < p.bad_words_ids.size(); ++i) {
    Allow(!p.bad_words_ids[i].empty(), Indexed("bad_words_ids", i), "empty", "a list of at least one token id");
    for (const TokenId token : p.bad_words_ids[i]) CheckToken(Indexed("bad_words_ids", i), token, vocab_size);
  }
  for (std::size_t i = 0; i < p.stop_token_ids.size(); ++i) {
    CheckToken(Indexed("stop_token_ids", i), p.stop_token_ids[i], vocab_size);
  }
  for (std::size_t i = 0; i < p.logprob_token_ids.size(); ++i) {
    CheckToken(Indexed("logprob_token_ids", i), p.logprob_token_ids[i], vocab_size);
  }
  for (std::size_t i = 0; i < p.shown_special_token_ids.size(); ++i) {
    CheckToken(Indexed("shown_special_token_ids", i), p.shown_special_token_ids[i], vocab_size);
  }
}

void CheckStopTexts(const SamplingParams& p) {
  for (std::size_t i = 0; i < p.stop.size(); ++i) {
    Allow(!p.stop[i].empty(), Indexed("stop", i), "empty", "a text of at least one character");
    Allow(IsValidUtf8(p.stop[i]), Indexed("stop", i), "not valid UTF-8", "a text in UTF-8");
  }
}

// What one field says about another.

void CheckLengths(const SamplingParams& p) {
  if (p.max_tokens && p.min_tokens > *p.max_tokens) {
    Refuse("min_tokens", p.min_tokens, StrCat("at most max_tokens, which is ", *p.max_tokens));
  }
}

void CheckLogprobs(const SamplingParams& p, int vocab_size) {
  const auto check = [&](std::string_view field, const std::optional<int>& value) {
    if (value && *value > vocab_size) Refuse(field, *value, StrCat("from 0 to ", vocab_size));
  };
  check("logprobs", p.logprobs);
  check("prompt_logprobs", p.prompt_logprobs);
}

void CheckBeams(const SamplingParams& p, int vocab_size) {
  if (p.num_beams == 1) return;
  if (p.num_beams > vocab_size / 2) Refuse("num_beams", p.num_beams, StrCat("at most ", vocab_size / 2));
  Allow(p.temperature == 0.0f, "temperature", p.temperature, "0 with num_beams above 1");
  if (p.n > p.num_beams) Refuse("n", p.n, StrCat("at most num_beams, which is ", p.num_beams));
}

}  // namespace

void Validate(const SamplingParams& params, int vocab_size) {
  CheckFields(params);
  CheckLengths(params);
  CheckListLengths(params, vocab_size);
  CheckTokens(params, vocab_size);
  CheckStopTexts(params);
  CheckLogprobs(params, vocab_size);
  CheckBeams(params, vocab_size);
}

}  // namespace skywork_rt
