// Instantiates what the public headers only declare as templates; compiled by every compiler, never run.
#include <skywork_rt/generator.h>

#include <vector>

static_assert(sizeof(skywork_rt::Span<const int>) != 0 && sizeof(skywork_rt::Span<int>) != 0, "both instantiate");

int Sum(skywork_rt::Span<const int> values);

int UseEveryConversion(std::vector<int>& values) {
  const std::vector<int>& constant = values;
  int array[] = {1, 2};
  skywork_rt::Span<int> writable(values);
  skywork_rt::Span<int> copy = writable;
  return Sum(values) + Sum(constant) + Sum(array) + Sum(writable) + Sum(copy.subspan(0, 1));
}
