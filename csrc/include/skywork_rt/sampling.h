#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "skywork_rt/export.h"
#include "skywork_rt/model_spec.h"
#include "skywork_rt/range.h"

namespace skywork_rt {

/// How the next token is chosen and when a sequence ends. Names are vLLM's.
///
/// Order: logit_bias, bad_words_ids and min_tokens; repetition, presence and frequency penalties and
/// no_repeat_ngram_size; temperature; top_k; top_p; min_p; typical_p; draw.
///
/// This is the table of the parameters: the binding, the checks, the command line and the reference page come from it.
/// Its twin for editors is python/skywork_rt/api/params.py, which a test holds equal to the last word.
struct SamplingParams {
  /// Most tokens to produce, the ending eos included. None: as many as the maximum length leaves.
  std::optional<int> max_tokens = 256;
  /// No eos or stop id is produced before this many tokens, unless a grammar lets nothing else follow.
  int min_tokens = 0;
  /// Divides the logits. 0: greedy (the best logit, the lowest id among equals).
  float temperature = 1.0f;
  /// Keep the k best logits, ties with the k-th kept. 0 or -1: all.
  int top_k = 0;
  /// Keep the smallest set whose probability reaches this, in (0, 1] (Holtzman et al. 2019). 1: all.
  float top_p = 1.0f;
  /// Drop tokens less likely than min_p times the likeliest, in [0, 1]. 0: off.
  float min_p = 0.0f;
  /// Mass of locally typical sampling, in (0, 1] (Meister et al. 2022). 1: off.
  float typical_p = 1.0f;
  /// CTRL's penalty (Keskar et al. 2019) over prompt and output, once a distinct token, > 0. 1: off.
  float repetition_penalty = 1.0f;
  /// Subtracted once from the logit of every token that the output holds, in [-2, 2].
  float presence_penalty = 0.0f;
  /// Subtracted from a token's logit once for each time the output holds it, in [-2, 2].
  float frequency_penalty = 0.0f;
  /// No n-gram of this size occurs twice in prompt and output. 0: off.
  int no_repeat_ngram_size = 0;
  /// Token ids, and what is added to their logits; -inf bans a token.
  std::vector<std::pair<TokenId, float>> logit_bias;
  /// Token sequences that are not completed.
  std::vector<std::vector<TokenId>> bad_words_ids;
  /// The output ends before the first of these texts, matched on bytes.
  std::vector<std::string> stop;
  /// Beside the model's eos ids, these end the output.
  std::vector<TokenId> stop_token_ids;
  /// Keep the matched stop text at the end of the output.
  bool include_stop_str_in_output = false;
  /// The model's eos ids do not end the output.
  bool ignore_eos = false;
  /// Leave special tokens out of the text.
  bool skip_special_tokens = true;
  /// Special tokens that stay in the text though skip_special_tokens leaves the others out, such as the one that begins
  /// a tool call.
  std::vector<TokenId> shown_special_token_ids;
  /// Independent samples of one prompt; they share its prefill.
  int n = 1;
  /// Random stream of this request (Philox4x32-10, keyed by seed, sample and position), 0 <= seed < 2**64. None: drawn
  /// from the operating system and reported in the result.
  std::optional<std::uint64_t> seed;
  /// Report the log-probability of the chosen token and of this many best ones, before any of these parameters acted;
  /// for a beam, those of its path. At most the generator's max_logprobs. None: nothing is reported.
  std::optional<int> logprobs;
  /// The same for every prompt token but the first. None: nothing is reported.
  std::optional<int> prompt_logprobs;
  /// Report the log-probabilities of these tokens, too, beside the chosen one, whatever their rank. At most the
  /// generator's max_logprobs of them. Empty: none.
  std::vector<TokenId> logprob_token_ids;
  /// Width of beam search. 1: no beam search. Needs temperature 0 and n <= num_beams. Eos, stop ids and stop texts end
  /// a hypothesis; its score counts the tokens that spell the stop text (as transformers' stop_strings).
  int num_beams = 1;
  /// Beam scores are divided by length ** length_penalty (Wu et al. 2016, as in transformers).
  float length_penalty = 1.0f;
  /// Beam search ends when num_beams hypotheses are finished, without asking whether a better one may come.
  bool early_stopping = false;

  /// Whether log-probabilities of the output are reported.
  bool reports_logprobs() const { return logprobs.has_value() || !logprob_token_ids.empty(); }

  /// Calls visit(name, field, range) for every field of `params`, a SamplingParams that may be const.
  template <typename Params, typename Visitor>
  static void VisitFields(Params& params, Visitor&& visit) {
    visit("max_tokens", params.max_tokens, Range::AtLeast(1));
    visit("min_tokens", params.min_tokens, Range::AtLeast(0));
    visit("temperature", params.temperature, Range::AtLeast(0));
    visit("top_k", params.top_k, Range::AtLeast(-1).Said("at least 1, or 0 or -1 for all"));
    visit("top_p", params.top_p, Range::AboveUpTo(0, 1));
    visit("min_p", params.min_p, Range::Within(0, 1));
    visit("typical_p", params.typical_p, Range::AboveUpTo(0, 1));
    visit("repetition_penalty", params.repetition_penalty, Range::Above(0));
    visit("presence_penalty", params.presence_penalty, Range::Within(-2, 2));
    visit("frequency_penalty", params.frequency_penalty, Range::Within(-2, 2));
    visit("no_repeat_ngram_size", params.no_repeat_ngram_size, Range::AtLeast(0));
    visit("logit_bias", params.logit_bias, Range::Any().Said("token ids with finite numbers, or -inf to ban a token"));
    visit("bad_words_ids", params.bad_words_ids, Range::Any().Said("at most 16384 lists of 1 to 256 token ids"));
    visit("stop", params.stop, Range::Any().Said("at most 256 texts of one character to 4096 bytes"));
    visit("stop_token_ids", params.stop_token_ids,
          Range::Any().Said("at most as many token ids as the vocabulary has"));
    visit("include_stop_str_in_output", params.include_stop_str_in_output, Range::Any());
    visit("ignore_eos", params.ignore_eos, Range::Any());
    visit("skip_special_tokens", params.skip_special_tokens, Range::Any());
    visit("shown_special_token_ids", params.shown_special_token_ids,
          Range::Any().Said("at most as many token ids as the vocabulary has"));
    visit("n", params.n, Range::AtLeast(1));
    visit("seed", params.seed, Range::AtLeast(0).Said("from 0 to 2**64 - 1"));
    visit("logprobs", params.logprobs, Range::AtLeast(0).Said("from 0 to the generator's max_logprobs"));
    visit("prompt_logprobs", params.prompt_logprobs, Range::AtLeast(0).Said("from 0 to the generator's max_logprobs"));
    visit("logprob_token_ids", params.logprob_token_ids, Range::Any().Said("at most max_logprobs different token ids"));
    visit("num_beams", params.num_beams, Range::AtLeast(1));
    visit("length_penalty", params.length_penalty, Range::Any());
    visit("early_stopping", params.early_stopping, Range::Any());
  }
};

/// Throws Error(kInvalidArgument) that names the field, its value and the allowed range.
/// `vocab_size` bounds every token id.
SKYWORK_RT_API void Validate(const SamplingParams& params, int vocab_size);

}  // namespace skywork_rt
