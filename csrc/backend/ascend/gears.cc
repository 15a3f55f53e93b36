#include "backend/ascend/gears.h"

#include <algorithm>

#include "support/format.h"

namespace skywork_rt::ascend {
namespace {

/// The cheapest of the gears that `fits` accepts.
template <typename Fits>
std::optional<Gear> Cheapest(const std::vector<Gear>& gears, const Fits& fits) {
  std::optional<Gear> best;
  const auto cost = [](const Gear& gear) { return static_cast<std::size_t>(gear.batch) * gear.length; };
  for (const Gear& gear : gears) {
    if (!fits(gear)) continue;
    const bool better = !best || cost(gear) < cost(*best) || (cost(gear) == cost(*best) && gear.batch < best->batch);
    if (better) best = gear;
  }
  return best;
}

}  // namespace

Gears::Gears(const std::vector<BundleGear>& gears) {
  for (const BundleGear& gear : gears) gears_.push_back({gear.batch, static_cast<std::size_t>(gear.length)});
}

std::optional<Gear> Gears::Smallest(int batch, std::size_t length) const {
  return Cheapest(gears_, [&](const Gear& gear) { return gear.batch >= batch && gear.length >= length; });
}

std::optional<Gear> Gears::SmallestOfBatch(int batch, std::size_t length) const {
  return Cheapest(gears_, [&](const Gear& gear) { return gear.batch == batch && gear.length >= length; });
}

std::optional<std::size_t> Gears::LengthFor(std::size_t length) const {
  std::optional<std::size_t> best;
  for (const Gear& gear : gears_) {
    if (gear.length >= length && (!best || gear.length < *best)) best = gear.length;
  }
  return best;
}

int Gears::MostRows(std::size_t length) const {
  int most = 0;
  for (const Gear& gear : gears_) most = gear.length >= length ? std::max(most, gear.batch) : most;
  return most;
}

std::size_t Gears::max_length() const {
  std::size_t longest = 0;
  for (const Gear& gear : gears_) longest = std::max(longest, gear.length);
  return longest;
}

std::string Gears::ToString() const {
  std::string text;
  for (const Gear& gear : gears_) text += StrCat(text.empty() ? "" : ", ", gear.batch, "x", gear.length);
  return text;
}

}  // namespace skywork_rt::ascend
