#pragma once

#include <cstddef>
#include <string_view>
#include <utility>
#include <vector>

#include "tokenizers/aligned_text.h"
#include "tokenizers/pre_tokenizer.h"
#include "tokenizers/regex.h"

namespace headscope::tokenizers {

/// What becomes of the delimiters that a text is split at.
enum class Delimiter { kRemoved, kIsolated, kWithPrevious, kWithNext, kContiguous };

/// The behaviour of a name in tokenizer.json: Removed, Isolated, MergedWithPrevious,
/// MergedWithNext, Contiguous. Errors: kUnsupported, naming `part`.
Delimiter delimiter_of(std::string_view name, std::string_view part, std::string_view where);

/// A delimiter, or what stands between two of them.
struct Part {
  Span span;
  bool delimiter = false;
};

/// Appends the spans that the parts of a word become.
void join_parts(const std::vector<Part>& parts, Delimiter what, std::vector<Span>& out);

/// Splits words at the characters that are delimiters.
template <typename Is>
void split_at(Words& words, Is is_delimiter, Delimiter what) {
  std::vector<Span> out;
  out.reserve(words.spans.size());
  std::vector<Part> parts;
  for (const Span& span : words.spans) {
    parts.clear();
    for (std::size_t i = span.begin; i < span.end; ++i) {
      if (is_delimiter(words.text.chars[i])) {
        parts.push_back({{i, i + 1}, true});
      } else if (!parts.empty() && !parts.back().delimiter) {
        parts.back().span.end = i + 1;
      } else {
        parts.push_back({{i, i + 1}, false});
      }
    }
    join_parts(parts, what, out);
  }
  words.spans = std::move(out);
}

/// Splits words at the matches of a regex; inverted, at what stands between them.
void split_at(Words& words, const Regex& regex, Delimiter what, bool invert);

}  // namespace headscope::tokenizers
