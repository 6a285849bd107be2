#include "tokenizers/model.h"

#include <array>

#include "tokenizers/kinds.h"
#include "tokenizers/word_piece.h"

namespace headscope::tokenizers {

std::unique_ptr<const Model> make_model(const json::Value& part, std::string_view where) {
  using Make = std::unique_ptr<const Model> (*)(const json::Value&, std::string_view);
  static constexpr std::array<Kind<Make>, 1> kinds{{{"WordPiece", &make_word_piece}}};
  const auto type = json::require<std::string>(part, "type", where);
  return find_kind(kinds, type, "model", where).make(part, where);
}

}  // namespace headscope::tokenizers
