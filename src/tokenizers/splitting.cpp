#include "tokenizers/splitting.h"

#include <array>

#include "tokenizers/kinds.h"

namespace headscope::tokenizers {
namespace {

/// Whether a part joins the one before it. A row of delimiters joins only its first (kWithPrevious)
/// or last (kWithNext) to a neighbour.
bool joins(const std::vector<Part>& parts, std::size_t i, Delimiter what) {
  const bool here = parts[i].delimiter;
  const bool before = parts[i - 1].delimiter;
  switch (what) {
    case Delimiter::kContiguous:
      return here == before;
    case Delimiter::kWithPrevious:
      return here && !before;
    case Delimiter::kWithNext:
      return before && !here;
    default:
      return false;
  }
}

}  // namespace

Delimiter delimiter_of(std::string_view name, std::string_view part, std::string_view where) {
  static constexpr std::array<Kind<Delimiter>, 5> kDelimiters{
      {{"Removed", Delimiter::kRemoved},
       {"Isolated", Delimiter::kIsolated},
       {"MergedWithPrevious", Delimiter::kWithPrevious},
       {"MergedWithNext", Delimiter::kWithNext},
       {"Contiguous", Delimiter::kContiguous}}};
  return find_kind(kDelimiters, name, part, where).make;
}

void join_parts(const std::vector<Part>& parts, Delimiter what, std::vector<Span>& out) {
  Span open{0, 0};  // the span that the next part may still join
  const auto close = [&] {
    if (open.begin < open.end) out.push_back(open);
  };
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (parts[i].delimiter && what == Delimiter::kRemoved) continue;
    if (i > 0 && joins(parts, i, what)) {
      open.end = parts[i].span.end;
      continue;
    }
    close();
    open = parts[i].span;
  }
  close();
}

void split_at(Words& words, const Regex& regex, Delimiter what, bool invert) {
  std::vector<Span> out;
  out.reserve(words.text.size() / 4 + words.spans.size());
  std::vector<Part> parts;
  for (const Span& span : words.spans) {
    parts.clear();
    std::size_t done = span.begin;
    Regex::Matches matches = regex.matches(words.text.view(span));
    while (const auto match = matches.next()) {
      const Span found{span.begin + match->begin, span.begin + match->end};
      if (done < found.begin) parts.push_back({{done, found.begin}, invert});
      parts.push_back({found, !invert});
      done = found.end;
    }
    if (done < span.end) parts.push_back({{done, span.end}, invert});
    join_parts(parts, what, out);
  }
  words.spans = std::move(out);
}

}  // namespace headscope::tokenizers
