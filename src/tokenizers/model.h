#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "formats/json.h"
#include "tokenizers/vocabulary.h"

namespace headscope::tokenizers {

/// A token inside a word: its id and which code points of the word it stands for.
struct Piece {
  std::int32_t id = 0;
  std::size_t begin = 0;
  std::size_t end = 0;
};

/// The part that turns a word (what the pre-tokenizer left whole) into tokens.
class Model {
 public:
  virtual ~Model() = default;
  /// Appends the pieces of a word that is not empty, in order.
  virtual void tokenize(std::u32string_view word, std::vector<Piece>& out) const = 0;
  [[nodiscard]] virtual const Vocabulary& vocabulary() const = 0;
  /// -1 when there is none.
  [[nodiscard]] virtual std::int32_t unknown_id() const = 0;
};

/// The "model" of a tokenizer.json. Errors: kFormat, kUnsupported.
std::unique_ptr<const Model> make_model(const json::Value& part, std::string_view where);

}  // namespace headscope::tokenizers
