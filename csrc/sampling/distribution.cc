#include "sampling/distribution.h"

#include <algorithm>
#include <limits>

#include "sampling/row_kernels.h"

namespace skywork_rt {
namespace {

constexpr double kFar = std::numeric_limits<double>::infinity();

}  // namespace

bool Distribution::Reset(Span<const float> logits, float temperature) {
  logits_ = logits;
  // The reciprocal of a subnormal number is infinite, and infinity times the maximum's distance 0 would be NaN.
  inverse_temperature_ = std::min(1.0f / temperature, std::numeric_limits<float>::max());
  candidates_.Reset(logits);
  scores_.clear();
  weights_.clear();
  begin_ = 0;
  end_ = logits.size();
  whole_ = true;
  mass_ = -1.0;
  return candidates_.max() > -std::numeric_limits<float>::infinity();
}

bool Distribution::Has(std::size_t i, double missing) {
  if (i >= end_) return false;
  while (i >= candidates_.sorted().size()) {
    std::size_t at_least = 0;
    if (missing > 0.0 && !weights_.empty() && weights_.back() > 0.0f) {
      // No later token weighs more than the last one.
      const double more = missing / static_cast<double>(weights_.back());
      at_least = weights_.size() + static_cast<std::size_t>(std::min(more, static_cast<double>(logits_.size())));
    }
    if (!candidates_.Grow(at_least)) return false;
  }
  if (scores_.size() < candidates_.sorted().size()) Extend();
  return true;
}

void Distribution::Extend() {
  const std::vector<Candidate>& sorted = candidates_.sorted();
  const std::size_t known = scores_.size();
  scores_.resize(sorted.size());
  weights_.resize(sorted.size());
  const float max = candidates_.max();
  for (std::size_t j = known; j < sorted.size(); ++j) scores_[j] = (sorted[j].logit - max) * inverse_temperature_;
  Rows().weights(scores_.data() + known, sorted.size() - known, weights_.data() + known);
}

double Distribution::Mass() {
  if (mass_ < 0.0) mass_ = Rows().mass(logits_.data(), logits_.size(), candidates_.max(), inverse_temperature_);
  return mass_;
}

void Distribution::Cut(std::size_t begin, std::size_t end, double mass) {
  begin_ = begin;
  end_ = end;
  mass_ = mass;
  whole_ = false;
}

void Distribution::KeepTopK(std::size_t k) {
  if (k == 0 || k >= end_ - begin_) return;
  candidates_.Require(begin_ + k);
  if (!Has(begin_ + k - 1)) return;
  double mass = 0.0;
  std::size_t i = begin_;
  const float last = candidates_.sorted()[begin_ + k - 1].logit;
  while (Has(i) && candidates_.sorted()[i].logit >= last) mass += static_cast<double>(weights_[i++]);
  Cut(begin_, i, mass);
}

void Distribution::KeepTopP(double p) {
  if (p >= 1.0) return;
  const double wanted = p * Mass();
  double mass = 0.0;
  std::size_t i = begin_;
  while (mass < wanted && Has(i, wanted - mass)) mass += static_cast<double>(weights_[i++]);
  if (mass >= wanted) Cut(begin_, i, mass);
}

void Distribution::KeepMinP(double p) {
  if (p <= 0.0 || !Has(begin_)) return;
  const double least = p * static_cast<double>(weights_[begin_]);
  double mass = 0.0;
  std::size_t i = begin_;
  while (Has(i) && static_cast<double>(weights_[i]) >= least) mass += static_cast<double>(weights_[i++]);
  Cut(begin_, i, mass);
}

// Of the kept tokens. Surprise minus entropy is mean score minus score: the normalising constants cancel.
double Distribution::MeanScore() {
  if (whole_) {
    const double weighted =
        Rows().weighted_score(logits_.data(), logits_.size(), candidates_.max(), inverse_temperature_);
    return weighted / Mass();
  }
  double weighted = 0.0;
  for (std::size_t i = begin_; Has(i); ++i)
    weighted += static_cast<double>(weights_[i]) * static_cast<double>(scores_[i]);
  return weighted / Mass();
}

void Distribution::KeepTypical(double p) {
  if (p >= 1.0) return;
  const double mean = MeanScore();
  const double wanted = p * Mass();
  // Distances from the mean fall and then rise along the order, so the nearest are found outwards from it.
  std::size_t low = begin_;
  while (Has(low) && static_cast<double>(scores_[low]) > mean) ++low;
  std::size_t high = low;
  double mass = 0.0;
  double reach = 0.0;
  while (true) {
    const double below = low > begin_ ? static_cast<double>(scores_[low - 1]) - mean : kFar;
    const double above = Has(high) ? mean - static_cast<double>(scores_[high]) : kFar;
    const double nearest = std::min(below, above);
    if (nearest == kFar || (mass >= wanted && nearest > reach)) break;
    reach = nearest;
    mass += static_cast<double>(weights_[below <= above ? --low : high++]);
  }
  Cut(low, high, mass);
}

TokenId Distribution::Draw(double uniform) {
  const double wanted = uniform * Mass();
  double mass = 0.0;
  std::size_t last = begin_;  // of those that weigh something: what rounding may leave over falls to it
  for (std::size_t i = begin_; Has(i, wanted - mass); ++i) {
    if (weights_[i] <= 0.0f) break;
    last = i;
    mass += static_cast<double>(weights_[i]);
    if (mass > wanted) break;
  }
  return candidates_.sorted()[last].token;
}

std::vector<Candidate> Distribution::KeptTokens() {
  std::vector<Candidate> kept;
  for (std::size_t i = begin_; Has(i); ++i) kept.push_back(candidates_.sorted()[i]);
  return kept;
}

std::vector<double> Distribution::KeptProbabilities() {
  std::vector<double> probabilities;
  for (std::size_t i = begin_; Has(i); ++i) probabilities.push_back(static_cast<double>(weights_[i]) / Mass());
  return probabilities;
}

}  // namespace skywork_rt
