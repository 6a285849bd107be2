#include "tokenizers/aligned_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "headscope/error.h"
#include "tokenizers/unicode.h"

namespace headscope::tokenizers {

AlignedText AlignedText::slice(Span span) const {
  AlignedText out;
  out.chars = view(span);
  out.from.assign(from.begin() + static_cast<std::ptrdiff_t>(span.begin),
                  from.begin() + static_cast<std::ptrdiff_t>(span.end));
  return out;
}

ByteRange AlignedText::origin(Span span) const {
  if (span.begin >= span.end) return {};
  return {from[span.begin].begin, from[span.end - 1].end};
}

void AlignedText::rewrite(const std::vector<Change>& changes) {
  AlignedText out;
  out.reserve(changes.size());
  const Origin start = from.empty() ? Origin{} : Origin{from[0].begin, from[0].begin};
  std::size_t next = 0;
  for (const Change& one : changes) {
    if (one.change > 0 || next >= from.size()) {
      out.push(one.c, next == 0 ? start : from[std::min(next, from.size()) - 1]);
    } else {
      out.push(one.c, from[next]);
      next += 1 + static_cast<std::size_t>(-one.change);
    }
  }
  *this = std::move(out);
}

AlignedText decode(std::string_view text) {
  if (text.size() > std::numeric_limits<std::uint32_t>::max()) {
    throw Error(
        ErrorCode::kResources,
        fmt::format("[tokenizer] expected a text of less than 4 GiB, found {} bytes", text.size()));
  }
  AlignedText out;
  out.chars.resize(text.size());
  out.from.resize(text.size());
  std::size_t count = 0;
  for (std::size_t at = 0; at < text.size(); ++count) {
    const std::size_t begin = at;
    const char32_t c = next_utf8(text, at);
    if (c == kNotUtf8) {
      throw Error(ErrorCode::kInput,
                  fmt::format("[tokenizer] expected UTF-8 text, found byte 0x{:02X} at offset {}",
                              static_cast<unsigned char>(text[begin]),
                              begin));
    }
    out.chars[count] = c;
    out.from[count] = {static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(at)};
  }
  out.chars.resize(count);
  out.from.resize(count);
  return out;
}

}  // namespace headscope::tokenizers
