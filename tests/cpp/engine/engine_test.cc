#include "engine/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <future>
#include <limits>
#include <set>
#include <thread>

#include "decode/beam_search.h"
#include "engine/engine_fixture.h"

namespace skywork_rt {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// A backend whose steps take a while, for tests that catch a request halfway.
PredictableOptions Slow(milliseconds step = milliseconds(1)) {
  PredictableOptions options;
  options.hook = [step](BackendOp op, std::uint64_t) {
    if (op == BackendOp::kForward) std::this_thread::sleep_for(step);
  };
  return options;
}

/// A backend that throws at the given call of one operation.
PredictableOptions FailingAt(BackendOp op, std::uint64_t call, ErrorCode code = ErrorCode::kBackend) {
  PredictableOptions options;
  options.hook = [=](BackendOp now, std::uint64_t count) {
    if (now == op && count == call) throw Error(code, "the device is on fire");
  };
  return options;
}

GeneratorOptions NoPrefixCache() {
  GeneratorOptions options;
  options.prefix_cache = false;
  return options;
}

std::vector<TokenId> Greedy(const std::vector<TokenId>& prompt, std::size_t max_tokens) {
  return PredictableBackend({}).Greedy(prompt, max_tokens);
}

Result RunOne(Engine* engine, Request request) {
  return engine->Submit(std::move(request), {})->Get();
}

Request Drawn(std::vector<TokenId> prompt, int max_tokens, std::uint64_t seed, int n = 1) {
  Request request = GreedyRequest(std::move(prompt), max_tokens);
  request.sampling.temperature = 1.0f;
  request.sampling.seed = seed;
  request.sampling.n = n;
  return request;
}

// ------------------------------------------------------------------------------------------------------------ output

TEST(EngineTest, GreedyRequestGetsTheModelsOwnContinuation) {
  auto engine = MakeEngine();
  for (TokenId first = 3; first < 20; ++first) {
    const Result result = RunOne(engine.get(), GreedyRequest({first, 5, 9}, 40));
    EXPECT_EQ(result.samples.at(0).token_ids, Greedy({first, 5, 9}, 40));
  }
}

TEST(EngineTest, OutputEndsWithItsEosOrAtMaxTokens) {
  auto engine = MakeEngine();
  int stopped = 0;
  for (TokenId first = 3; first < 60; ++first) {
    const Sample sample = RunOne(engine.get(), GreedyRequest({first}, 50)).samples.at(0);
    if (sample.finish_reason == FinishReason::kStop) {
      ++stopped;
      EXPECT_EQ(sample.token_ids.back(), 2);
      EXPECT_EQ(sample.stop_reason, "2");
    } else {
      EXPECT_EQ(sample.finish_reason, FinishReason::kLength);
      EXPECT_EQ(sample.token_ids.size(), 50U);
      EXPECT_EQ(std::count(sample.token_ids.begin(), sample.token_ids.end(), 2), 0);
    }
  }
  EXPECT_GT(stopped, 5);
}

TEST(EngineTest, StopIdsEndTheOutputAndAreNamed) {
  auto engine = MakeEngine();
  const std::vector<TokenId> expected = Greedy({7, 8}, 30);
  Request request = GreedyRequest({7, 8}, 30);
  request.sampling.stop_token_ids = {expected[3]};
  const Sample sample = RunOne(engine.get(), request).samples.at(0);
  const auto first = std::find(expected.begin(), expected.end(), expected[3]) - expected.begin();
  EXPECT_EQ(sample.token_ids, std::vector<TokenId>(expected.begin(), expected.begin() + first + 1));
  EXPECT_EQ(sample.stop_reason, std::to_string(expected[3]));
}

TEST(EngineTest, WithoutMaxTokensTheOutputFillsTheLength) {
  GeneratorOptions options;
  options.max_length = 32;
  auto engine = MakeEngine(options);
  Request request = LongRequest(Counting(20), 1);
  request.sampling.max_tokens.reset();
  EXPECT_EQ(RunOne(engine.get(), request).samples.at(0).token_ids.size(), 12U);
}

TEST(EngineTest, SamplesShareOnePrefillAndEachIsItsOwnStream) {
  auto engine = MakeEngine();
  const Result three = RunOne(engine.get(), Drawn(Counting(50), 20, 11, 3));
  const Stats stats = engine->stats();
  EXPECT_EQ(stats.prompt_tokens, 50U);
  ASSERT_EQ(three.samples.size(), 3U);
  EXPECT_NE(three.samples[0].token_ids, three.samples[1].token_ids);
  EXPECT_NE(three.samples[1].token_ids, three.samples[2].token_ids);
  const Result one = RunOne(engine.get(), Drawn(Counting(50), 20, 11, 1));
  EXPECT_EQ(one.samples[0].token_ids, three.samples[0].token_ids) << "sample 0 does not depend on n";
}

TEST(EngineTest, SeedDecidesTheDrawAndIsReported) {
  auto engine = MakeEngine();
  const Result first = RunOne(engine.get(), Drawn({5, 6}, 20, 3));
  EXPECT_EQ(first.seed, 3U);
  EXPECT_EQ(first.samples[0].token_ids, RunOne(engine.get(), Drawn({5, 6}, 20, 3)).samples[0].token_ids);
  Request request = Drawn({5, 6}, 20, 0);
  request.sampling.seed.reset();
  const Result unseeded = RunOne(engine.get(), request);
  EXPECT_EQ(RunOne(engine.get(), Drawn({5, 6}, 20, unseeded.seed)).samples[0].token_ids, unseeded.samples[0].token_ids);
}

TEST(EngineTest, LogprobsAreOfTheUnprocessedLogits) {
  auto engine = MakeEngine();
  Request request = LongRequest({4, 5}, 6);
  request.sampling.logprobs = 2;
  const Sample sample = RunOne(engine.get(), request).samples.at(0);
  ASSERT_EQ(sample.logprobs.size(), 6U);
  std::vector<TokenId> sequence{4, 5};
  double sum = 0.0;
  for (std::size_t i = 0; i < 6; ++i) {
    std::vector<float> row(97);
    PredictableBackend::Logits(Span<const TokenId>(sequence), Span<float>(row));
    double total = 0.0;
    for (const float logit : row) total += std::exp(static_cast<double>(logit));
    const auto& list = sample.logprobs[i];
    ASSERT_EQ(list.size(), 3U);
    EXPECT_EQ(list[0].token, sample.token_ids[i]);
    EXPECT_EQ(list[0].rank, 1);
    EXPECT_NEAR(list[0].logprob, 4.0 - std::log(total), 1e-5);
    EXPECT_NEAR(list[2].logprob, 3.0 - std::log(total), 1e-5);
    sum += list[0].logprob;
    sequence.push_back(sample.token_ids[i]);
  }
  EXPECT_NEAR(sample.cumulative_logprob, sum, 1e-5);
}

void ExpectPromptLogprobs(const std::vector<TokenId>& prompt, std::size_t from, const Result& result) {
  ASSERT_EQ(result.prompt_logprobs.size(), prompt.size());
  for (std::size_t i = 0; i < prompt.size(); ++i) {
    const auto& list = result.prompt_logprobs[i];
    if (i < from) {
      EXPECT_TRUE(list.empty()) << i;
      continue;
    }
    std::vector<float> row(97);
    PredictableBackend::Logits(Span<const TokenId>(prompt.data(), i), Span<float>(row));
    double total = 0.0;
    for (const float logit : row) total += std::exp(static_cast<double>(logit));
    ASSERT_EQ(list.size(), 2U) << i;
    EXPECT_EQ(list[0].token, prompt[i]);
    EXPECT_NEAR(list[0].logprob, row[static_cast<std::size_t>(prompt[i])] - std::log(total), 1e-5) << i;
    EXPECT_NEAR(list[1].logprob, 4.0 - std::log(total), 1e-5);
  }
}

TEST(EngineTest, PromptLogprobsAreExactHoweverThePromptIsCut) {
  for (const std::size_t rows : {std::size_t{1}, std::size_t{5}, std::size_t{1000}}) {
    EngineConfig config = CheckedConfig();
    config.options.max_batch = 1;
    config.prompt_logits_bytes = rows * 97 * sizeof(float);
    Engine engine(std::make_unique<PredictableBackend>(PredictableOptions{}), config);
    Request request = GreedyRequest(Counting(40), 3);
    request.sampling.prompt_logprobs = 1;
    ExpectPromptLogprobs(request.prompt, 1, RunOne(&engine, request));
  }
}

TEST(EngineTest, ScoringFromAPositionReusesWhatLiesBefore) {
  auto engine = MakeEngine();
  const std::vector<TokenId> shared = Counting(40);
  RunOne(engine.get(), GreedyRequest(shared, 1));
  Request request = GreedyRequest(shared, 1);
  for (const TokenId token : {5, 6, 7}) request.prompt.push_back(token);
  request.sampling.prompt_logprobs = 1;
  request.prompt_logprobs_from = 40;
  const Result result = RunOne(engine.get(), request);
  EXPECT_EQ(result.cached_prompt_tokens, 39U) << "the logits of token 39 score token 40";
  ExpectPromptLogprobs(request.prompt, 40, result);
}

TEST(EngineTest, BeamSearchOnTheEngineEqualsBeamSearchOnTheModel) {
  PredictableBackend reference({});
  for (const int width : {2, 4, 8}) {
    Request request = GreedyRequest(Counting(12), 10);
    request.sampling.num_beams = width;
    request.sampling.n = width;
    BeamSearch search(request.sampling, reference.model(), Span<const TokenId>(request.prompt), 10);
    std::vector<std::vector<TokenId>> beams{request.prompt};
    while (true) {
      std::vector<float> logits(beams.size() * 97);
      for (std::size_t i = 0; i < beams.size(); ++i) {
        PredictableBackend::Logits(Span<const TokenId>(beams[i]), Span<float>(logits.data() + i * 97, 97));
      }
      search.Advance(Span<float>(logits));
      if (search.done()) break;
      std::vector<std::vector<TokenId>> next;
      for (const BeamStep& step : search.steps()) {
        next.push_back(beams[static_cast<std::size_t>(step.parent)]);
        next.back().push_back(step.token);
      }
      beams = std::move(next);
    }
    const std::vector<Hypothesis> expected = search.TakeHypotheses();
    auto engine = MakeEngine();
    const Result result = RunOne(engine.get(), request);
    ASSERT_EQ(result.samples.size(), expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i) {
      EXPECT_EQ(result.samples[i].token_ids, expected[i].token_ids);
      EXPECT_EQ(result.samples[i].cumulative_logprob, expected[i].logprob);
    }
  }
}

// ------------------------------------------------------------------------------------------------------- text

std::unique_ptr<Engine> TextEngine() {
  EngineConfig config = CheckedConfig();
  config.vocabulary = ByteVocabulary(97);
  return std::make_unique<Engine>(std::make_unique<PredictableBackend>(PredictableOptions{}), config);
}

TEST(EngineTest, TextOfAResultIsTheTextOfItsTokens) {
  auto engine = TextEngine();
  for (TokenId first = 3; first < 40; ++first) {
    const Sample sample = RunOne(engine.get(), GreedyRequest({first}, 30)).samples.at(0);
    std::vector<TokenId> ids = sample.token_ids;
    if (sample.finish_reason == FinishReason::kStop) ids.pop_back();  // an ending id has no text
    EXPECT_EQ(sample.text, engine->vocabulary()->Decode(Span<const TokenId>(ids)));
  }
}

TEST(EngineTest, StopTextEndsTheOutputBeforeItself) {
  auto engine = TextEngine();
  const Sample whole = RunOne(engine.get(), LongRequest({9, 9}, 40)).samples.at(0);
  const std::string stop = whole.text.substr(20, 3);
  Request request = LongRequest({9, 9}, 40);
  request.sampling.stop = {stop, "never"};
  const Sample cut = RunOne(engine.get(), request).samples.at(0);
  EXPECT_EQ(cut.text, whole.text.substr(0, whole.text.find(stop)));
  EXPECT_EQ(cut.finish_reason, FinishReason::kStop);
  EXPECT_EQ(cut.stop_reason, stop);
  EXPECT_LT(cut.token_ids.size(), 40U) << "it stops when the text does";
  request.sampling.include_stop_str_in_output = true;
  EXPECT_EQ(RunOne(engine.get(), request).samples.at(0).text, cut.text + stop);
}

TEST(EngineTest, BeamsEndWhereASampleWithTheirTokensWould) {
  auto engine = TextEngine();
  Request request = LongRequest({9, 9}, 24);
  request.sampling.num_beams = 4;
  request.sampling.n = 4;
  const Result free_run = RunOne(engine.get(), request);
  // Two bytes of two tokens, so that the text crosses their border; the first beam's may be in the others, too.
  const std::string stop = free_run.samples.at(0).text.substr(10, 2);
  for (const bool included : {false, true}) {
    request.sampling.stop = {"never", stop};
    request.sampling.include_stop_str_in_output = included;
    request.sampling.logprobs = 2;
    int stopped = 0;
    for (const Sample& sample : RunOne(engine.get(), request).samples) {
      const std::string whole = engine->vocabulary()->Decode(Span<const TokenId>(sample.token_ids));
      const std::size_t found = whole.find(stop);
      const bool has_stop = found != std::string::npos;
      EXPECT_EQ(sample.finish_reason, has_stop ? FinishReason::kStop : FinishReason::kLength);
      EXPECT_EQ(sample.stop_reason, has_stop ? stop : "");
      EXPECT_EQ(sample.text, has_stop ? whole.substr(0, found) + (included ? stop : "") : whole);
      EXPECT_EQ(sample.logprobs.size(), sample.token_ids.size());
      stopped += has_stop;
    }
    EXPECT_GT(stopped, 0);
  }
}

// ----------------------------------------------------------------------------------------------------------- updates

TEST(EngineTest, UpdatesTogetherAreTheResult) {
  auto engine = TextEngine();
  Request request = Drawn(Counting(5), 40, 4, 3);
  request.sampling.logprobs = 1;
  const auto state = engine->Submit(request, {});
  std::vector<Sample> seen(3);
  Update update;
  while (state->Next(&update)) {
    Sample& sample = seen.at(static_cast<std::size_t>(update.sample));
    EXPECT_EQ(sample.finish_reason, FinishReason::kNone) << "nothing comes after the end";
    sample.token_ids.insert(sample.token_ids.end(), update.token_ids.begin(), update.token_ids.end());
    sample.text += update.text;
    EXPECT_EQ(update.logprobs.size(), update.token_ids.size());
    sample.finish_reason = update.finish_reason;
  }
  const Result result = state->Get();
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(seen[i].token_ids, result.samples[i].token_ids);
    EXPECT_EQ(seen[i].text, result.samples[i].text);
    EXPECT_EQ(seen[i].finish_reason, result.samples[i].finish_reason);
  }
}

