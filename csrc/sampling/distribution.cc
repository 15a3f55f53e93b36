#include "sampling/distribution.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "sampling/row_kernels.h"

namespace skywork_rt {
namespace {

constexpr double kFar = std::numeric_limits<double>::infinity();
constexpr std::size_t kDeep = 1024;  // with so many tokens above the mean, selection is cheaper than sorting

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
  flat_ = false;
  cuts_.clear();
  return candidates_.max() > -std::numeric_limits<float>::infinity();
}

template <typename Hint>
bool Distribution::Has(std::size_t i, Hint hint) {
  if (i >= end_) return false;
  while (i >= candidates_.sorted().size()) {
    const std::size_t at_least = candidates_.sorted().empty() ? 0 : hint();
    if (!candidates_.Grow(at_least)) return false;
  }
  if (scores_.size() < candidates_.sorted().size()) Extend();
  return true;
}

bool Distribution::Has(std::size_t i) {
  return Has(i, [] { return std::size_t{0}; });
}

std::size_t Distribution::CountToReach(double missing) const {
  if (weights_.empty() || weights_.back() <= 0.0f) return 0;
  const double more = missing / static_cast<double>(weights_.back());
  return weights_.size() + static_cast<std::size_t>(std::min(more, static_cast<double>(logits_.size())));
}

std::size_t Distribution::CountFrom(double score) const {
  const auto least = static_cast<float>(score);
  const float max = candidates_.max();
  std::uint32_t count = 0;
  for (const float logit : logits_) count += (logit - max) * inverse_temperature_ >= least ? 1 : 0;
  return count;
}

bool Distribution::TooFar(std::size_t i) const {
  return i < end_ && i >= candidates_.sorted().size() && !candidates_.complete();
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

void Distribution::BecomeFlat() {
  flat_ = true;
  before_ = 0.0;
  flat_row_.Reset(logits_, candidates_.max(), inverse_temperature_);
}

void Distribution::CutFlat(double before, double mass, double least_weight) {
  before_ = before;
  mass_ = mass;
  least_weight_ = least_weight;
  whole_ = false;
}

// What no selection answers, and what is asked too rarely to deserve one: sorts, and cuts anew what was cut before.
void Distribution::SortWhole() {
  candidates_.SortAll();
  flat_ = false;
  Cut(0, logits_.size(), -1.0);
  whole_ = true;
  for (const PastCut& cut : cuts_) Apply(cut);
}

void Distribution::Apply(const PastCut& cut) {
  switch (cut.kind) {
    case CutKind::kTopK: return ApplyTopK(static_cast<std::size_t>(cut.value));
    case CutKind::kTopP: return ApplyTopP(cut.value);
    case CutKind::kMinP: return ApplyMinP(cut.value);
    case CutKind::kTypical: return ApplyTypical(cut.value);
  }
}

void Distribution::Record(CutKind kind, double value) {
  cuts_.push_back({kind, value});
  Apply(cuts_.back());
}

void Distribution::Keep(const SamplingParams& params) {
  KeepTopK(static_cast<std::size_t>(std::max(0, params.top_k)));  // 0: off
  KeepTopP(static_cast<double>(params.top_p));
  KeepMinP(static_cast<double>(params.min_p));
  KeepTypical(static_cast<double>(params.typical_p));
}

void Distribution::KeepTopK(std::size_t k) {
  if (k > 0) Record(CutKind::kTopK, static_cast<double>(k));
}

void Distribution::KeepTopP(double p) {
  if (p < 1.0) Record(CutKind::kTopP, p);
}

void Distribution::KeepMinP(double p) {
  if (p > 0.0) Record(CutKind::kMinP, p);
}

void Distribution::KeepTypical(double p) {
  if (p < 1.0) Record(CutKind::kTypical, p);
}

void Distribution::ApplyTopK(std::size_t k) {
  if (flat_) return SortWhole();
  if (k >= end_ - begin_) return;
  candidates_.Require(begin_ + k);
  if (!Has(begin_ + k - 1)) return;
  double mass = 0.0;
  std::size_t i = begin_;
  const float last = candidates_.sorted()[begin_ + k - 1].logit;
  while (Has(i) && candidates_.sorted()[i].logit >= last) mass += static_cast<double>(weights_[i++]);
  Cut(begin_, i, mass);
}

void Distribution::ApplyTopP(double p) {
  const double wanted = p * Mass();
  if (!flat_) {
    if (WalkTopP(wanted)) return;
    BecomeFlat();
  }
  const std::optional<FlatRow::Crossing> last = flat_row_.Find(before_, wanted, false);
  if (!last.has_value()) return SortWhole();
  CutFlat(before_, last->mass, static_cast<double>(flat_row_.WeightOf(last->token)));
}

bool Distribution::WalkTopP(double wanted) {
  double mass = 0.0;
  std::size_t i = begin_;
  const auto hint = [&] { return CountToReach(wanted - mass); };
  while (mass < wanted && Has(i, hint)) mass += static_cast<double>(weights_[i++]);
  if (mass >= wanted) Cut(begin_, i, mass);
  return mass >= wanted || !TooFar(i);
}

void Distribution::ApplyMinP(double p) {
  if (!flat_) {
    if (WalkMinP(p)) return;
    BecomeFlat();
  }
  if (before_ > 0.0) return SortWhole();
  const double least = p;  // the likeliest token weighs exp(0)
  if (!whole_ && least <= least_weight_) return;
  CutFlat(0.0, flat_row_.MassFrom(least), least);
}

bool Distribution::WalkMinP(double p) {
  if (!Has(begin_)) return !TooFar(begin_);
  const double least = p * static_cast<double>(weights_[begin_]);
  double mass = 0.0;
  std::size_t i = begin_;
  const auto hint = [&] { return CountFrom(std::log(least)); };
  while (Has(i, hint) && static_cast<double>(weights_[i]) >= least) mass += static_cast<double>(weights_[i++]);
  if (TooFar(i)) return false;
  Cut(begin_, i, mass);
  return true;
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

void Distribution::ApplyTypical(double p) {
  if (flat_ && !whole_) return SortWhole();
  const double mean = MeanScore();
  const double wanted = p * Mass();
  if (!flat_) {
    if (WalkTypical(mean, wanted)) return;
    BecomeFlat();
  }
  const std::optional<FlatRow::Band> band = flat_row_.FindNearest(mean, wanted);
  if (!band.has_value()) return SortWhole();
  CutFlat(band->before, band->mass, 0.0);
}

bool Distribution::WalkTypical(double mean, double wanted) {
  const bool deep = whole_ && !candidates_.complete() && Has(0) && static_cast<double>(scores_.back()) > mean;
  if (deep && CountFrom(mean) > kDeep) return false;
  // Distances from the mean fall and then rise along the order, so the nearest are found outwards from it.
  std::size_t low = begin_;
  while (Has(low, [&] { return CountFrom(mean); }) && static_cast<double>(scores_[low]) > mean) ++low;
  std::size_t high = low;
  double mass = 0.0;
  double reach = 0.0;
  while (true) {
    const double below = low > begin_ ? static_cast<double>(scores_[low - 1]) - mean : kFar;
    const double above = Has(high) ? mean - static_cast<double>(scores_[high]) : kFar;
    if (TooFar(high)) return false;
    const double nearest = std::min(below, above);
    if (nearest == kFar || (mass >= wanted && nearest > reach)) break;
    reach = nearest;
    mass += static_cast<double>(weights_[below <= above ? --low : high++]);
  }
  Cut(low, high, mass);
  return true;
}

TokenId Distribution::Draw(double uniform) {
  const double wanted = uniform * Mass();
  if (!flat_) {
    if (const std::optional<TokenId> token = WalkDraw(wanted); token.has_value()) return *token;
    BecomeFlat();
  }
  const std::optional<FlatRow::Crossing> drawn = flat_row_.Find(before_, wanted, true);
  if (drawn.has_value()) return drawn->token;
  SortWhole();
  return *WalkDraw(uniform * Mass());
}

std::optional<TokenId> Distribution::WalkDraw(double wanted) {
  double mass = 0.0;
  std::size_t last = begin_;  // of those that weigh something: what rounding may leave over falls to it
  std::size_t i = begin_;
  for (; Has(i, [&] { return CountToReach(wanted - mass); }); ++i) {
    if (weights_[i] <= 0.0f) return candidates_.sorted()[last].token;
    last = i;
    mass += static_cast<double>(weights_[i]);
    if (mass > wanted) return candidates_.sorted()[last].token;
  }
  if (TooFar(i)) return std::nullopt;
  return candidates_.sorted()[last].token;
}

std::vector<Candidate> Distribution::KeptTokens() {
  if (whole_ || flat_) SortWhole();
  std::vector<Candidate> kept;
  for (std::size_t i = begin_; Has(i); ++i) kept.push_back(candidates_.sorted()[i]);
  return kept;
}

std::vector<double> Distribution::KeptProbabilities() {
  if (whole_ || flat_) SortWhole();
  std::vector<double> probabilities;
  for (std::size_t i = begin_; Has(i); ++i) probabilities.push_back(static_cast<double>(weights_[i]) / Mass());
  return probabilities;
}

}  // namespace skywork_rt
