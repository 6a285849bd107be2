#include "tokenizers/decoder.h"

#include <array>
#include <utility>

#include "tokenizers/kinds.h"

namespace headscope::tokenizers {
namespace {

using Made = std::unique_ptr<const Decoder>;

/// What English looks like when words are joined by spaces, and what it should: in this order.
constexpr std::array<std::pair<std::string_view, std::string_view>, 11> kCleanups{
    {{" .", "."},
     {" ?", "?"},
     {" !", "!"},
     {" ,", ","},
     {" ' ", "'"},
     {" n't", "n't"},
     {" 'm", "'m"},
     {" do not", " don't"},
     {" 's", "'s"},
     {" 've", "'ve"},
     {" 're", "'re"}}};

std::string replace_all(std::string text, std::string_view old, std::string_view fresh) {
  std::size_t at = text.find(old);
  if (at == text.npos) return text;
  std::string out;
  std::size_t done = 0;
  for (; at != text.npos; at = text.find(old, done)) {
    out.append(text, done, at - done).append(fresh);
    done = at + old.size();
  }
  return out.append(text, done);
}

/// Pieces that continue a word lose their prefix, others get a space before them. Cleaning looks at
/// one token at a time, as in Hugging Face tokenizers.
class WordPiece : public Decoder {
 public:
  WordPiece(const json::Value& part, std::string_view where)
      : prefix_(json::get_or<std::string>(part, "prefix", "##", where)),
        cleanup_(json::get_or<bool>(part, "cleanup", true, where)) {}

  [[nodiscard]] std::string decode(const std::vector<std::string_view>& tokens) const override {
    std::string out;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      std::string token(tokens[i]);
      if (i > 0 && token.starts_with(prefix_)) {
        token.erase(0, prefix_.size());
      } else if (i > 0) {
        token.insert(token.begin(), ' ');
      }
      if (cleanup_) {
        for (const auto& [old, fresh] : kCleanups)
          token = replace_all(std::move(token), old, fresh);
      }
      out += token;
    }
    return out;
  }

 private:
  std::string prefix_;
  bool cleanup_;
};

Made make_word_piece(const json::Value& part, std::string_view where) {
  return std::make_unique<const WordPiece>(part, where);
}

}  // namespace

Made make_decoder(const json::Value& part, std::string_view where) {
  using Make = Made (*)(const json::Value&, std::string_view);
  static constexpr std::array<Kind<Make>, 1> kinds{{{"WordPiece", &make_word_piece}}};
  const auto type = json::require<std::string>(part, "type", where);
  return find_kind(kinds, type, "decoder", where).make(part, where);
}

}  // namespace headscope::tokenizers