TEST(EngineTest, UpdatesThatNobodyTakesAreMerged) {
  auto engine = MakeEngine();
  const auto state = engine->Submit(LongRequest({3}, 100), {});
  state->Get();
  Update update;
  ASSERT_TRUE(state->Next(&update));
  EXPECT_EQ(update.token_ids.size(), 100U);
  EXPECT_FALSE(state->Next(&update));
}

TEST(EngineTest, WaitingForAnUpdateGivesUpInTime) {
  auto engine = MakeEngine({}, Slow(milliseconds(100)));
  const auto state = engine->Submit(LongRequest({3}, 3), {});
  Update update;
  EXPECT_EQ(state->NextFor(&update, milliseconds(1)), std::nullopt);
  EXPECT_FALSE(state->WaitFor(milliseconds(1)));
  EXPECT_TRUE(state->WaitFor(milliseconds::max())) << "the longest wait does not overflow";
}

TEST(EngineTest, TimesArePositiveAndInOrder) {
  auto engine = MakeEngine({}, Slow());
  const Timings times = RunOne(engine.get(), LongRequest({3}, 5)).timings;
  EXPECT_GT(times.queued, 0.0);
  EXPECT_GT(times.first_token, times.queued);
  EXPECT_GT(times.total, times.first_token);
}

