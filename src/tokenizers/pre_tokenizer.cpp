#include "tokenizers/pre_tokenizer.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "tokenizers/bytes.h"
#include "tokenizers/kinds.h"
#include "tokenizers/part_options.h"
#include "tokenizers/regex.h"
#include "tokenizers/splitting.h"
#include "tokenizers/unicode.h"

namespace headscope::tokenizers {
namespace {

using Made = std::unique_ptr<const PreTokenizer>;

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
      : what_(delimiter_of(json::get_or<std::string>(part, "behavior", "Isolated", where),
                           "the behavior of Punctuation",
                           where)) {}
  void split(Words& words) const override { split_at(words, is_punctuation, what_); }

 private:
  Delimiter what_;
};

class Digits : public PreTokenizer {
 public:
  Digits(const json::Value& part, std::string_view where)
      : what_(json::get_or<bool>(part, "individual_digits", false, where)
                  ? Delimiter::kIsolated
                  : Delimiter::kContiguous) {}
  void split(Words& words) const override { split_at(words, is_numeric, what_); }

 private:
  Delimiter what_;
};

class CharDelimiterSplit : public PreTokenizer {
 public:
  CharDelimiterSplit(const json::Value& part, std::string_view where)
      : delimiter_(require_character(part, "delimiter", where)) {}
  void split(Words& words) const override {
    split_at(
        words, [this](char32_t c) { return c == delimiter_; }, Delimiter::kRemoved);
  }

 private:
  char32_t delimiter_;
};

class FixedLength : public PreTokenizer {
 public:
  FixedLength(const json::Value& part, std::string_view where)
      : length_(json::get_or<std::uint32_t>(part, "length", 5, where)) {
    if (length_ == 0) {
      throw Error(
          ErrorCode::kFormat,
          fmt::format("[{}] expected the length of FixedLength to be above 0, found 0", where));
    }
  }
  void split(Words& words) const override {
    std::vector<Span> out;
    for (const Span& span : words.spans) {
      for (std::size_t at = span.begin; at < span.end; at += length_) {
        out.push_back({at, std::min(at + length_, span.end)});
      }
    }
    words.spans = std::move(out);
  }

 private:
  std::size_t length_;
};

class Split : public PreTokenizer {
 public:
  Split(const json::Value& part, std::string_view where)
      : regex_(require_pattern(part, where)),
        what_(delimiter_of(
            json::require<std::string>(part, "behavior", where), "the behavior of Split", where)),
        invert_(json::get_or<bool>(part, "invert", false, where)) {}
  void split(Words& words) const override { split_at(words, regex_, what_, invert_); }

 private:
  Regex regex_;
  Delimiter what_;
  bool invert_;
};

/// Puts `c` before the words for which `lacks` holds.
template <typename Lacks>
void prepend(Words& words, char32_t c, Lacks lacks) {
  if (std::none_of(words.spans.begin(), words.spans.end(), lacks)) return;
  AlignedText out;
  out.reserve(words.text.size() + words.spans.size());
  for (Span& span : words.spans) {
    const std::size_t begin = out.size();
    if (lacks(span)) out.push(c, words.text.from[span.begin]);
    out.append(words.text, span);
    span = {begin, out.size()};
  }
  words.text = std::move(out);
}

class ByteLevel : public PreTokenizer {
 public:
  ByteLevel(const json::Value& part, std::string_view where)
      : prefix_space_(json::get_or<bool>(part, "add_prefix_space", true, where)) {
    if (json::get_or<bool>(part, "use_regex", true, where)) regex_.emplace(kGpt2, where);
  }
  void split(Words& words) const override {
    if (prefix_space_) {
      prepend(words, ' ', [&words](Span span) { return words.text.chars[span.begin] != ' '; });
    }
    if (regex_) split_at(words, *regex_, Delimiter::kIsolated, false);
    write_as_bytes(words.text, words.spans);
  }

 private:
  static constexpr std::string_view kGpt2 =
      R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
  bool prefix_space_;
  std::optional<Regex> regex_;
};

/// Writes spaces as a visible character, puts one in front, and splits before each.
class Metaspace : public PreTokenizer {
 public:
  Metaspace(const json::Value& part, std::string_view where)
      : mark_(metaspace_mark(part, where)),
        scheme_(metaspace_scheme(part, where)),
        split_(json::get_or<bool>(part, "split", true, where)) {}
  void split(Words& words) const override {
    std::replace(words.text.chars.begin(), words.text.chars.end(), U' ', mark_);
    if (scheme_ != "never") {
      const bool first = scheme_ == "first";
      prepend(words, mark_, [&](Span span) {
        if (first && words.text.from[span.begin].begin != 0) return false;
        return words.text.chars[span.begin] != mark_;
      });
    }
    if (split_) {
      split_at(
          words, [this](char32_t c) { return c == mark_; }, Delimiter::kWithNext);
    }
  }

 private:
  char32_t mark_;
  std::string scheme_;
  bool split_;
};

/// Splits where the script changes, as SentencePiece does: kana count as Han, and a space goes
/// with what stands before it.
class UnicodeScripts : public PreTokenizer {
 public:
  UnicodeScripts(const json::Value& /*part*/, std::string_view /*where*/) {}
  void split(Words& words) const override {
    std::vector<Span> out;
    for (const Span& span : words.spans) {
      std::optional<int> last;
      std::optional<std::size_t> begin;
      for (std::size_t i = span.begin; i < span.end; ++i) {
        const int script = script_of(words.text.chars[i]);
        if (script == kAnyScript) continue;
        if (last != script) {
          if (begin) out.push_back({*begin, i});
          begin = i;
        }
        last = script;
      }
      if (begin) out.push_back({*begin, span.end});
    }
    words.spans = std::move(out);
  }
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
  static constexpr std::array<Kind<Make>, 13> kinds{
      {{"BertPreTokenizer", &make<Bert>},
       {"ByteLevel", &make<ByteLevel>},
       {"CharDelimiterSplit", &make<CharDelimiterSplit>},
       {"Delimiter", &make<CharDelimiterSplit>},
       {"Digits", &make<Digits>},
       {"FixedLength", &make<FixedLength>},
       {"Metaspace", &make<Metaspace>},
       {"Punctuation", &make<Punctuation>},
       {"Sequence", &make<Sequence>},
       {"Split", &make<Split>},
       {"UnicodeScripts", &make<UnicodeScripts>},
       {"Whitespace", &make<Whitespace>},
       {"WhitespaceSplit", &make<WhitespaceSplit>}}};
  const auto type = json::require<std::string>(part, "type", where);
  return find_kind(kinds, type, "pre_tokenizer", where).make(part, where);
}

}  // namespace headscope::tokenizers
