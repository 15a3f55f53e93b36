#include "backend/native/weights/weight_kinds.h"

#include <algorithm>

namespace skywork_rt::native {

std::vector<WeightKind> AllKinds() {
  std::vector<WeightKind> kinds;
  for (int k = 0; k < WeightTypes::kSize; ++k) kinds.push_back(static_cast<WeightKind>(k));
  return kinds;
}

std::vector<WeightKind> IntegerKinds() {
  std::vector<WeightKind> kinds = AllKinds();
  kinds.erase(std::remove_if(kinds.begin(), kinds.end(), [](WeightKind kind) { return !FactsOf(kind).integers; }),
              kinds.end());
  return kinds;
}

std::vector<WeightKind> PreferredKindsFirst() {
  const auto bytes = [](WeightKind kind) { return FactsOf(kind).scale_bytes + FactsOf(kind).code_bytes; };
  const auto coarse = [&](WeightKind kind) { return bytes(kind) < bytes(KindOf<types::Int8>()); };
  std::vector<WeightKind> kinds = AllKinds();
  std::stable_sort(kinds.begin(), kinds.end(), [&](WeightKind a, WeightKind b) {
    return coarse(a) == coarse(b) ? bytes(a) < bytes(b) : coarse(b);
  });
  return kinds;
}

std::string NamesOf(const std::vector<WeightKind>& kinds, const std::string& before) {
  std::string names;
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    if (i != 0) names += i + 1 == kinds.size() ? " or " : ", ";
    names += before + FactsOf(kinds[i]).name;
  }
  return names;
}

}  // namespace skywork_rt::native