// --------------------------------------------------------------------------------------------------------- callbacks

TEST(EngineTest, CallbackSeesEveryStep) {
  auto engine = MakeEngine();
  std::vector<TokenId> seen;
  FinishReason last = FinishReason::kNone;
  const auto state = engine->Submit(LongRequest({3}, 10), [&](const Update& update) {
    seen.insert(seen.end(), update.token_ids.begin(), update.token_ids.end());
    last = update.finish_reason;
    return true;
  });
  EXPECT_EQ(state->Get().samples[0].token_ids, seen);
  EXPECT_EQ(last, FinishReason::kLength);
  Update update;
  EXPECT_EQ(CodeOf([&] { state->Next(&update); }), ErrorCode::kInvalidArgument);
}

TEST(EngineTest, CallbackThatReturnsFalseCancelsAndHearsOfIt) {
  std::atomic<int> tokens{0};  // the engine's thread uses both until the engine is gone
  std::promise<FinishReason> end;
  auto engine = MakeEngine(NoPrefixCache());
  const auto state = engine->Submit(LongRequest({3}, 400), [&](const Update& update) {
    if (update.finish_reason == FinishReason::kError) end.set_value(update.finish_reason);
    tokens += static_cast<int>(update.token_ids.size());
    return tokens < 5;
  });
  EXPECT_EQ(CodeOf([&] { state->Get(); }), ErrorCode::kCancelled);
  EXPECT_EQ(end.get_future().get(), FinishReason::kError);
  EXPECT_EQ(tokens, 5);
  EXPECT_EQ(engine->stats().cached_tokens, 0U);
}

