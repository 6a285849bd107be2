#include "tokenizers/token_trie.h"

#include <algorithm>

namespace headscope::tokenizers {

TokenTrie::TokenTrie(std::vector<std::pair<std::u32string, std::int32_t>> tokens) : nodes_(1) {
  std::stable_sort(
      tokens.begin(), tokens.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  struct Group {  // the tokens below a node: they share its path
    Node node;
    std::size_t begin, end;
  };
  std::vector<Group> level{{root(), 0, tokens.size()}};
  for (std::size_t depth = 0; !level.empty(); ++depth) {
    std::vector<Group> next;
    for (const Group& group : level) {
      std::size_t i = group.begin;
      while (i < group.end && tokens[i].first.size() == depth) {
        std::int32_t& id = nodes_[group.node].id;
        if (depth > 0 && id < 0) id = tokens[i].second;
        ++i;
      }
      nodes_[group.node].first_child = static_cast<Node>(nodes_.size());
      while (i < group.end) {
        const char32_t label = tokens[i].first[depth];
        const std::size_t begin = i;
        while (i < group.end && tokens[i].first[depth] == label) ++i;
        next.push_back({static_cast<Node>(nodes_.size()), begin, i});
        nodes_.push_back({label, -1, 0, 0});
      }
      nodes_[group.node].end_child = static_cast<Node>(nodes_.size());
    }
    level = std::move(next);
  }
}

std::optional<TokenTrie::Node> TokenTrie::step(Node from, char32_t c) const {
  const auto begin = nodes_.begin() + nodes_[from].first_child;
  const auto end = nodes_.begin() + nodes_[from].end_child;
  const auto found = std::lower_bound(
      begin, end, c, [](const Entry& entry, char32_t label) { return entry.label < label; });
  if (found == end || found->label != c) return std::nullopt;
  return static_cast<Node>(found - nodes_.begin());
}

std::optional<TokenTrie::Node> TokenTrie::walk(Node from, std::u32string_view prefix) const {
  std::optional<Node> at = from;
  for (const char32_t c : prefix) {
    if (at) at = step(*at, c);
  }
  return at;
}

std::optional<TokenTrie::Match> TokenTrie::longest(Node from, std::u32string_view text) const {
  std::optional<Match> best;
  Node at = from;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const std::optional<Node> next = step(at, text[i]);
    if (!next) break;
    at = *next;
    if (nodes_[at].id >= 0) best = Match{nodes_[at].id, i + 1};
  }
  return best;
}

}  // namespace headscope::tokenizers
