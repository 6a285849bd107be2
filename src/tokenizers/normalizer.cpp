#include "tokenizers/normalizer.h"

#include <algorithm>
#include <array>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "tokenizers/kinds.h"
#include "tokenizers/normal_form.h"
#include "tokenizers/token_trie.h"
#include "tokenizers/unicode.h"

namespace headscope::tokenizers {
namespace {

using Made = std::unique_ptr<const Normalizer>;

void lower(AlignedText& text) {
  AlignedText out;
  out.chars.reserve(text.size());
  out.from.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    append_lower(text.chars[i], out.chars);
    out.from.resize(out.chars.size(), text.from[i]);
  }
  text = std::move(out);
}

/// A normaliser that needs nothing but the text.
class Plain : public Normalizer {
 public:
  explicit Plain(std::function<void(AlignedText&)> rewrite) : rewrite_(std::move(rewrite)) {}
  void apply(AlignedText& text) const override { rewrite_(text); }

 private:
  std::function<void(AlignedText&)> rewrite_;
};

/// What BERT does to a text, in this order; each of the four can be off.
class Bert : public Normalizer {
 public:
  Bert(const json::Value& part, std::string_view where)
      : clean_(json::get_or<bool>(part, "clean_text", true, where)),
        space_cjk_(json::get_or<bool>(part, "handle_chinese_chars", true, where)),
        lower_(json::get_or<bool>(part, "lowercase", true, where)),
        // null means: uncased models strip accents, cased ones keep them
        strip_accents_(json::get_or<bool>(part, "strip_accents", lower_, where)) {}

  void apply(AlignedText& text) const override {
    if (clean_) clean(text);
    if (space_cjk_) space_cjk(text);
    if (strip_accents_) {
      normalize(text, NormalForm::kNfd);
      text.keep_if([](char32_t c) { return !is_nonspacing_mark(c); });
    }
    if (lower_) lower(text);
  }

 private:
  static void clean(AlignedText& text) {
    text.keep_if([](char32_t c) {
      if (c == '\t' || c == '\n' || c == '\r') return true;
      return c != 0 && c != 0xFFFD && !is_other(c);
    });
    for (char32_t& c : text.chars) {
      if (is_white_space(c)) c = ' ';
    }
  }

  static void space_cjk(AlignedText& text) {
    if (std::none_of(text.chars.begin(), text.chars.end(), is_cjk)) return;
    AlignedText out;
    for (std::size_t i = 0; i < text.size(); ++i) {
      const bool alone = is_cjk(text.chars[i]);
      if (alone) out.push(' ', text.from[i]);
      out.push(text.chars[i], text.from[i]);
      if (alone) out.push(' ', text.from[i]);
    }
    text = std::move(out);
  }

  bool clean_, space_cjk_, lower_, strip_accents_;
};

class Strip : public Normalizer {
 public:
  Strip(const json::Value& part, std::string_view where)
      : left_(json::get_or<bool>(part, "strip_left", true, where)),
        right_(json::get_or<bool>(part, "strip_right", true, where)) {}

  void apply(AlignedText& text) const override {
    Span rest{0, text.size()};
    while (right_ && rest.end > 0 && is_white_space(text.chars[rest.end - 1])) --rest.end;
    while (left_ && rest.begin < rest.end && is_white_space(text.chars[rest.begin])) ++rest.begin;
    if (rest.begin > 0 || rest.end < text.size()) text = text.slice(rest);
  }

 private:
  bool left_, right_;
};

class Replace : public Normalizer {
 public:
  Replace(const json::Value& part, std::string_view where)
      : content_(to_utf32(json::require<std::string>(part, "content", where))) {
    const json::Value& pattern = require_part(part, "pattern", where);
    if (json::find(pattern, "String", where) == nullptr) {
      throw Error(ErrorCode::kUnsupported,
                  fmt::format("[{}] expected the pattern of Replace to be one of String, found {}",
                              where,
                              json::find(pattern, "Regex", where) ? "Regex" : "neither"));
    }
    pattern_ = to_utf32(json::require<std::string>(pattern, "String", where));
    if (pattern_.empty() || pattern_.size() > kMaxTokenLength) {
      throw Error(ErrorCode::kUnsupported,
                  fmt::format("[{}] expected the pattern of Replace to have 1 to {} characters, "
                              "found {}",
                              where,
                              kMaxTokenLength,
                              pattern_.size()));
    }
  }