TEST(EngineTest, CallbackThatThrowsLosesOnlyItsOwnRequest) {
  auto engine = MakeEngine();
  const auto bad = engine->Submit(LongRequest({3}, 50), [](const Update&) -> bool { throw std::runtime_error("x"); });
  const auto good = engine->Submit(LongRequest({4}, 50), {});
  EXPECT_EQ(CodeOf([&] { bad->Get(); }), ErrorCode::kCancelled);
  EXPECT_EQ(good->Get().samples[0].token_ids.size(), 50U);
}

TEST(EngineTest, CallbackMaySubmitButNotWaitOrClose) {
  auto engine = MakeEngine();
  std::promise<Engine::StatePtr> second;
  std::promise<std::pair<ErrorCode, ErrorCode>> refusals;
  Engine::StatePtr first = engine->Submit(LongRequest({3}, 1), [&](const Update&) {
    Engine::StatePtr state = engine->Submit(LongRequest({4}, 2), {});
    refusals.set_value({CodeOf([&] { state->Get(); }), CodeOf([&] { engine->Close(Generator::CloseMode::kCancel); })});
    second.set_value(std::move(state));
    return true;
  });
  first->Get();
  const auto [wait, close] = refusals.get_future().get();
  EXPECT_EQ(wait, ErrorCode::kInvalidArgument);
  EXPECT_EQ(close, ErrorCode::kInvalidArgument);
  EXPECT_EQ(second.get_future().get()->Get().samples[0].token_ids.size(), 2U);
}

