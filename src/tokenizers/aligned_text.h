#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "headscope/tokenizer.h"

namespace headscope::tokenizers {

/// A half-open range of code points of an AlignedText.
struct Span {
  std::size_t begin = 0;
  std::size_t end = 0;
};

/// Bytes of the original that a code point came from; texts are shorter than 4 GiB.
struct Origin {
  std::uint32_t begin = 0;
  std::uint32_t end = 0;
  friend bool operator==(const Origin&, const Origin&) = default;
};

/// One code point of a rewritten text, and how it came about (the alignment of Hugging Face's
/// NormalizedString): change 0 replaces the next code point of the old text, change 1 is an
/// addition that belongs to the one before, change -n replaces the next one and removes n more.
struct Change {
  char32_t c = 0;
  std::ptrdiff_t change = 0;
};

/// A text on its way through a tokenizer: each code point remembers the bytes of the original that
/// it came from. Every part that rewrites text does so through the functions below, and offsets
/// come out right at the end. The ranges never go backwards.
struct AlignedText {
  std::u32string chars;
  std::vector<Origin> from;  ///< one a code point

  [[nodiscard]] std::size_t size() const { return chars.size(); }
  [[nodiscard]] std::u32string_view view(Span span) const {
    return std::u32string_view(chars).substr(span.begin, span.end - span.begin);
  }
  [[nodiscard]] AlignedText slice(Span span) const;
  /// The bytes of the original under a span. A span without code points has no bytes.
  [[nodiscard]] ByteRange origin(Span span) const;

  void reserve(std::size_t size) {
    chars.reserve(size);
    from.reserve(size);
  }
  void push(char32_t c, Origin origin) {
    chars.push_back(c);
    from.push_back(origin);
  }
  void append(const AlignedText& more, Span span) {
    chars.append(more.view(span));
    from.insert(from.end(),
                more.from.begin() + static_cast<std::ptrdiff_t>(span.begin),
                more.from.begin() + static_cast<std::ptrdiff_t>(span.end));
  }
  /// Replaces the text by `changes`, which tell of all of it.
  void rewrite(const std::vector<Change>& changes);

  /// Removes the code points for which `keep` is false.
  template <typename Keep>
  void keep_if(Keep keep) {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < chars.size(); ++i) {
      if (!keep(chars[i])) continue;
      chars[kept] = chars[i];
      from[kept] = from[i];
      ++kept;
    }
    chars.resize(kept);
    from.resize(kept);
  }
};

/// The code points of a text, each with its own bytes.
/// Errors: kInput when it is not UTF-8 (no surrogates, no overlong forms), with the byte offset;
/// kResources when it has 4 GiB or more.
AlignedText decode(std::string_view text);

}  // namespace headscope::tokenizers