  void apply(AlignedText& text) const override {
    const std::u32string_view all = text.chars;
    std::vector<std::size_t> found;
    for (std::size_t at = all.find(pattern_); at != all.npos;) {
      found.push_back(at);
      at = all.find(pattern_, at + pattern_.size());
    }
    if (found.empty()) return;
    check_growth(text, found.size());
    AlignedText out;
    std::size_t done = 0;
    for (const std::size_t at : found) {
      for (; done < at; ++done) out.push(text.chars[done], text.from[done]);
      done = at + pattern_.size();
      // all of the new text belongs to the last character of the old
      for (const char32_t c : content_) out.push(c, text.from[done - 1]);
    }
    for (; done < text.size(); ++done) out.push(text.chars[done], text.from[done]);
    text = std::move(out);
  }

 private:
  /// A row of replacements that each double the text must not eat the memory.
  void check_growth(const AlignedText& text, std::size_t times) const {
    const std::size_t bytes = text.from.back().end - text.from.front().begin;
    const std::size_t limit = 64 * bytes + 4096;
    if (text.size() > limit || content_.size() > (limit - text.size()) / times) {
      throw Error(ErrorCode::kResources,
                  fmt::format("[tokenizer] expected a normalised text of at most {} characters for "
                              "{} bytes, found that Replace makes it longer",
                              limit,
                              bytes));
    }
  }

  std::u32string pattern_, content_;
};

class Sequence : public Normalizer {
 public:
  Sequence(const json::Value& part, std::string_view where) {
    for (const json::Value& one : require_array(part, "normalizers", where)) {
      steps_.push_back(make_normalizer(one, where));
    }
  }
  void apply(AlignedText& text) const override {
    for (const Made& step : steps_) step->apply(text);
  }

 private:
  std::vector<Made> steps_;
};

template <typename T>
Made make(const json::Value& part, std::string_view where) {
  return std::make_unique<const T>(part, where);
}

template <NormalForm form>
Made make_form(const json::Value& /*part*/, std::string_view /*where*/) {
  return std::make_unique<const Plain>([](AlignedText& text) { normalize(text, form); });
}

Made make_lower(const json::Value& /*part*/, std::string_view /*where*/) {
  return std::make_unique<const Plain>(lower);
}

Made make_strip_accents(const json::Value& /*part*/, std::string_view /*where*/) {
  return std::make_unique<const Plain>(
      [](AlignedText& text) { text.keep_if([](char32_t c) { return !is_combining_mark(c); }); });
}

}  // namespace

Made make_normalizer(const json::Value& part, std::string_view where) {
  using Make = Made (*)(const json::Value&, std::string_view);
  static constexpr std::array<Kind<Make>, 10> kinds{{{"BertNormalizer", &make<Bert>},
                                                     {"Lowercase", &make_lower},
                                                     {"NFC", &make_form<NormalForm::kNfc>},
                                                     {"NFD", &make_form<NormalForm::kNfd>},
                                                     {"NFKC", &make_form<NormalForm::kNfkc>},
                                                     {"NFKD", &make_form<NormalForm::kNfkd>},
                                                     {"Replace", &make<Replace>},
                                                     {"Sequence", &make<Sequence>},
                                                     {"Strip", &make<Strip>},
                                                     {"StripAccents", &make_strip_accents}}};
  const auto type = json::require<std::string>(part, "type", where);
  return find_kind(kinds, type, "normalizer", where).make(part, where);
}

}  // namespace headscope::tokenizers
