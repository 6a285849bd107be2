#include "tokenizers/pre_tokenizer.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "tokenizers/kinds.h"
#include "tokenizers/unicode.h"

namespace headscope::tokenizers {
namespace {

using Made = std::unique_ptr<const PreTokenizer>;

/// What becomes of the characters a text is split at.
enum class Delimiter { kRemoved, kIsolated, kWithPrevious, kWithNext, kContiguous };

/// A delimiter, or what stands between two of them.
struct Part {
  Span span;
  bool delimiter = false;
};

template <typename Is>
std::vector<Part> find_parts(const AlignedText& text, Span span, Is is_delimiter) {
  std::vector<Part> parts;
  for (std::size_t i = span.begin; i < span.end; ++i) {
    if (is_delimiter(text.chars[i])) {
      parts.push_back({{i, i + 1}, true});
    } else if (!parts.empty() && !parts.back().delimiter) {
      parts.back().span.end = i + 1;
    } else {
      parts.push_back({{i, i + 1}, false});
    }
  }
  return parts;
}

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

template <typename Is>
void split_at(Words& words, Is is_delimiter, Delimiter what) {
  std::vector<Span> out;
  out.reserve(words.spans.size());
  for (const Span& span : words.spans) {
    const std::vector<Part> parts = find_parts(words.text, span, is_delimiter);
    for (std::size_t i = 0; i < parts.size(); ++i) {
      if (parts[i].delimiter && what == Delimiter::kRemoved) continue;
      if (i > 0 && joins(parts, i, what)) {
        out.back().end = parts[i].span.end;
      } else {
        out.push_back(parts[i].span);
      }
    }
  }
  words.spans = std::move(out);
}

class WhitespaceSplit : public PreTokenizer {
 public:
  WhitespaceSplit(const json::Value& /*part*/, std::string_view /*where*/) {}
  void split(Words& words) const override { split_at(words, is_white_space, Delimiter::kRemoved); }
};

class Bert : public PreTokenizer {
 public:
  Bert(const json::Value& /*part*/, std::string_view /*where*/) {}
  void split(Words& words) const override {
    split_at(words, is_white_space, Delimiter::kRemoved);
    split_at(words, is_punctuation, Delimiter::kIsolated);
  }
};

class Punctuation : public PreTokenizer {
 public:
  Punctuation(const json::Value& part, std::string_view where)
      : what_(find_kind(kDelimiters,
                        json::get_or<std::string>(part, "behavior", "Isolated", where),
                        "the behavior of Punctuation",
                        where)
                  .make) {}
  void split(Words& words) const override { split_at(words, is_punctuation, what_); }

 private:
  static constexpr std::array<Kind<Delimiter>, 5> kDelimiters{
      {{"Removed", Delimiter::kRemoved},
       {"Isolated", Delimiter::kIsolated},
       {"MergedWithPrevious", Delimiter::kWithPrevious},
       {"MergedWithNext", Delimiter::kWithNext},
       {"Contiguous", Delimiter::kContiguous}}};
  Delimiter what_;
};

/// Runs of word characters, and runs of what is neither that nor white space: \w+|[^\w\s]+
class Whitespace : public PreTokenizer {
 public:
  Whitespace(const json::Value& /*part*/, std::string_view /*where*/) {}
  void split(Words& words) const override {
    std::vector<Span> out;
    for (const Span& span : words.spans) {
      Class last = Class::kSpace;
      for (std::size_t i = span.begin; i < span.end; ++i) {
        const Class now = class_of(words.text.chars[i]);
        if (now != Class::kSpace && now == last) {
          out.back().end = i + 1;
        } else if (now != Class::kSpace) {
          out.push_back({i, i + 1});
        }
        last = now;
      }
    }
    words.spans = std::move(out);
  }

 private:
  enum class Class { kSpace, kWord, kOther };
  static Class class_of(char32_t c) {
    if (is_word(c)) return Class::kWord;
    return is_white_space(c) ? Class::kSpace : Class::kOther;
  }
};

class Sequence : public PreTokenizer {
 public:
  Sequence(const json::Value& part, std::string_view where) {
    for (const json::Value& one : require_array(part, "pretokenizers", where)) {
      steps_.push_back(make_pre_tokenizer(one, where));
    }
  }
  void split(Words& words) const override {
    for (const Made& step : steps_) step->split(words);
  }

 private:
  std::vector<Made> steps_;
};

template <typename T>
Made make(const json::Value& part, std::string_view where) {
  return std::make_unique<const T>(part, where);
}

}  // namespace

Made make_pre_tokenizer(const json::Value& part, std::string_view where) {
  using Make = Made (*)(const json::Value&, std::string_view);
  static constexpr std::array<Kind<Make>, 5> kinds{{{"BertPreTokenizer", &make<Bert>},
                                                    {"Punctuation", &make<Punctuation>},
                                                    {"Sequence", &make<Sequence>},
                                                    {"Whitespace", &make<Whitespace>},
                                                    {"WhitespaceSplit", &make<WhitespaceSplit>}}};
  const auto type = json::require<std::string>(part, "type", where);
  return find_kind(kinds, type, "pre_tokenizer", where).make(part, where);
}

}  // namespace headscope::tokenizers
