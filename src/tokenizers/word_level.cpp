#include "tokenizers/word_level.h"

#include <fmt/format.h>

#include <string>

#include "headscope/error.h"
#include "tokenizers/unicode.h"

namespace headscope::tokenizers {
namespace {

class WordLevel : public Model {
 public:
  WordLevel(const ModelParts& parts, std::string_view where)
      : vocabulary_(require_vocab(parts, false, where), where),
        unknown_(vocabulary_.id_of(
            json::get_or<std::string>(parts.options, "unk_token", "<unk>", where))) {}

  void tokenize(std::u32string_view word, std::vector<Piece>& out) const override {
    const std::string text = to_utf8(word);
    std::int32_t id = vocabulary_.id_of(text);
    if (id < 0) id = unknown_;
    if (id < 0) {
      throw Error(ErrorCode::kInput,
                  fmt::format("[tokenizer] expected words of the vocabulary, which has no unknown "
                              "token, found {}",
                              json::quote(text)));
    }
    out.push_back({id, 0, static_cast<std::uint32_t>(word.size())});
  }

  [[nodiscard]] const Vocabulary& vocabulary() const override { return vocabulary_; }
  [[nodiscard]] std::int32_t unknown_id() const override { return unknown_; }

 private:
  Vocabulary vocabulary_;
  std::int32_t unknown_;
};

}  // namespace

std::unique_ptr<const Model> make_word_level(const ModelParts& parts, std::string_view where) {
  return std::make_unique<const WordLevel>(parts, where);
}

}  // namespace headscope::tokenizers