// ---------------------------------------------------------------------------------------------- cancel, deadline,
// queue

TEST(EngineTest, CancellingFreesTheCacheAtTheNextStep) {
  auto engine = MakeEngine(NoPrefixCache(), Slow());
  const auto state = engine->Submit(LongRequest(Counting(30), 400), {});
  Update update;
  ASSERT_TRUE(state->Next(&update));
  for (int i = 0; i < 1000 && engine->stats().cached_tokens < 30; ++i) std::this_thread::sleep_for(milliseconds(1));
  EXPECT_GE(engine->stats().cached_tokens, 30U);
  state->Cancel();
  state->Cancel();
  EXPECT_EQ(CodeOf([&] { state->Get(); }), ErrorCode::kCancelled);
  EXPECT_EQ(engine->stats().cached_tokens, 0U);
  EXPECT_EQ(engine->stats().running, 0U);
  EXPECT_EQ(engine->stats().cancelled, 1U);
}

TEST(EngineTest, ClientThatGoesAwayMidStreamLeavesNothing) {
  auto engine = MakeEngine(NoPrefixCache(), Slow());
  {
    RequestHandle handle(engine->Submit(LongRequest(Counting(30), 400), {}));
    Update update;
    ASSERT_TRUE(handle.Next(&update));
    handle.Cancel();
  }
  for (int i = 0; i < 1000 && engine->stats().running != 0; ++i) std::this_thread::sleep_for(milliseconds(1));
  EXPECT_EQ(engine->stats().cached_tokens, 0U);
}

TEST(EngineTest, DroppingTheHandleAloneDoesNotCancel) {
  auto engine = MakeEngine({}, Slow());
  static_cast<void>(engine->Submit(LongRequest({3}, 20), {}));
  engine->Close(Generator::CloseMode::kFinish);
  EXPECT_EQ(engine->stats().finished, 1U);
  EXPECT_EQ(engine->stats().generated_tokens, 20U);
}

TEST(EngineTest, DeadlineEndsRunningAndWaitingRequests) {
  GeneratorOptions options = NoPrefixCache();
  options.max_batch = 1;
  auto engine = MakeEngine(options, Slow(milliseconds(5)));
  Request late = LongRequest({3}, 400);
  late.deadline = milliseconds(60);
  const auto running = engine->Submit(late, {});
  const auto waiting = engine->Submit(late, {});
  std::string message;
  EXPECT_EQ(CodeOf([&] { running->Get(); }, &message), ErrorCode::kDeadlineExceeded);
  EXPECT_THAT(message, HasSubstr("60 ms"));
  EXPECT_EQ(CodeOf([&] { waiting->Get(); }), ErrorCode::kDeadlineExceeded);
  EXPECT_EQ(engine->stats().failed, 2U);
  EXPECT_EQ(engine->stats().cached_tokens, 0U);
}

