#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "formats/json.h"
#include "tokenizers/aligned_text.h"
#include "tokenizers/flat_map.h"
#include "tokenizers/normalizer.h"
#include "tokenizers/token_trie.h"
#include "tokenizers/vocabulary.h"

namespace headscope::tokenizers {

/// A stretch of text: an added token, or what stands between two of them (id -1).
struct Segment {
  Span span;
  std::int32_t id = -1;
};

/// The tokens that a file adds to its vocabulary. They are found before anything else happens to a
/// text (or, those with `normalized`, right behind the normaliser) and never split.
class AddedTokens {
 public:
  AddedTokens() = default;
  /// A token that the vocabulary has keeps its id there; others get the next free ids, in order,
  /// as in Hugging Face tokenizers (their "id" in the file is not believed).
  /// Errors: kFormat, kUnsupported (a token longer than kMaxTokenLength).
  AddedTokens(const json::Value& list,
              const Vocabulary& vocabulary,
              const Normalizer* normalizer,
              std::string_view where);

  /// Splits a text as given at the tokens that match it as given.
  [[nodiscard]] std::vector<Segment> split_raw(const AlignedText& text) const;
  /// Splits a normalised text at the tokens whose normalised form it holds.
  [[nodiscard]] std::vector<Segment> split_normalized(const AlignedText& text) const;

  /// How many of them the vocabulary does not have.
  [[nodiscard]] std::size_t beyond_vocabulary() const { return beyond_; }
  /// -1 when there is no such token.
  [[nodiscard]] std::int32_t id_of(std::string_view token) const;
  /// nullptr when there is no such id.
  [[nodiscard]] const std::string* token_of(std::int32_t id) const;
  [[nodiscard]] bool is_special(std::int32_t id) const {
    return special_ids_.find(static_cast<std::uint32_t>(id)) != nullptr;
  }
  /// What the decoder sees of a token: its normalised form where that is what texts are searched
  /// for. nullptr when there is no such id.
  [[nodiscard]] const std::string* form_of(std::int32_t id) const;
  /// Whether what the decoder would see is a special token, to be left out on request.
  [[nodiscard]] bool is_special_form(std::string_view form) const {
    return specials_.contains(form);
  }

 private:
  struct Token {
    std::string content;
    std::string form;
    bool single_word = false, lstrip = false, rstrip = false, normalized = false, special = false;
  };
  static Token read(const json::Value& entry, std::string_view where);
  [[nodiscard]] std::vector<Segment> split(const AlignedText& text, const TokenTrie& trie) const;

  std::unordered_map<std::int32_t, Token> tokens_;
  std::unordered_map<std::string, std::int32_t> ids_;
  std::set<std::string, std::less<>> specials_;
  FlatMap<std::uint32_t, bool> special_ids_;
  std::size_t beyond_ = 0;
  TokenTrie raw_, normalized_;
};

}  // namespace headscope::tokenizers
