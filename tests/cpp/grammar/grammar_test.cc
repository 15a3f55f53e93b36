// What is around the library of grammars: threads, waiting, forks, ends, bounds. The library is pretended.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <optional>
#include <thread>

#include "engine/engine_fixture.h"
#include "grammar/grammar_compiler.h"
#include "grammar/pretend_library.h"
#include "grammar/token_table.h"
#include "text/vocabulary_file.h"

namespace skywork_rt {
namespace {

using grammar::Bounds;
using grammar::GrammarCompiler;
using grammar::TokenTable;
using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::PretendLibrary;
using testing::VocabularyFile;

constexpr int kVocabulary = 97;  // the predictable backend's: id i is the byte i

ModelSpec Model() {
  return PredictableBackend(PredictableOptions{}).model();
}

TokenId Eos() {
  return PredictableOptions().eos_ids[0];
}

std::string TextOf(const Result& result, int sample = 0) {
  std::string text;
  for (const TokenId id : result.samples[static_cast<std::size_t>(sample)].token_ids)
    text.push_back(static_cast<char>(id));
  return text;
}

/// The Error of a call. Its text is looked at when the engine is gone: until then the engine's thread may still hold
/// the same text, whose counting of owners ThreadSanitizer does not see.
template <typename Call>
std::optional<Error> ErrorOf(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  return std::nullopt;
}

class GrammarTest : public ::testing::Test {
 protected:
  ~GrammarTest() override {
    PretendLibrary::Open();
    compiler_.reset();
    // A thread may still be about to let go of its last job.
    for (int i = 0; i < 1000 && PretendLibrary::Alive() != 0; ++i) std::this_thread::sleep_for(milliseconds(1));
    EXPECT_EQ(PretendLibrary::Alive(), 0) << "everything is given back";
  }

  GrammarCompiler& compiler(const Bounds& bounds = {}) {
    if (compiler_ == nullptr) {
      compiler_ = std::make_unique<GrammarCompiler>(library_.functions(), ByteVocabulary(kVocabulary), Model(), bounds);
    }
    return *compiler_;
  }

  Request Constrained(Request request, const std::string& type, const std::string& text) {
    request.mask = compiler().Mask(type, text, &request.sampling, Span<const TokenId>(request.prompt));
    return request;
  }

