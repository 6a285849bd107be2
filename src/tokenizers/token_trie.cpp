#include "tokenizers/token_trie.h"

#include <fmt/format.h>

#include <algorithm>

#include "headscope/error.h"

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
  index_root();
}

TokenTrie TokenTrie::of_vocabulary(std::vector<std::pair<std::u32string, std::int32_t>> tokens,
                                   std::string_view where) {
  for (const auto& [token, id] : tokens) {
    if (token.size() > kMaxTokenLength) {
      throw Error(ErrorCode::kFormat,
                  fmt::format("[{}] expected tokens of at most {} characters, found one of {}",
                              where,
                              kMaxTokenLength,
                              token.size()));
    }
  }
  return TokenTrie(std::move(tokens));
}

void TokenTrie::index_root() {
  constexpr char32_t kIndexed = 0x10000;
  for (Node child = nodes_[root()].first_child; child < nodes_[root()].end_child; ++child) {
    const char32_t label = nodes_[child].label;
    if (label >= kIndexed) break;
    first_.resize(label + 1, kNone);
    first_[label] = child;
  }
}

std::optional<TokenTrie::Node> TokenTrie::walk(Node from, std::u32string_view prefix) const {
  Node at = from;
  for (const char32_t c : prefix) {
    at = step(at, c);
    if (at == kNone) return std::nullopt;
  }
  return at;
}

std::optional<TokenTrie::Match> TokenTrie::longest(Node from, std::u32string_view text) const {
  std::optional<Match> best;
  Node at = from;
  for (std::size_t i = 0; i < text.size(); ++i) {
    at = step(at, text[i]);
    if (at == kNone) break;
    if (nodes_[at].id >= 0) best = Match{nodes_[at].id, i + 1};
  }
  return best;
}

}  // namespace headscope::tokenizers
