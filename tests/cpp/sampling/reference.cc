#include "sampling/reference.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <map>
#include <numeric>
#include <set>

namespace skywork_rt::testing {
namespace {

constexpr double kOut = -std::numeric_limits<double>::infinity();
constexpr double kClose = 1e-6;

using Row = std::vector<double>;

std::size_t Index(TokenId token) {
  return static_cast<std::size_t>(token);
}

Row Softmax(const Row& scores) {
  const double max = *std::max_element(scores.begin(), scores.end());
  Row result;
  double sum = 0.0;
  for (const double score : scores) {
    result.push_back(std::exp(score - max));
    sum += result.back();
  }
  for (double& p : result) p /= sum;
  return result;
}

void Edit(Row* row, const SamplingParams& params, const std::vector<TokenId>& eos_ids,
          const std::vector<TokenId>& prompt, const std::vector<TokenId>& output) {
  std::vector<TokenId> history = prompt;
  history.insert(history.end(), output.begin(), output.end());
  for (const auto& [token, bias] : params.logit_bias) (*row)[Index(token)] += static_cast<double>(bias);
  for (const auto& word : params.bad_words_ids) {
    std::vector<TokenId> completed = history;
    completed.push_back(word.back());
    if (completed.size() >= word.size() && std::equal(word.rbegin(), word.rend(), completed.rbegin())) {
      (*row)[Index(word.back())] = kOut;
    }
  }
  if (output.size() < static_cast<std::size_t>(params.min_tokens)) {
    if (!params.ignore_eos) {
      for (const TokenId token : eos_ids) (*row)[Index(token)] = kOut;
    }
    for (const TokenId token : params.stop_token_ids) (*row)[Index(token)] = kOut;
  }
  for (const TokenId token : std::set<TokenId>(history.begin(), history.end())) {
    double& x = (*row)[Index(token)];
    x = x < 0 ? x * static_cast<double>(params.repetition_penalty) : x / static_cast<double>(params.repetition_penalty);
  }
  std::map<TokenId, int> counts;
  for (const TokenId token : output) ++counts[token];
  for (const auto& [token, count] : counts) {
    (*row)[Index(token)] -= static_cast<double>(params.presence_penalty);
    (*row)[Index(token)] -= static_cast<double>(params.frequency_penalty) * count;
  }
  if (params.no_repeat_ngram_size > 0) {
    const auto n = static_cast<std::ptrdiff_t>(params.no_repeat_ngram_size);
    for (std::size_t token = 0; token < row->size(); ++token) {
      std::vector<TokenId> completed = history;
      completed.push_back(static_cast<TokenId>(token));
      if (completed.size() < static_cast<std::size_t>(n)) continue;
      if (std::search(history.begin(), history.end(), completed.end() - n, completed.end()) != history.end()) {
        (*row)[token] = kOut;
      }
    }
  }
}

std::vector<std::size_t> Descending(const Row& scores) {
  std::vector<std::size_t> order(scores.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return scores[a] > scores[b]; });
  return order;
}

void TopK(Row* scores, int k) {
  if (k <= 0 || static_cast<std::size_t>(k) >= scores->size()) return;
  Row sorted = *scores;
  std::sort(sorted.rbegin(), sorted.rend());
  const double least = sorted[static_cast<std::size_t>(k) - 1];
  for (double& score : *scores) score = score < least ? kOut : score;
}

void TopP(Row* scores, double p, bool* close_call) {
  if (p >= 1.0) return;
  const Row probabilities = Softmax(*scores);
  double before = 0.0;
  for (const std::size_t i : Descending(*scores)) {
    *close_call |= std::abs(before - p) < kClose;
    if (before >= p) (*scores)[i] = kOut;
    before += probabilities[i];
  }
}

void MinP(Row* scores, double p, bool* close_call) {
  const Row probabilities = Softmax(*scores);
  const double least = p * *std::max_element(probabilities.begin(), probabilities.end());
  for (std::size_t i = 0; i < scores->size(); ++i) {
    *close_call |= probabilities[i] != least && std::abs(probabilities[i] - least) < kClose * least;
    if (probabilities[i] < least) (*scores)[i] = kOut;
  }
}

void Typical(Row* scores, double p, bool* close_call) {
  if (p >= 1.0) return;
  const Row probabilities = Softmax(*scores);
  double entropy = 0.0;
  for (const double q : probabilities) entropy -= q > 0.0 ? q * std::log(q) : 0.0;
  Row nearness;  // the larger the nearer
  for (const double q : probabilities) nearness.push_back(q > 0.0 ? -std::abs(-std::log(q) - entropy) : kOut);
  const std::vector<std::size_t> order = Descending(nearness);
  const auto is_tie = [&](std::size_t a, std::size_t b) { return std::abs(nearness[a] - nearness[b]) < 1e-12; };
  double before = 0.0;
  std::size_t kept = 0;
  while (kept < order.size() && (before < p || is_tie(order[kept], order[kept - 1]))) {
    *close_call |= std::abs(before - p) < kClose;
    before += probabilities[order[kept++]];
  }
  *close_call |= std::abs(before - p) < kClose;
  if (kept < order.size()) {
    *close_call |= std::abs(nearness[order[kept]] - nearness[order[kept - 1]]) < kClose;
  }
  for (std::size_t i = kept; i < order.size(); ++i) (*scores)[order[i]] = kOut;
}

}  // namespace

Reference ReferenceDistribution(const std::vector<float>& logits, const SamplingParams& params,
                                const std::vector<TokenId>& eos_ids, const std::vector<TokenId>& prompt,
                                const std::vector<TokenId>& output) {
  Row scores(logits.begin(), logits.end());
  Edit(&scores, params, eos_ids, prompt, output);
  Reference reference;
  if (params.temperature == 0.0f) {
    reference.probabilities.assign(scores.size(), 0.0);
    reference.probabilities[Descending(scores)[0]] = 1.0;
    return reference;
  }
  for (double& score : scores) score /= static_cast<double>(params.temperature);
  TopK(&scores, params.top_k);
  TopP(&scores, static_cast<double>(params.top_p), &reference.close_call);
  MinP(&scores, static_cast<double>(params.min_p), &reference.close_call);
  Typical(&scores, static_cast<double>(params.typical_p), &reference.close_call);
  reference.probabilities = Softmax(scores);
  return reference;
}

double ChiSquareTail(double value, int freedom) {
  const double k = freedom;
  const double z = (std::cbrt(value / k) - (1.0 - 2.0 / (9.0 * k))) / std::sqrt(2.0 / (9.0 * k));
  return 0.5 * std::erfc(z / std::sqrt(2.0));
}

}  // namespace skywork_rt::testing