  PretendLibrary library_;
  std::unique_ptr<GrammarCompiler> compiler_;
};

TEST_F(GrammarTest, TheOutputIsTheGrammarsAndEndsWithIt) {
  const auto engine = TextEngine();
  const Result result = engine->Submit(Constrained(GreedyRequest(Counting(5), 40), "text", "HELLO THERE"), {})->Get();
  EXPECT_EQ(result.samples[0].text, "HELLO THERE");
  EXPECT_EQ(result.samples[0].finish_reason, FinishReason::kStop);
  EXPECT_EQ(result.samples[0].token_ids.back(), Eos());
}

TEST_F(GrammarTest, ManySamplesOfManyRequestsFollowTheirOwn) {
  const auto engine = TextEngine();
  std::vector<Engine::StatePtr> handles;
  std::vector<std::string> texts;
  for (int i = 0; i < 12; ++i) {
    texts.push_back(std::string(static_cast<std::size_t>(i % 5 + 1), static_cast<char>('A' + i)));
    Request request = Constrained(Drawn(Counting(5), 30, 7, 3), "text", texts.back());
    handles.push_back(engine->Submit(std::move(request), {}));
  }
  for (std::size_t i = 0; i < handles.size(); ++i) {
    const Result result = handles[i]->Get();
    for (int sample = 0; sample < 3; ++sample) {
      EXPECT_EQ(TextOf(result, sample), texts[i] + static_cast<char>(Eos()));
    }
  }
}

TEST_F(GrammarTest, OneThatIsCompiledLateHoldsNobodyUp) {
  PretendLibrary::Shut();
  const auto engine = TextEngine();
  auto waits = engine->Submit(Constrained(GreedyRequest(Counting(5), 40), "gated", "ABC"), {});
  EXPECT_EQ(engine->Submit(LongRequest(Counting(6), 30), {})->Get().samples[0].token_ids.size(), 30u);
  EXPECT_FALSE(waits->WaitFor(milliseconds(20)));
  EXPECT_FALSE(compiler().IsCompiled("gated", "ABC"));
  PretendLibrary::Open();
  EXPECT_EQ(waits->Get().samples[0].text, "ABC");
  EXPECT_TRUE(compiler().IsCompiled("gated", "ABC"));
  EXPECT_GE(compiler().stats().waits, 1u);
}

TEST_F(GrammarTest, AMaskThatIsLateHoldsNobodyUp) {
  PretendLibrary::Shut();
  const auto engine = TextEngine();
  auto waits = engine->Submit(Constrained(GreedyRequest(Counting(5), 40), "stuck", "ABC"), {});
  EXPECT_EQ(engine->Submit(LongRequest(Counting(6), 30), {})->Get().samples[0].token_ids.size(), 30u);
  EXPECT_FALSE(waits->WaitFor(milliseconds(20)));
  PretendLibrary::Open();
  EXPECT_EQ(waits->Get().samples[0].text, "ABC");
}

TEST_F(GrammarTest, AWrongOneEndsItsRequestOnlyAndIsRememberedAsWrong) {
  auto engine = TextEngine();
  const auto other = engine->Submit(LongRequest(Counting(5), 30), {});
  std::vector<std::optional<Error>> errors;
  for (int i = 0; i < 3; ++i) {
    errors.push_back(ErrorOf([&] {
      engine->Submit(Constrained(GreedyRequest(Counting(5), 40), "wrong", "at 1(8): unknown name"), {})->Get();
    }));
  }
  EXPECT_EQ(other->Get().samples[0].token_ids.size(), 30u);
  engine.reset();
  EXPECT_EQ(PretendLibrary::Compiled(), 1);
  for (const std::optional<Error>& error : errors) {
    ASSERT_TRUE(error.has_value());
    EXPECT_EQ(error->code(), ErrorCode::kInvalidArgument);
    EXPECT_THAT(error->what(), HasSubstr("the grammar (wrong) is wrong or not supported: at 1(8): unknown name"));
  }
}

TEST_F(GrammarTest, ADeadEndIsAnErrorOfItsRequest) {
  auto engine = TextEngine();
  const auto error =
      ErrorOf([&] { engine->Submit(Constrained(GreedyRequest(Counting(5), 40), "text", "AB~"), {})->Get(); });
  engine.reset();
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(error->what(), HasSubstr("at a dead end after 2 tokens"));
}

TEST_F(GrammarTest, WhatTakesTooLongIsGivenUp) {
  Bounds bounds;
  bounds.longest_job = milliseconds(20);
  compiler(bounds);
  PretendLibrary::Shut();
  auto engine = TextEngine();
  std::vector<std::optional<Error>> errors;
  for (const char* type : {"gated", "stuck"}) {
    errors.push_back(
        ErrorOf([&] { engine->Submit(Constrained(GreedyRequest(Counting(5), 40), type, "ABC"), {})->Get(); }));
  }
  // Both threads are stuck, and others have come in their places.
  EXPECT_EQ(engine->Submit(Constrained(GreedyRequest(Counting(5), 40), "text", "OK"), {})->Get().samples[0].text, "OK");
  engine.reset();
  for (const std::optional<Error>& error : errors) {
    ASSERT_TRUE(error.has_value());
    EXPECT_EQ(error->code(), ErrorCode::kInvalidArgument);
    EXPECT_THAT(error->what(), HasSubstr("takes longer than 20 ms, and is given up"));
  }
}

TEST_F(GrammarTest, WhatWasGivenUpIsThereForOthersWhenItEndsAfterAll) {
  Bounds bounds;
  bounds.longest_job = milliseconds(20);
  compiler(bounds);
  PretendLibrary::Shut();
  const auto engine = TextEngine();
  const auto answer = [&] {
    return engine->Submit(Constrained(GreedyRequest(Counting(5), 40), "gated", "ABC"), {})->Get().samples[0].text;
  };
  EXPECT_EQ(CodeOf(answer), ErrorCode::kInvalidArgument);
  EXPECT_EQ(CodeOf(answer), ErrorCode::kInvalidArgument) << "and takes no other thread";
  PretendLibrary::Open();
  std::string text;
  for (int i = 0; i < 1000 && CodeOf([&] { text = answer(); }) != ErrorCode{}; ++i) {
    std::this_thread::sleep_for(milliseconds(1));
  }
  EXPECT_EQ(text, "ABC");
  EXPECT_EQ(compiler().stats().compiled, 1u);
}

TEST_F(GrammarTest, WhenEveryThreadIsStuckOthersAreTold) {
  Bounds bounds;
  bounds.longest_job = milliseconds(5);
  bounds.threads = 1;
  compiler(bounds);
  PretendLibrary::Shut();
  const auto engine = TextEngine();
  ErrorCode last = ErrorCode::kInvalidArgument;
  for (int i = 0; i < 12 && last == ErrorCode::kInvalidArgument; ++i) {
    const std::string text(static_cast<std::size_t>(i + 1), 'A');
    last = CodeOf([&] { engine->Submit(Constrained(GreedyRequest(Counting(5), 40), "gated", text), {})->Get(); });
  }
  EXPECT_EQ(last, ErrorCode::kBusy);
  EXPECT_EQ(engine->Submit(LongRequest(Counting(5), 9), {})->Get().samples[0].token_ids.size(), 9u);
}

TEST_F(GrammarTest, AMaskDoesNotWaitForWhatIsCompiled) {
  Bounds bounds;
  bounds.threads = 1;
  compiler(bounds);
  const auto engine = TextEngine();
  engine->Submit(Constrained(GreedyRequest(Counting(5), 40), "text", "ABC"), {})->Get();
  PretendLibrary::Shut();
  auto waits = engine->Submit(Constrained(GreedyRequest(Counting(5), 40), "gated", "ABC"), {});
  EXPECT_EQ(engine->Submit(Constrained(GreedyRequest(Counting(5), 40), "text", "ABC"), {})->Get().samples[0].text,
            "ABC");
  EXPECT_FALSE(waits->WaitFor(milliseconds(0)));
  PretendLibrary::Open();
  EXPECT_EQ(waits->Get().samples[0].text, "ABC");
}

TEST_F(GrammarTest, WhatWaitsToBeCompiledIsCompiledOnceHoweverManyWait) {
  Bounds bounds;
  bounds.kept = 2;
  bounds.most_pending = 9;
  compiler(bounds);
  PretendLibrary::Shut();
  std::vector<std::string> waiting;
  for (char letter = 'A'; letter < 'J'; ++letter) waiting.emplace_back(1, letter);
  for (int round = 0; round < 3; ++round) {
    for (const std::string& text : waiting) EXPECT_FALSE(compiler().IsCompiled("gated", text));
  }
  std::string message;
  EXPECT_EQ(CodeOf([&] { compiler().IsCompiled("gated", "Z"); }, &message), ErrorCode::kBusy);
  EXPECT_THAT(message, HasSubstr("9 grammars wait to be compiled"));
  PretendLibrary::Open();
  for (const std::string& text : waiting) {
    while (!compiler().IsCompiled("gated", text)) std::this_thread::yield();
  }
  EXPECT_EQ(PretendLibrary::Compiled(), 9);
  compiler().IsCompiled("gated", "Z");
  EXPECT_TRUE(compiler().IsCompiled("gated", "I")) << "the one that was asked for last is kept";
}

TEST_F(GrammarTest, WhatNobodyWaitsForAnyMoreIsNotCompiled) {
  Bounds bounds;
  bounds.threads = 1;
  compiler(bounds);
  PretendLibrary::Shut();
  for (const char* text : {"A", "B", "C", "D"}) compiler().IsCompiled("gated", text);
  compiler_.reset();
  PretendLibrary::Open();
  for (int i = 0; i < 1000 && PretendLibrary::Alive() != 0; ++i) std::this_thread::sleep_for(milliseconds(1));
  EXPECT_LE(PretendLibrary::Compiled(), 1);
}

TEST_F(GrammarTest, RequestsMayBeCancelledWhileTheirMasksAreMade) {
  const auto engine = TextEngine();
  PretendLibrary::Shut();
  auto compiling = engine->Submit(Constrained(GreedyRequest(Counting(5), 40), "gated", "ABC"), {});
  auto filling = engine->Submit(Constrained(GreedyRequest(Counting(5), 40), "stuck", "ABC"), {});
  Update update;
  while (!filling->NextFor(&update, milliseconds(50)).has_value()) {
  }
  compiling->Cancel();
  filling->Cancel();
  EXPECT_EQ(CodeOf([&] { compiling->Get(); }), ErrorCode::kCancelled);
  EXPECT_EQ(CodeOf([&] { filling->Get(); }), ErrorCode::kCancelled);
}

TEST_F(GrammarTest, ADeadlineEndsOneThatWaitsForItsGrammar) {
  const auto engine = TextEngine();
  PretendLibrary::Shut();
  Request request = Constrained(GreedyRequest(Counting(5), 40), "gated", "ABC");
  request.deadline = milliseconds(20);
  EXPECT_EQ(CodeOf([&] { engine->Submit(std::move(request), {})->Get(); }), ErrorCode::kDeadlineExceeded);
}

TEST_F(GrammarTest, EnginesMayCloseAndCompilersGoWhileMasksAreMade) {
  for (int round = 0; round < 20; ++round) {
    PretendLibrary::Shut();
    auto engine = TextEngine();
    for (int i = 0; i < 4; ++i) {
      const std::string text = "ABC" + std::string(static_cast<std::size_t>(i), 'D');
      engine->Submit(Constrained(GreedyRequest(Counting(5), 40), i % 2 == 0 ? "gated" : "stuck", text), {});
    }
    if (round % 3 == 0) compiler_.reset();
    std::thread opener([] { PretendLibrary::Open(); });
    engine.reset();
    compiler_.reset();
    opener.join();
  }
}

TEST_F(GrammarTest, ManyThreadsMayAskForTheSame) {
  const auto engine = TextEngine();
  compiler();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 8; ++i) {
        const std::string text(static_cast<std::size_t>(i % 3 + 2), static_cast<char>('A' + (t + i) % 2));
        EXPECT_EQ(engine->Submit(Constrained(GreedyRequest(Counting(5), 40), "text", text), {})->Get().samples[0].text,
                  text);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(compiler().stats().compiled, 6u);
  EXPECT_EQ(compiler().stats().reused, 32u - 6u);
}

TEST_F(GrammarTest, TheLeastRecentlyUsedOneIsDropped) {
  Bounds bounds;
  bounds.kept = 2;
  compiler(bounds);
  const auto engine = TextEngine();
  for (const char* text : {"A", "B", "A", "C", "A", "B"}) {
    engine->Submit(Constrained(GreedyRequest(Counting(5), 40), "text", text), {})->Get();
  }
  EXPECT_EQ(PretendLibrary::Compiled(), 4) << "A, B, C, and B again";
}

TEST_F(GrammarTest, LongGrammarsAreKeptInSmallerNumber) {
  Bounds bounds;
  bounds.kept_text = 40;
  compiler(bounds);
  const auto engine = TextEngine();
  for (const char* text : {"A", "B", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "C", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "A"}) {
    engine->Submit(Constrained(GreedyRequest(Counting(5), 40), "text", text), {})->Get();
  }
  EXPECT_EQ(PretendLibrary::Compiled(), 5) << "A, B, the long one, C, and A again";
}

TEST_F(GrammarTest, IgnoredEosIdsEndNothingButACompleteOutput) {
  const auto engine = TextEngine();
  Request goes_on = LongRequest(Counting(5), 40);
  goes_on.sampling.logit_bias.emplace_back(Eos(), 100.0f);
  EXPECT_EQ(engine->Submit(Constrained(goes_on, "text", "AB|CD"), {})->Get().samples[0].text, "ABCD");
  goes_on.sampling.ignore_eos = false;
  EXPECT_EQ(engine->Submit(Constrained(goes_on, "text", "AB|CD"), {})->Get().samples[0].text, "AB");
  goes_on.sampling.min_tokens = 3;
  EXPECT_EQ(engine->Submit(Constrained(goes_on, "text", "AB|CD"), {})->Get().samples[0].text, "ABCD");
  goes_on.sampling.min_tokens = 30;
  const Result complete = engine->Submit(Constrained(goes_on, "text", "AB"), {})->Get();
  EXPECT_EQ(complete.samples[0].text, "AB");
  EXPECT_EQ(complete.samples[0].finish_reason, FinishReason::kStop);
}

TEST_F(GrammarTest, AModelWithoutAnEosIdNeedsAStopId) {
  ModelSpec model = Model();
  model.eos_ids.clear();
  compiler_ = std::make_unique<GrammarCompiler>(library_.functions(), ByteVocabulary(kVocabulary), model);
  SamplingParams params;
  const auto mask = [&] { compiler().Mask("text", "A", &params, {}); };
  std::string message;
  EXPECT_EQ(CodeOf(mask, &message), ErrorCode::kInvalidArgument);
  EXPECT_THAT(message, HasSubstr("give stop_token_ids"));
  params.stop_token_ids = {5};
  EXPECT_EQ(CodeOf(mask), static_cast<ErrorCode>(0));
}

TEST_F(GrammarTest, AForkGoesOnFromWhereItWasMade) {
  SamplingParams params;
  const auto mask = compiler().Mask("text", "ABCD", &params, {})->Fork();
  const auto next = [](LogitsMask* of) {
    while (!of->Ready([] {})) std::this_thread::yield();
    const Span<const std::uint32_t> bits = of->Allowed();
    for (TokenId id = 0; id < kVocabulary; ++id) {
      if ((bits[static_cast<std::size_t>(id) / 32] >> (id % 32) & 1U) != 0) return static_cast<char>(id);
    }
    return '?';
  };
  EXPECT_EQ(next(mask.get()), 'A');
  mask->Accept('A');
  const auto early = mask->Fork();  // before its mask is there
  EXPECT_EQ(next(mask.get()), 'B');
  mask->Accept('B');
  const auto late = mask->Fork();
  EXPECT_EQ(next(mask.get()), 'C');
  EXPECT_EQ(next(early.get()), 'B');
  EXPECT_EQ(next(late.get()), 'C');
}

TEST(TokenTable, RowsBeyondTheVocabularyAndUnusedIdsStandForNothing) {
  VocabularyFile file;
  file.entries = {{"a"}, {"<eos>", VocabularyFile::kSpecial}, {"b", VocabularyFile::kUnused}, {"\xFF"}, {"\xE4"}};
  const TokenTable table(file.Parse(), 8);
  EXPECT_EQ(table.rows(), 8u);
  EXPECT_EQ(table.size(), 9u);
  EXPECT_EQ(table.end(), 8);
  EXPECT_THAT(std::vector<std::uint32_t>(table.lengths().begin(), table.lengths().begin() + 8),
              ElementsAre(1u, 6u, 0u, 0u, 1u, 0u, 0u, 0u));
  EXPECT_EQ(std::string(table.bytes().begin() + 1, table.bytes().begin() + 7), "\xFF<eos>");
  EXPECT_TRUE(table.twins().empty());
}

TEST(TokenTable, PiecesThatBeginWithASpaceHaveATwinWithoutWhereTextsLoseIt) {
  VocabularyFile file;
  file.kind = static_cast<std::uint32_t>(Vocabulary::Kind::kSentencePiece);
  file.flags = 1;  // the first text of a decode loses one leading space
  file.entries = {{" the"}, {" "}, {"the"}, {"<s>", VocabularyFile::kSpecial}, {"\x20", VocabularyFile::kByte}};
  const TokenTable table(file.Parse(), 5);
  ASSERT_EQ(table.twins().size(), 2u);
  EXPECT_EQ(table.twins()[0].id, 0);
  EXPECT_EQ(table.twins()[0].stripped, 5);
  EXPECT_EQ(table.lengths()[5], 3u);
  EXPECT_EQ(table.twins()[1].stripped, -1) << "nothing is left of a lone space";
  EXPECT_EQ(table.AtStart(0), 5);
  EXPECT_EQ(table.AtStart(2), 2);
  EXPECT_EQ(table.size(), 7u);
}

TEST(Llguidance, ALibraryThatIsNotThereIsNamed) {
  std::string message;
  EXPECT_EQ(CodeOf([] { grammar::LoadLlguidance("/nowhere/_lib.so"); }, &message), ErrorCode::kUnsupported);
  EXPECT_THAT(message, HasSubstr("skywork-rt[grammar]"));
  EXPECT_EQ(CodeOf([] { grammar::LoadLlguidance("libm.so.6"); }, &message), ErrorCode::kUnsupported);
  EXPECT_THAT(message, HasSubstr("has no function llg_get_version"));
}

}  // namespace
}  // namespace skywork_rt
