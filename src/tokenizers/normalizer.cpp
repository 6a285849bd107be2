#include "tokenizers/normalizer.h"

#include <algorithm>
#include <array>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tokenizers/bytes.h"
#include "tokenizers/kinds.h"
#include "tokenizers/normal_form.h"
#include "tokenizers/part_options.h"
#include "tokenizers/precompiled.h"
#include "tokenizers/regex.h"
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
      : content_(to_utf32(json::require<std::string>(part, "content", where))),
        pattern_(require_pattern(part, where)) {
    const auto text = require_part(part, "pattern", where).value("String", std::string());
    const std::u32string chars = to_utf32(text);
    if (chars.size() == 1 && content_.size() == 1) one_ = chars[0];
  }

  void apply(AlignedText& text) const override {
    if (one_) {
      std::replace(text.chars.begin(), text.chars.end(), *one_, content_[0]);
      return;
    }
    std::vector<Span> found;
    Regex::Matches matches = pattern_.matches(text.chars);
    while (const auto match = matches.next()) found.push_back(*match);
    if (found.empty() || text.size() == 0) return;
    check_growth(text, found.size());
    AlignedText out;
    out.reserve(text.size());
    std::size_t done = 0;
    for (const Span& match : found) {
      out.append(text, {done, match.begin});
      done = match.end;
      // all of the new text belongs to the last character of the old
      const Origin origin = done > 0 ? text.from[done - 1] : Origin{};
      for (const char32_t c : content_) out.push(c, origin);
    }
    out.append(text, {done, text.size()});
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

  std::u32string content_;
  Regex pattern_;
  std::optional<char32_t> one_;  // the character that another one takes the place of
};

class Prepend : public Normalizer {
 public:
  Prepend(const json::Value& part, std::string_view where)
      : text_(to_utf32(json::require<std::string>(part, "prepend", where))) {}

  void apply(AlignedText& text) const override {
    if (text.size() == 0) return;
    text.chars.insert(0, text_);
    text.from.insert(text.from.begin(), text_.size(), Origin{text.from.front()});
  }

 private:
  std::u32string text_;
};

/// What SentencePiece's NMT rules do to control characters and odd spaces.
void clean_nmt(AlignedText& text) {
  text.keep_if([](char32_t c) {
    return !((c >= 1 && c <= 8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F ||
             c == 0x9F);
  });
  for (char32_t& c : text.chars) {
    const bool space = c == 9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 ||
                       (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
                       c == 0xFEFF || c == 0xFFFD;
    if (space) c = ' ';
  }
}

void to_bytes(AlignedText& text) {
  std::vector<Span> all{{0, text.size()}};
  write_as_bytes(text, all);
}

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

template <void (*rewrite)(AlignedText&)>
Made make_plain(const json::Value& /*part*/, std::string_view /*where*/) {
  return std::make_unique<const Plain>(rewrite);
}

Made make_strip_accents(const json::Value& /*part*/, std::string_view /*where*/) {
  return std::make_unique<const Plain>(
      [](AlignedText& text) { text.keep_if([](char32_t c) { return !is_combining_mark(c); }); });
}

}  // namespace

Made make_normalizer(const json::Value& part, std::string_view where) {
  using Make = Made (*)(const json::Value&, std::string_view);
  static constexpr std::array<Kind<Make>, 14> kinds{{{"BertNormalizer", &make<Bert>},
                                                     {"ByteLevel", &make_plain<to_bytes>},
                                                     {"Lowercase", &make_plain<lower>},
                                                     {"NFC", &make_form<NormalForm::kNfc>},
                                                     {"NFD", &make_form<NormalForm::kNfd>},
                                                     {"NFKC", &make_form<NormalForm::kNfkc>},
                                                     {"NFKD", &make_form<NormalForm::kNfkd>},
                                                     {"Nmt", &make_plain<clean_nmt>},
                                                     {"Precompiled", &make_precompiled},
                                                     {"Prepend", &make<Prepend>},
                                                     {"Replace", &make<Replace>},
                                                     {"Sequence", &make<Sequence>},
                                                     {"Strip", &make<Strip>},
                                                     {"StripAccents", &make_strip_accents}}};
  const auto type = json::require<std::string>(part, "type", where);
  return find_kind(kinds, type, "normalizer", where).make(part, where);
}

}  // namespace headscope::tokenizers