TEST(EngineTest, FullQueueRefusesWithTheNumbers) {
  GeneratorOptions options;
  options.max_batch = 1;
  options.max_queue = 2;
  auto engine = MakeEngine(options, Slow());
  std::vector<Engine::StatePtr> states;
  std::string message;
  ErrorCode code{};
  for (int i = 0; i < 4 && code == ErrorCode{}; ++i) {  // one runs, two wait
    code = CodeOf([&] { states.push_back(engine->Submit(LongRequest({3}, 400), {})); }, &message);
  }
  EXPECT_EQ(code, ErrorCode::kCapacity);
  EXPECT_THAT(message, HasSubstr("max_queue is 2"));
  EXPECT_GE(engine->stats().refused, 1U);
  EXPECT_LE(engine->stats().queued, 2U);
}

TEST(EngineTest, HigherPriorityRunsFirst) {
  GeneratorOptions options;
  options.max_batch = 1;
  auto engine = MakeEngine(options, Slow());
  const auto running = engine->Submit(LongRequest({3}, 20), {});
  std::vector<int> order;  // written on the engine's thread, read after it has ended
  for (const int priority : {0, 0, 5, 1}) {
    Request request = LongRequest({4}, 1);
    request.priority = priority;
    engine->Submit(request, [&order, priority](const Update&) {
      order.push_back(priority);
      return true;
    });
  }
  engine->Close(Generator::CloseMode::kFinish);
  EXPECT_THAT(order, ElementsAre(5, 1, 0, 0));
}

// ------------------------------------------------------------------------------------------------------------- close

TEST(EngineTest, CloseMayFinishWhatIsThere) {
  auto engine = MakeEngine();
  std::vector<Engine::StatePtr> states;
  for (TokenId i = 3; i < 60; ++i) states.push_back(engine->Submit(LongRequest({i}, 30), {}));
  engine->Close(Generator::CloseMode::kFinish);
  for (const auto& state : states) EXPECT_EQ(state->Get().samples[0].token_ids.size(), 30U);
  EXPECT_EQ(CodeOf([&] { engine->Submit(LongRequest({3}, 3), {}); }), ErrorCode::kClosed);
  EXPECT_EQ(engine->stats().finished, 57U);
  EXPECT_EQ(engine->stats().cached_tokens, 0U);
}

TEST(EngineTest, CloseMayCancelWhatIsThere) {
  auto engine = MakeEngine({}, Slow());
  std::vector<Engine::StatePtr> states;
  for (TokenId i = 3; i < 60; ++i) states.push_back(engine->Submit(LongRequest({i}, 400), {}));
  engine->Close(Generator::CloseMode::kCancel);
  for (const auto& state : states) EXPECT_EQ(CodeOf([&] { state->Get(); }), ErrorCode::kCancelled);
}

TEST(EngineTest, CancellingCloseOvertakesAFinishingOne) {
  auto engine = MakeEngine({}, Slow(milliseconds(5)));
  const auto state = engine->Submit(LongRequest({3}, 500), {});
  std::thread patient([&] { engine->Close(Generator::CloseMode::kFinish); });
  std::this_thread::sleep_for(milliseconds(20));
  engine->Close(Generator::CloseMode::kCancel);
  patient.join();
  EXPECT_EQ(CodeOf([&] { state->Get(); }), ErrorCode::kCancelled);
}

TEST(EngineTest, HandlesOutliveTheirGenerator) {
  auto generator = std::make_unique<Generator>(std::make_unique<PredictableBackend>(Slow()), GeneratorOptions{});
  RequestHandle handle = generator->Submit(LongRequest({3}, 400));
  generator.reset();
  EXPECT_EQ(CodeOf([&] { handle.Get(); }), ErrorCode::kCancelled);
  handle.Cancel();
  EXPECT_EQ(CodeOf([] { RequestHandle().Get(); }), ErrorCode::kInvalidArgument) << "a handle of no request";
}

// ------------------------------------------------------------------------------------------------- failing backends

TEST(EngineTest, BackendThatFailsLosesOnlyTheRequestsOfThatStep) {
  GeneratorOptions options = NoPrefixCache();
  options.max_batch = 2;
  auto engine = MakeEngine(options, FailingAt(BackendOp::kForward, 3));
  std::vector<Engine::StatePtr> states;
  for (TokenId i = 3; i < 9; ++i) states.push_back(engine->Submit(LongRequest({i}, 10), {}));
  std::string message;
  int lost = 0;
  for (std::size_t i = 0; i < states.size(); ++i) {
    const ErrorCode code = CodeOf([&] { states[i]->Get(); }, &message);
    if (code == static_cast<ErrorCode>(0)) continue;
    ++lost;
    EXPECT_EQ(code, ErrorCode::kBackend);
    EXPECT_THAT(message, HasSubstr("on fire"));
    EXPECT_THAT(message, HasSubstr("step of"));
  }
  EXPECT_GE(lost, 1);
  EXPECT_LE(lost, 2);
  EXPECT_EQ(engine->stats().cached_tokens, 0U);
  EXPECT_EQ(engine->stats().failed, static_cast<std::uint64_t>(lost));
}

