#pragma once

#include <cstddef>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "skywork_rt/model_spec.h"
#include "skywork_rt/span.h"

namespace skywork_rt {

struct Sequence;

/// Length of the longest common beginning.
std::size_t CommonPrefix(Span<const TokenId> a, Span<const TokenId> b);

/// Finds the open sequence that shares the longest beginning with a prompt, in time linear in the prompt: a radix tree
/// whose edges are blocks of tokens (Zheng et al. 2024, SGLang; with vLLM's blocks as its edges). Tokens are compared,
/// not hashes of them, and children lie in the order of their tokens, so that the one that shares the longest part of
/// a block is a neighbour of where the block would be. Beginnings with different salts never meet.
///
/// A sequence has one Mark, at the last block of it that the tree knows; whoever is below a block has it, too. Moving
/// and removing marks takes no memory.
class PrefixTree {
 public:
  struct Node;

  /// Where a sequence stands in the tree. Address-stable while it does, and removed before it is destroyed.
  struct Mark {
    Mark() = default;
    Mark(const Mark&) = delete;
    Mark& operator=(const Mark&) = delete;

    Sequence* sequence = nullptr;
    Node* node = nullptr;  // nullptr: nowhere
    Mark* previous = nullptr;
    Mark* next = nullptr;
  };

  struct Match {
    std::size_t length = 0;        // common tokens
    Sequence* sequence = nullptr;  // that begins with them; nullptr: none does
  };

  explicit PrefixTree(std::size_t block_tokens);
  ~PrefixTree();
  PrefixTree(const PrefixTree&) = delete;
  PrefixTree& operator=(const PrefixTree&) = delete;

  Match Find(const std::string& salt, Span<const TokenId> tokens) const;

  /// Stands `mark` at the beginning of everything. Throws std::bad_alloc; then it stands nowhere.
  void Begin(Mark* mark, Sequence* sequence, const std::string& salt);
  /// Moves `mark` to the last full block of `tokens`, all of its sequence that is certain, which only ever grows. A
  /// mark that stands nowhere stays there. Throws std::bad_alloc; then it stands at a block before.
  void Grow(Mark* mark, Span<const TokenId> tokens);
  /// As Grow, and the rest of `tokens`, shorter than a block, can be found too.
  void GrowWhole(Mark* mark, Span<const TokenId> tokens);
  /// Stands `mark` where `other` stands, or at the full block before.
  void Join(Mark* mark, Sequence* sequence, const Mark& other);
  /// Makes the sequence found by its first `blocks` full blocks only.
  void Cut(Mark* mark, std::size_t blocks);
  void Remove(Mark* mark);

  /// Tokens by which the sequence of `mark` is found.
  static std::size_t Length(const Mark& mark);
  /// Calls visit(sequence) for each sequence that `mark`'s own begins with, itself excepted; visit may Remove it.
  template <typename Visitor>
  static void VisitBeginnings(const Mark& mark, Visitor&& visit);
  /// Whether another sequence begins with all by which that of `mark` is found.
  static bool IsContained(const Mark& mark);

  bool empty() const { return roots_.empty(); }

  struct TokensLess {
    using is_transparent = void;
    template <typename A, typename B>
    bool operator()(const A& a, const B& b) const {
      return Less(Span<const TokenId>(a.data(), a.size()), Span<const TokenId>(b.data(), b.size()));
    }
    static bool Less(Span<const TokenId> a, Span<const TokenId> b);
  };
  using Children = std::map<std::vector<TokenId>, std::unique_ptr<Node>, TokensLess>;

  struct Node {
    Node* parent = nullptr;  // nullptr: a root
    Children::iterator self;
    std::size_t length = 0;  // tokens from the root on, its own included
    Children children;       // only below full blocks
    Mark* marks = nullptr;
    std::string salt;  // of a root
  };

 private:
  Node* Root(const std::string& salt);
  Node* Child(Node* node, Span<const TokenId> tokens);
  static void Enter(Mark* mark, Node* node);
  static void Unlink(Mark* mark);
  void Move(Mark* mark, Node* node);
  void Prune(Node* node);

  const std::size_t block_tokens_;
  std::map<std::string, Node> roots_;
};

template <typename Visitor>
void PrefixTree::VisitBeginnings(const Mark& mark, Visitor&& visit) {
  const auto visit_marks = [&](Node* node) {
    for (Mark* at = node->marks; at != nullptr;) {
      Mark* const next = at->next;
      if (at != &mark) visit(at->sequence);
      at = next;
    }
  };
  for (Node* node = mark.node; node != nullptr;) {
    // Removing the last mark of a node may take the node away, so where to go is read before; `mark` itself keeps its
    // own node and all above it.
    Node* const parent = node->parent;
    if (parent != nullptr) {
      // A beginning that ends inside of this block lies right before it, unless another block is in between.
      if (node->self != parent->children.begin()) {
        const auto& [shorter, beginning] = *std::prev(node->self);
        const std::size_t common = CommonPrefix(Span<const TokenId>(shorter), Span<const TokenId>(node->self->first));
        if (common == shorter.size()) visit_marks(beginning.get());
      }
    }
    visit_marks(node);
    node = parent;
  }
}

}  // namespace skywork_rt
