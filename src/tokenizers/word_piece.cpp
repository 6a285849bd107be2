#include "tokenizers/word_piece.h"

#include <fmt/format.h>

#include <limits>
#include <optional>
#include <utility>

#include "headscope/error.h"
#include "tokenizers/token_trie.h"
#include "tokenizers/unicode.h"

namespace headscope::tokenizers {
namespace {

TokenTrie make_trie(const Vocabulary& vocabulary, std::string_view where) {
  std::vector<std::pair<std::u32string, std::int32_t>> tokens;
  tokens.reserve(vocabulary.size());
  vocabulary.each([&tokens](const Vocabulary::Token& token) {
    tokens.emplace_back(to_utf32(token.text), token.id);
  });
  return TokenTrie::of_vocabulary(std::move(tokens), where);
}

class WordPiece : public Model {
 public:
  WordPiece(const ModelParts& parts, std::string_view where)
      : vocabulary_(require_vocab(parts, false, where), where),
        trie_(make_trie(vocabulary_, where)),
        longest_word_(
            json::get_or<std::uint64_t>(parts.options, "max_input_chars_per_word", 100, where)) {
    const auto unknown = json::get_or<std::string>(parts.options, "unk_token", "[UNK]", where);
    unknown_id_ = vocabulary_.id_of(unknown);
    if (unknown_id_ < 0) {
      throw Error(ErrorCode::kFormat,
                  fmt::format("[{}] expected the unknown token \"{}\" in model.vocab, found {} "
                              "tokens without it",
                              where,
                              unknown,
                              vocabulary_.size()));
    }
    const auto prefix =
        json::get_or<std::string>(parts.options, "continuing_subword_prefix", "##", where);
    continuing_ = trie_.walk(TokenTrie::root(), to_utf32(prefix));
  }

  void tokenize(std::u32string_view word, std::vector<Piece>& out) const override {
    const std::size_t before = out.size();
    const bool known = word.size() <= longest_word_ && split(word, out);
    if (known) return;
    out.resize(before);
    out.push_back({unknown_id_, 0, static_cast<std::uint32_t>(word.size())});
  }

  [[nodiscard]] const Vocabulary& vocabulary() const override { return vocabulary_; }
  [[nodiscard]] std::int32_t unknown_id() const override { return unknown_id_; }

 private:
  bool split(std::u32string_view word, std::vector<Piece>& out) const {
    for (std::size_t at = 0; at < word.size();) {
      const auto node = at == 0 ? std::optional(TokenTrie::root()) : continuing_;
      const auto match = node ? trie_.longest(*node, word.substr(at)) : std::nullopt;
      if (!match) return false;
      out.push_back({match->id,
                     static_cast<std::uint32_t>(at),
                     static_cast<std::uint32_t>(at + match->length)});
      at += match->length;
    }
    return true;
  }

  Vocabulary vocabulary_;
  TokenTrie trie_;
  std::uint64_t longest_word_;
  std::int32_t unknown_id_ = -1;
  std::optional<TokenTrie::Node> continuing_;  // where tokens that continue a word begin
};

}  // namespace

std::unique_ptr<const Model> make_word_piece(const ModelParts& parts, std::string_view where) {
  return std::make_unique<const WordPiece>(parts, where);
}

}  // namespace headscope::tokenizers
