#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace headscope::tokenizers {

/// Longest tokens of vocabularies and added tokens, in code points. Published ones stay below 300;
/// a bound keeps matching linear in the text, whatever a file says.
inline constexpr std::size_t kMaxTokenLength = 1024;

/// Finds the tokens, of many, that begin a text.
/// Cost: a look-up is O(length of the match * log fan-out); memory O(code points of all tokens).
class TokenTrie {
 public:
  using Node = std::uint32_t;
  struct Match {
    std::int32_t id = -1;
    std::size_t length = 0;  ///< code points beyond the node the search began at
  };

  TokenTrie() : nodes_(1) {}
  /// Of equal tokens the first counts. Empty tokens match nothing.
  explicit TokenTrie(std::vector<std::pair<std::u32string, std::int32_t>> tokens);
  /// The tokens of a model. Errors: kFormat when one is longer than kMaxTokenLength.
  static TokenTrie of_vocabulary(std::vector<std::pair<std::u32string, std::int32_t>> tokens,
                                 std::string_view where);

  [[nodiscard]] static constexpr Node root() { return 0; }
  [[nodiscard]] bool empty() const { return nodes_.size() == 1; }
  /// Whether any token begins with `c`.
  [[nodiscard]] bool begins(char32_t c) const { return step(root(), c) != kNone; }
  /// The node that `prefix` leads to, if any token begins with it.
  [[nodiscard]] std::optional<Node> walk(Node from, std::u32string_view prefix) const;
  [[nodiscard]] std::optional<Match> longest(Node from, std::u32string_view text) const;

  /// Calls take(length, id) for each token that begins the text, the shortest first.
  template <typename Take>
  void each_prefix(std::u32string_view text, Take take) const {
    Node at = root();
    for (std::size_t i = 0; i < text.size(); ++i) {
      at = step(at, text[i]);
      if (at == kNone) return;
      if (nodes_[at].id >= 0) take(i + 1, nodes_[at].id);
    }
  }

 private:
  struct Entry {
    char32_t label = 0;
    std::int32_t id = -1;
    Node first_child = 0;
    Node end_child = 0;
  };
  static constexpr Node kNone = 0xFFFFFFFF;
  void index_root();

  [[nodiscard]] Node step(Node from, char32_t c) const {
    if (from == root() && c < first_.size()) return first_[c];
    Node begin = nodes_[from].first_child;
    Node end = nodes_[from].end_child;
    while (begin < end) {
      const Node middle = begin + (end - begin) / 2;
      if (nodes_[middle].label < c) {
        begin = middle + 1;
      } else {
        end = middle;
      }
    }
    return begin < nodes_[from].end_child && nodes_[begin].label == c ? begin : kNone;
  }

  std::vector<Entry> nodes_;  ///< children of a node lie side by side, by label
  std::vector<Node> first_;   ///< children of the root by their label, of the first plane
};

}  // namespace headscope::tokenizers
