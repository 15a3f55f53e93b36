#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "bundle/bundle.h"

namespace skywork_rt::ascend {

/// A shape that a graph was compiled for: rows of a batch, and tokens of a prompt or positions that a step attends to.
struct Gear {
  int batch = 0;
  std::size_t length = 0;
};

/// The gears of one graph. At least one.
class Gears {
 public:
  explicit Gears(const std::vector<BundleGear>& gears);

  /// The cheapest gear, by batch * length, that has at least so many rows and positions; of equal ones that with fewer
  /// rows. Empty: none is large enough.
  std::optional<Gear> Smallest(int batch, std::size_t length) const;
  /// The same among those of exactly so many rows.
  std::optional<Gear> SmallestOfBatch(int batch, std::size_t length) const;
  /// The smallest length of any gear that is at least `length`.
  std::optional<std::size_t> LengthFor(std::size_t length) const;
  /// Most rows of the gears that are at least so long.
  int MostRows(std::size_t length) const;

  int max_batch() const { return MostRows(0); }
  std::size_t max_length() const;
  /// "1x256, 4x1024", for messages.
  std::string ToString() const;

 private:
  std::vector<Gear> gears_;
};

}  // namespace skywork_rt::ascend
