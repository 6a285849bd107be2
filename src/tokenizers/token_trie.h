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

/// Finds the longest of many tokens that begins a text.
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

  [[nodiscard]] static constexpr Node root() { return 0; }
  [[nodiscard]] bool empty() const { return nodes_.size() == 1; }
  /// The node that `prefix` leads to, if any token begins with it.
  [[nodiscard]] std::optional<Node> walk(Node from, std::u32string_view prefix) const;
  [[nodiscard]] std::optional<Match> longest(Node from, std::u32string_view text) const;

 private:
  struct Entry {
    char32_t label = 0;
    std::int32_t id = -1;
    Node first_child = 0;
    Node end_child = 0;
  };
  [[nodiscard]] std::optional<Node> step(Node from, char32_t c) const;

  std::vector<Entry> nodes_;  ///< children of a node lie side by side, by label
};

}  // namespace headscope::tokenizers