TEST(EngineTest, BackendThatCannotOpenLosesOneRequest) {
  auto engine = MakeEngine(NoPrefixCache(), FailingAt(BackendOp::kOpen, 1));
  const auto first = engine->Submit(LongRequest({3}, 5), {});
  first->Get();
  EXPECT_EQ(CodeOf([&] { RunOne(engine.get(), LongRequest({4}, 5)); }), ErrorCode::kBackend);
  EXPECT_EQ(RunOne(engine.get(), LongRequest({5}, 5)).samples[0].token_ids.size(), 5U);
  EXPECT_EQ(engine->stats().cached_tokens, 0U);
}

TEST(EngineTest, BackendThatCannotOpenHalfOfARequestLeavesNothingOpen) {
  auto engine = MakeEngine(NoPrefixCache(), FailingAt(BackendOp::kOpen, 2));
  EXPECT_EQ(CodeOf([&] { RunOne(engine.get(), Drawn({4}, 5, 1, 4)); }), ErrorCode::kBackend);
  EXPECT_EQ(RunOne(engine.get(), Drawn({4}, 5, 1, 16)).samples.size(), 16U) << "all sixteen places are free";
}

TEST(EngineTest, BackendThatCannotForkThisTimeLosesOneRequest) {
  auto engine = MakeEngine(NoPrefixCache(), FailingAt(BackendOp::kReorder, 0));
  const auto other = engine->Submit(LongRequest({9}, 50), {});
  EXPECT_EQ(CodeOf([&] { RunOne(engine.get(), Drawn({4}, 5, 1, 4)); }), ErrorCode::kBackend);
  EXPECT_EQ(other->Get().samples[0].token_ids.size(), 50U);
  EXPECT_EQ(engine->stats().cached_tokens, 0U);
}

TEST(EngineTest, BackendThatIsFullBeforeTheSumIsMakesRequestsWaitNotFail) {
  // Counts by pages of 64, as a paged cache does: two requests fit, the scheduler thinks that ten do.
  class Paged : public PredictableBackend {
   public:
    using PredictableBackend::PredictableBackend;
    SeqId Open(std::size_t tokens) override {
      if (open_sequences() == 2) throw Error(ErrorCode::kCapacity, "all pages are taken");
      return PredictableBackend::Open(tokens);
    }
  };
  for (const bool prefix_cache : {false, true}) {
    GeneratorOptions options;
    options.prefix_cache = prefix_cache;
    Engine engine(std::make_unique<Paged>(Slow()), CheckedConfig(options));
    std::vector<Engine::StatePtr> states;
    for (TokenId i = 0; i < 12; ++i) states.push_back(engine.Submit(LongRequest(Counting(6, 4 * i), 5), {}));
    for (const auto& state : states) EXPECT_EQ(state->Get().samples[0].token_ids.size(), 5U);
  }
}

TEST(EngineTest, NaNLogitsLoseOneRequest) {
  class Broken : public PredictableBackend {
   public:
    using PredictableBackend::PredictableBackend;
    void Forward(Span<const Chunk> chunks, Span<float> logits) override {
      PredictableBackend::Forward(chunks, logits);
      float* row = logits.data();
      for (const Chunk& chunk : chunks) {
        if (chunk.tokens.size() == 2 && chunk.tokens[0] == 50) *row = std::numeric_limits<float>::quiet_NaN();
        row += chunk.logit_rows.size() * 97;
      }
    }
  };
  Engine engine(std::make_unique<Broken>(PredictableOptions{}), CheckedConfig(NoPrefixCache()));
  const auto good = engine.Submit(LongRequest({9}, 50), {});
  const auto bad = engine.Submit(LongRequest({50, 50}, 50), {});
  EXPECT_EQ(CodeOf([&] { bad->Get(); }), ErrorCode::kBackend);
  EXPECT_EQ(good->Get().samples[0].token_ids.size(), 50U);
}

// ------------------------------------------------------------------------------------------------------ prefix reuse

