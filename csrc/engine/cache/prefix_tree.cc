#include "engine/cache/prefix_tree.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace skywork_rt {
namespace {

Span<const TokenId> Part(Span<const TokenId> tokens, std::size_t from, std::size_t most) {
  return {tokens.data() + from, std::min(most, tokens.size() - from)};
}

/// Some sequence that begins with all of a node: every leaf has a mark.
Sequence* AnyBelow(const PrefixTree::Node* node) {
  while (node->marks == nullptr) node = node->children.begin()->second.get();
  return node->marks->sequence;
}

}  // namespace

std::size_t CommonPrefix(Span<const TokenId> a, Span<const TokenId> b) {
  const std::size_t shorter = std::min(a.size(), b.size());
  return static_cast<std::size_t>(std::mismatch(a.begin(), a.begin() + shorter, b.begin()).first - a.begin());
}

bool PrefixTree::TokensLess::Less(Span<const TokenId> a, Span<const TokenId> b) {
  return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end());
}

PrefixTree::PrefixTree(std::size_t block_tokens) : block_tokens_(block_tokens) {}
PrefixTree::~PrefixTree() = default;

PrefixTree::Match PrefixTree::Find(const std::string& salt, Span<const TokenId> tokens) const {
  const auto root = roots_.find(salt);
  if (root == roots_.end()) return {};
  const Node* node = &root->second;
  Children::const_iterator child = node->children.end();
  while (node->length + block_tokens_ <= tokens.size()) {
    child = node->children.find(Part(tokens, node->length, block_tokens_));
    if (child == node->children.end()) break;
    node = child->second.get();
  }
  // The longest common part of a block is shared with one of the neighbours of its place.
  const Span<const TokenId> rest = Part(tokens, node->length, block_tokens_);
  Match best{node->length, nullptr};
  const auto consider = [&](Children::const_iterator candidate) {
    const std::size_t common = CommonPrefix(rest, Span<const TokenId>(candidate->first));
    if (node->length + common > best.length) best = {node->length + common, AnyBelow(candidate->second.get())};
  };
  const auto place = node->children.lower_bound(rest);
  if (place != node->children.end()) consider(place);
  if (place != node->children.begin()) consider(std::prev(place));
  if (best.sequence == nullptr && best.length != 0) best.sequence = AnyBelow(node);
  return best;
}

PrefixTree::Node* PrefixTree::Root(const std::string& salt) {
  const auto [root, is_new] = roots_.try_emplace(salt);
  if (is_new) {
    try {
      root->second.salt = salt;
    } catch (...) {
      roots_.erase(root);
      throw;
    }
  }
  return &root->second;
}

PrefixTree::Node* PrefixTree::Child(Node* node, Span<const TokenId> tokens) {
  const auto found = node->children.find(tokens);
  if (found != node->children.end()) return found->second.get();
  auto child = std::make_unique<Node>();
  child->parent = node;
  child->length = node->length + tokens.size();
  const auto place = node->children.emplace(std::vector<TokenId>(tokens.begin(), tokens.end()), std::move(child)).first;
  place->second->self = place;
  return place->second.get();
}

void PrefixTree::Begin(Mark* mark, Sequence* sequence, const std::string& salt) {
  Node* const root = Root(salt);
  mark->sequence = sequence;
  Enter(mark, root);
}

void PrefixTree::Grow(Mark* mark, Span<const TokenId> tokens) {
  if (mark->node == nullptr) return;
  Node* node = mark->node;
  if (node->length % block_tokens_ != 0) {
    if (tokens.size() < node->parent->length + block_tokens_) return;
    node = node->parent;
  }
  while (node->length + block_tokens_ <= tokens.size()) {
    node = Child(node, Part(tokens, node->length, block_tokens_));
    Move(mark, node);
  }
}

void PrefixTree::GrowWhole(Mark* mark, Span<const TokenId> tokens) {
  Grow(mark, tokens);
  if (mark->node == nullptr || mark->node->length >= tokens.size()) return;
  Node* const full = mark->node->length % block_tokens_ != 0 ? mark->node->parent : mark->node;
  Move(mark, Child(full, Part(tokens, full->length, block_tokens_)));
}

void PrefixTree::Join(Mark* mark, Sequence* sequence, const Mark& other) {
  Node* const node = other.node;
  mark->sequence = sequence;
  if (node == nullptr) return;
  Move(mark, node->length % block_tokens_ != 0 ? node->parent : node);
}

void PrefixTree::Cut(Mark* mark, std::size_t blocks) {
  Node* node = mark->node;
  while (node != nullptr && node->length > blocks * block_tokens_) node = node->parent;
  if (node != mark->node) Move(mark, node);
}

void PrefixTree::Remove(Mark* mark) {
  Node* const node = mark->node;
  if (node == nullptr) return;
  Unlink(mark);
  Prune(node);
}

std::size_t PrefixTree::Length(const Mark& mark) {
  return mark.node == nullptr ? 0 : mark.node->length;
}

bool PrefixTree::IsContained(const Mark& mark) {
  const Node* node = mark.node;
  return node != nullptr && (!node->children.empty() || node->marks->next != nullptr);
}

void PrefixTree::Enter(Mark* mark, Node* node) {
  mark->node = node;
  mark->previous = nullptr;
  mark->next = node->marks;
  if (node->marks != nullptr) node->marks->previous = mark;
  node->marks = mark;
}

void PrefixTree::Unlink(Mark* mark) {
  (mark->previous != nullptr ? mark->previous->next : mark->node->marks) = mark->next;
  if (mark->next != nullptr) mark->next->previous = mark->previous;
  mark->node = nullptr;
  mark->previous = nullptr;
  mark->next = nullptr;
}

void PrefixTree::Move(Mark* mark, Node* node) {
  Node* const before = mark->node;
  if (before != nullptr) Unlink(mark);
  Enter(mark, node);
  if (before != nullptr) Prune(before);
}

// Takes away what nobody has any more, from a leaf upwards.
void PrefixTree::Prune(Node* node) {
  while (node->marks == nullptr && node->children.empty()) {
    Node* const parent = node->parent;
    if (parent == nullptr) {
      roots_.erase(roots_.find(node->salt));
      return;
    }
    parent->children.erase(node->self);
    node = parent;
  }
}

}  // namespace skywork_rt
