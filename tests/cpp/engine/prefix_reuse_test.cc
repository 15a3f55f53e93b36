// Prompts that begin like what is cached.

#include <gtest/gtest.h>

#include "engine/engine_fixture.h"

namespace skywork_rt {
namespace {

TEST(PrefixReuse, PromptThatBeginsLikeAFinishedOneSkipsThatPart) {
  auto engine = MakeEngine();
  const Result first = RunOne(engine.get(), LongRequest(Counting(50), 10));
  EXPECT_EQ(first.cached_prompt_tokens, 0U);
  Request request = LongRequest(Counting(50), 10);
  for (std::size_t i = 0; i < 9; ++i) request.prompt.push_back(first.samples[0].token_ids[i]);
  request.prompt.push_back(1);
  const Result second = RunOne(engine.get(), request);
  EXPECT_EQ(second.cached_prompt_tokens, 59U) << "prompt and output of the first, but its last token";
  EXPECT_EQ(engine->stats().prefix_hit_tokens, 59U);
  request.sampling.seed.reset();
  auto fresh = MakeEngine(NoPrefixCache());
  EXPECT_EQ(second.samples[0].token_ids, RunOne(fresh.get(), request).samples[0].token_ids);
}

TEST(PrefixReuse, CachedTokensNeverExceedTheBound) {
  GeneratorOptions options;
  options.max_cached_tokens = 120;
  auto engine = MakeEngine(options);
  for (TokenId i = 0; i < 30; ++i) {
    RunOne(engine.get(), LongRequest(Counting(50, i), 10));
    EXPECT_LE(engine->stats().cached_tokens, 120U);
    EXPECT_EQ(engine->stats().cache_capacity, 120U);
  }
}

}  // namespace
}  // namespace skywork_rt
