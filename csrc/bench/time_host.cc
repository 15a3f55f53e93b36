#include "bench/time_host.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "bench/clocked_backend.h"
#include "skywork_rt/generator.h"

namespace skywork_rt {
namespace {

constexpr std::size_t kPromptTokens = 4;
constexpr std::size_t kWarmUp = 8;  // steps of either kind that come before those that count

GeneratorOptions OptionsFor(std::size_t rows, std::size_t length, int threads) {
  GeneratorOptions options;
  options.threads = threads;
  options.max_batch = static_cast<int>(rows);
  options.max_queue = rows;
  options.max_length = length;
  options.max_cached_tokens = rows * (length + 16);  // the last block of each row is not full
  options.prefill_budget = rows * kPromptTokens;
  options.prefill_stretch = 0.0;  // all prompts in one step
  options.prefix_cache = false;
  return options;
}

Request RequestFor(std::size_t row, std::size_t vocab_size, std::size_t tokens) {
  Request request;
  for (std::size_t i = 0; i < kPromptTokens; ++i) {
    request.prompt.push_back(static_cast<TokenId>((row + i) % vocab_size));
  }
  request.sampling.temperature = 0.0f;
  request.sampling.max_tokens = static_cast<int>(tokens);
  request.sampling.ignore_eos = true;
  return request;
}

}  // namespace

HostTimes TimeHost(std::size_t rows, std::size_t vocab_size, std::size_t steps, int threads) {
  const std::size_t tokens = 2 * (steps + kWarmUp + 1);
  const std::size_t length = kPromptTokens + tokens;
  ClockedBackend::Clock clock;
  {
    Generator generator(std::make_unique<ClockedBackend>(rows, vocab_size, length, &clock),
                        OptionsFor(rows, length, threads));
    try {
      std::vector<RequestHandle> handles;
      for (std::size_t row = 0; row < rows; ++row) {
        handles.push_back(generator.Submit(RequestFor(row, vocab_size, tokens)));
      }
      clock.Open();
      for (RequestHandle& handle : handles) handle.Get();
    } catch (...) {
      clock.Open();
      throw;
    }
  }
  for (std::vector<double>* times : {&clock.times.host, &clock.times.argmax}) {
    times->erase(times->begin(), times->begin() + static_cast<std::ptrdiff_t>(std::min(kWarmUp, times->size())));
    times->resize(std::min(steps, times->size()));
  }
  return std::move(clock.times);
}

}  // namespace skywork_rt
