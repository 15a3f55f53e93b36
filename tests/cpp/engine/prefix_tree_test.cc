#include "engine/cache/prefix_tree.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <random>
#include <set>
#include <string>

#include "engine/sequence.h"

namespace skywork_rt {
namespace {

constexpr std::size_t kBlock = 4;

class PrefixTreeTest : public ::testing::Test {
 protected:
  ~PrefixTreeTest() override {
    for (const auto& sequence : sequences_) tree_.Remove(&sequence->mark);
    EXPECT_TRUE(tree_.empty());
  }

  Sequence* Add(std::vector<TokenId> tokens, bool whole = true, const std::string& salt = "") {
    sequences_.push_back(std::make_unique<Sequence>());
    Sequence* const sequence = sequences_.back().get();
    sequence->seq = static_cast<SeqId>(sequences_.size());
    sequence->tokens = std::move(tokens);
    tree_.Begin(&sequence->mark, sequence, salt);
    const Span<const TokenId> all(sequence->tokens);
    whole ? tree_.GrowWhole(&sequence->mark, all) : tree_.Grow(&sequence->mark, all);
    return sequence;
  }

  void Drop(Sequence* sequence) {
    tree_.Remove(&sequence->mark);
    const auto same = [&](const auto& other) { return other.get() == sequence; };
    sequences_.erase(std::find_if(sequences_.begin(), sequences_.end(), same));
  }

  PrefixTree::Match Find(const std::vector<TokenId>& tokens, const std::string& salt = "") const {
    return tree_.Find(salt, Span<const TokenId>(tokens));
  }

  PrefixTree tree_{kBlock};
  std::vector<std::unique_ptr<Sequence>> sequences_;
};

TEST_F(PrefixTreeTest, FindsTheLongestBeginningToTheToken) {
  Sequence* const ten = Add({1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
  Sequence* const six = Add({1, 2, 3, 4, 5, 9});
  EXPECT_EQ(Find({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}).length, 10U);
  EXPECT_EQ(Find({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}).sequence, ten);
  EXPECT_EQ(Find({1, 2, 3, 4, 5, 6, 0}).length, 6U) << "within a block";
  EXPECT_EQ(Find({1, 2, 3, 4, 5, 9, 9, 9}).sequence, six);
  EXPECT_EQ(Find({1, 2, 3, 4, 5, 9, 9, 9}).length, 6U);
  EXPECT_EQ(Find({1, 2}).length, 2U);
  EXPECT_EQ(Find({2, 2}).sequence, nullptr);
  EXPECT_EQ(Find({}).length, 0U);
}

TEST_F(PrefixTreeTest, FindsOnlyFullBlocksOfWhatStillGrows) {
  Sequence* const sequence = Add({1, 2, 3, 4, 5, 6}, false);
  EXPECT_EQ(Find({1, 2, 3, 4, 5, 6}).length, 4U);
  sequence->tokens = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  tree_.Grow(&sequence->mark, Span<const TokenId>(sequence->tokens));
  EXPECT_EQ(Find({1, 2, 3, 4, 5, 6, 7, 8, 9}).length, 8U);
}

TEST_F(PrefixTreeTest, AnEndWithinABlockGrowsOn) {
  Sequence* const sequence = Add({1, 2, 3, 4, 5, 6});
  sequence->tokens = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  tree_.Grow(&sequence->mark, Span<const TokenId>(sequence->tokens.data(), 7));
  EXPECT_EQ(Find({1, 2, 3, 4, 5, 6, 7}).length, 6U);
  tree_.Grow(&sequence->mark, Span<const TokenId>(sequence->tokens));
  EXPECT_EQ(Find({1, 2, 3, 4, 5, 6, 7, 8, 9}).length, 8U);
  EXPECT_EQ(PrefixTree::Length(sequence->mark), 8U);
}

TEST_F(PrefixTreeTest, SaltsDoNotMeet) {
  Sequence* const ours = Add({1, 2, 3, 4, 5}, true, "ours");
  EXPECT_EQ(Find({1, 2, 3, 4, 5}).sequence, nullptr);
  EXPECT_EQ(Find({1, 2, 3, 4, 5}, "theirs").sequence, nullptr);
  EXPECT_EQ(Find({1, 2, 3, 4, 5}, "ours").sequence, ours);
}

TEST_F(PrefixTreeTest, CutSequencesAreFoundByWhatIsLeft) {
  Sequence* const sequence = Add({1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
  tree_.Cut(&sequence->mark, 1);
  EXPECT_EQ(Find({1, 2, 3, 4, 5, 6, 7, 8}).length, 4U);
  Drop(sequence);
  EXPECT_EQ(Find({1, 2, 3, 4}).sequence, nullptr);
}

TEST_F(PrefixTreeTest, KnowsWhatASequenceBeginsWithAndWhatContainsIt) {
  Sequence* const four = Add({1, 2, 3, 4});
  Sequence* const six = Add({1, 2, 3, 4, 5, 6});
  Sequence* const other = Add({1, 2, 3, 4, 6, 6});
  Sequence* const ten = Add({1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
  std::set<const Sequence*> visited;
  PrefixTree::VisitBeginnings(ten->mark, [&](const Sequence* sequence) { visited.insert(sequence); });
  EXPECT_EQ(visited, (std::set<const Sequence*>{four, six}));
  EXPECT_TRUE(PrefixTree::IsContained(four->mark));
  EXPECT_FALSE(PrefixTree::IsContained(ten->mark));
  EXPECT_FALSE(PrefixTree::IsContained(other->mark));
  PrefixTree::VisitBeginnings(ten->mark, [&](Sequence* sequence) { tree_.Remove(&sequence->mark); });
  EXPECT_EQ(Find({1, 2, 3, 4, 5, 6}).sequence, ten);
}

TEST_F(PrefixTreeTest, AgreesWithComparingEverySequence) {
  std::mt19937 random(3);
  const auto tokens = [&] {
    std::vector<TokenId> list(1 + random() % 14);
    for (TokenId& token : list) token = static_cast<TokenId>(random() % 2);
    return list;
  };
  for (int i = 0; i < 5000; ++i) {
    if (random() % 3 != 0 || sequences_.empty()) {
      Add(tokens());
    } else {
      Drop(sequences_[random() % sequences_.size()].get());
    }
    if (sequences_.size() > 40) Drop(sequences_.front().get());
    const std::vector<TokenId> prompt = tokens();
    std::size_t best = 0;
    for (const auto& sequence : sequences_) {
      best = std::max(best, CommonPrefix(Span<const TokenId>(sequence->tokens), Span<const TokenId>(prompt)));
    }
    const PrefixTree::Match match = Find(prompt);
    ASSERT_EQ(match.length, best);
    if (best == 0) continue;
    ASSERT_EQ(CommonPrefix(Span<const TokenId>(match.sequence->tokens), Span<const TokenId>(prompt)), best);
  }
}

}  // namespace
}  // namespace skywork_rt