TEST(EngineTest, PromptThatBeginsLikeAFinishedOneSkipsThatPart) {
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

TEST(EngineTest, CachedTokensNeverExceedTheBound) {
  GeneratorOptions options;
  options.max_cached_tokens = 120;
  auto engine = MakeEngine(options);
  for (TokenId i = 0; i < 30; ++i) {
    RunOne(engine.get(), LongRequest(Counting(50, i), 10));
    EXPECT_LE(engine->stats().cached_tokens, 120U);
    EXPECT_EQ(engine->stats().cache_capacity, 120U);
  }
}

// --------------------------------------------------------------------------------------------------------- Generator

TEST(GeneratorTest, GeneratesListsLongerThanTheQueueInOrder) {
  GeneratorOptions options;
  options.max_queue = 3;
  options.max_batch = 2;
  Generator generator(std::make_unique<PredictableBackend>(PredictableOptions{}), options);
  std::vector<Request> requests;
  for (TokenId i = 3; i < 43; ++i) requests.push_back(GreedyRequest({i}, 20));
  const std::vector<Result> results = generator.Generate(requests);
  ASSERT_EQ(results.size(), 40U);
  for (std::size_t i = 0; i < 40; ++i) EXPECT_EQ(results[i].samples[0].token_ids, Greedy(requests[i].prompt, 20));
}

TEST(GeneratorTest, OneBadRequestOfAListCancelsTheOthers) {
  Generator generator(std::make_unique<PredictableBackend>(Slow()), {});
  std::vector<Request> requests(3, LongRequest({3}, 400));
  requests.push_back(GreedyRequest({}, 3));
  EXPECT_EQ(CodeOf([&] { generator.Generate(requests); }), ErrorCode::kInvalidArgument);
  for (int i = 0; i < 2000 && generator.stats().cancelled != 3; ++i) std::this_thread::sleep_for(milliseconds(1));
  EXPECT_EQ(generator.stats().cancelled, 3U);
}

TEST(GeneratorTest, OptionsAreCheckedAndFilledIn) {
  const auto open = [](const std::function<void(GeneratorOptions*)>& change, PredictableOptions backend = {}) {
    GeneratorOptions options;
    change(&options);
    return std::make_unique<Generator>(std::make_unique<PredictableBackend>(std::move(backend)), options);
  };
  std::string message;
  EXPECT_EQ(CodeOf([&] { open([](auto* o) { o->max_batch = 0; }); }, &message), ErrorCode::kInvalidArgument);
  EXPECT_THAT(message, HasSubstr("max_batch is 0"));
  EXPECT_EQ(CodeOf([&] { open([](auto* o) { o->max_length = 513; }); }, &message), ErrorCode::kInvalidArgument);
  EXPECT_THAT(message, HasSubstr("[2, 512]"));
  EXPECT_EQ(CodeOf([&] { open([](auto* o) { o->prefill_budget = 0; }); }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(CodeOf([&] { open([](auto* o) { o->max_queue = 0; }); }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(CodeOf([&] { open([](auto* o) { o->threads = -1; }); }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(CodeOf([&] { open([](auto* o) { o->affinity = {-1}; }); }, &message), ErrorCode::kInvalidArgument);
  EXPECT_THAT(message, HasSubstr("may run on"));
  EXPECT_EQ(CodeOf([&] { Generator(std::unique_ptr<Backend>(), {}); }), ErrorCode::kInvalidArgument);
  PredictableOptions small;
  small.traits.max_batch = 3;
  small.traits.max_cached_tokens = 700;
  const GeneratorOptions options = open([](auto*) {}, small)->options();
  EXPECT_EQ(options.max_length, 512U);
  EXPECT_EQ(options.max_batch, 3) << "what the backend can";
  EXPECT_EQ(options.max_cached_tokens, 700U);
  EXPECT_GE(options.threads, 1);
}

TEST(GeneratorTest, WithoutVocabularyThereIsNoText) {
  Generator generator(std::make_unique<PredictableBackend>(PredictableOptions{}), {});
  const std::vector<TokenId> ids{1, 2};
  EXPECT_EQ(CodeOf([&] { generator.Decode(Span<const TokenId>(ids)); }), ErrorCode::kUnsupported);
  EXPECT_EQ(generator.Generate({LongRequest({1}, 2)})[0].samples[0].text, "");
}

TEST(GeneratorTest, PathThatIsNoBundleIsNamed) {
  std::string message;
  EXPECT_EQ(CodeOf([] { Generator("no/such/bundle"); }, &message), ErrorCode::kNotFound);
  EXPECT_THAT(message, HasSubstr("no/such/bundle"));
}

}  // namespace
}  // namespace skywork_rt
