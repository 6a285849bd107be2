#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizers/flat_map.h"

namespace headscope::tokenizers {

/// A token as a file lists it.
struct TokenEntry {
  std::string_view token;
  std::int64_t id = 0;
  double score = 0;  ///< natural logarithm of a probability (Unigram), else unused
};

/// Tokens and their ids, both ways. Ids may have gaps: memory goes with the number of tokens.
class Vocabulary {
 public:
  struct Token {
    std::string_view text;
    std::int32_t id = 0;
  };

  Vocabulary() = default;
  /// Of equal tokens the last counts; the ids before it are read as the same text, and never given.
  /// Errors: kFormat (an id outside 0..2^31-1, two tokens with one id); kResources (over 4 GiB).
  Vocabulary(const std::vector<TokenEntry>& entries, std::string_view where);

  [[nodiscard]] std::size_t size() const { return tokens_.size() + older_.size(); }
  /// -1 when there is no such token.
  [[nodiscard]] std::int32_t id_of(std::string_view token) const;
  [[nodiscard]] std::optional<std::string_view> token_of(std::int32_t id) const;
  /// As id_of for many, and several times faster: what they need of memory is called up ahead.
  [[nodiscard]] std::vector<std::int32_t> ids_of(const std::vector<std::string_view>& tokens) const;

  /// Calls take(Token) for all tokens, in the order of the file; of equal ones for the last.
  template <typename Take>
  void each(Take take) const {
    for (const Stored& token : tokens_) take(Token{text_of(token), token.id});
  }

 private:
  struct Stored {
    std::uint32_t begin = 0, size = 0;  // in text_
    std::int32_t id = 0;
  };
  struct Slot {
    std::uint32_t hash = 0;
    std::uint32_t index = kNone;  // in tokens_
  };
  static constexpr std::uint32_t kNone = 0xFFFFFFFF;

  // All that have an id: tokens_, then older_.
  [[nodiscard]] const Stored& with_id(std::size_t i) const {
    return i < tokens_.size() ? tokens_[i] : older_[i - tokens_.size()];
  }
  [[nodiscard]] std::string_view text_of(const Stored& token) const {
    return std::string_view(text_).substr(token.begin, token.size);
  }
  [[nodiscard]] std::size_t place(std::string_view token, std::uint32_t hash) const;
  void prefetch(std::uint32_t hash) const {
    __builtin_prefetch(&slots_[hash & (slots_.size() - 1)]);
  }
  [[nodiscard]] std::int32_t id_at(std::size_t place) const {
    return slots_[place].index == kNone ? -1 : tokens_[slots_[place].index].id;
  }
  void insert(const TokenEntry& entry, std::uint32_t hash, std::string_view where);
  void index_ids(std::string_view where);

  std::string text_;  // all tokens one behind the other
  std::vector<Stored> tokens_;
  std::vector<Stored> older_;  // equal to one that came later
  std::vector<Slot> slots_;
  std::vector<std::uint32_t> dense_;              // index by id, when ids have few gaps
  FlatMap<std::uint32_t, std::uint32_t> sparse_;  // index by id, when they have many
};

}  // namespace headscope::tokenizers
