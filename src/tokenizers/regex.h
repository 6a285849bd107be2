#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "tokenizers/aligned_text.h"

namespace headscope::tokenizers {

/// A regular expression as tokenizer.json publishes it (Oniguruma's syntax), run by PCRE2 with its
/// just-in-time compiler. A match may not take more than a fixed number of steps.
class Regex {
 public:
  /// Errors: kUnsupported (PCRE2 does not take it; says why).
  Regex(std::string_view pattern, std::string_view where);
  /// What matches `text` as it stands. Errors: kUnsupported (empty, or beyond kMaxTokenLength).
  static Regex literal(std::string_view text, std::string_view where);

  /// The matches of a text from left to right, as a loop would find them: an empty one right behind
  /// another is none.
  class Matches {
   public:
    /// The next match. Errors: kResources when it takes too many steps.
    std::optional<Span> next();

   private:
    friend class Regex;
    Matches(const Regex& regex, std::u32string_view text) : regex_(&regex), text_(text) {}
    const Regex* regex_;
    std::u32string_view text_;
    std::size_t at_ = 0;
    std::optional<std::size_t> last_end_;
  };
  [[nodiscard]] Matches matches(std::u32string_view text) const { return {*this, text}; }

 private:
  struct Code;
  Regex() = default;
  [[nodiscard]] std::optional<Span> search(std::u32string_view text, std::size_t from) const;

  std::shared_ptr<const Code> code_;  // null: the text below is searched for
  std::u32string literal_;
};

}  // namespace headscope::tokenizers
