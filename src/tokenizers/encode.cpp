#include <algorithm>
#include <utility>
#include <vector>

#include "tokenizers/aligned_text.h"
#include "tokenizers/tokenizer_parts.h"
#include "tokenizers/unicode.h"

namespace headscope {

using namespace tokenizers;  // NOLINT: the parts of this very class

namespace {

/// A byte-level space, or white space as it is.
bool is_space(char32_t c) { return c == 0x120 || is_white_space(c); }

std::size_t leading_spaces(std::string_view token) {
  std::size_t count = 0;
  for (std::size_t at = 0; at < token.size(); ++count) {
    if (!is_space(next_utf8(token, at))) break;
  }
  return count;
}

std::size_t trailing_spaces(std::string_view token) {
  std::size_t count = 0;
  for (std::size_t end = token.size(); end > 0; ++count) {
    std::size_t at = end - 1;
    while (at > 0 && (static_cast<unsigned char>(token[at]) & 0xC0) == 0x80) --at;
    end = at;
    if (!is_space(next_utf8(token, at))) break;
  }
  return count;
}

bool continues(std::string_view text, std::size_t at) {
  return at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80;
}

/// One text on its way to tokens.
class Encoder {
 public:
  Encoder(const Tokenizer::Parts& parts, std::string_view text)
      : parts_(parts), text_(text), cache_(parts.caches.take()) {
    if (parts.post_processor) trim_ = parts.post_processor->trim();
    const std::size_t expected = text.size() / 4 + 8;
    out_.ids.reserve(expected);
    out_.offsets.reserve(expected);
    out_.tokens.reserve(expected);
    out_.words.reserve(expected);
    out_.special.reserve(expected);
  }
  ~Encoder() { parts_.caches.give_back(std::move(cache_)); }
  Encoder(const Encoder&) = delete;
  Encoder& operator=(const Encoder&) = delete;

  Encoding run() {
    AlignedText all = tokenizers::decode(text_);
    for (const Segment& part : parts_.added.split_raw(all)) {
      if (part.id >= 0) {
        put_added(part, all);
      } else {
        encode_segment(take(all, part.span));
      }
    }
    return std::move(out_);
  }

 private:
  static AlignedText take(AlignedText& text, Span span) {
    if (span.begin == 0 && span.end == text.size()) return std::move(text);
    return text.slice(span);
  }

  /// Text between added tokens: normalise it, then look for added tokens of normalised text.
  void encode_segment(AlignedText segment) {
    if (parts_.normalizer) parts_.normalizer->apply(segment);
    for (const Segment& part : parts_.added.split_normalized(segment)) {
      if (part.id >= 0) {
        put_added(part, segment);
      } else {
        encode_words(take(segment, part.span));
      }
    }
  }

  /// The last steps: split into words, and words into tokens.
  void encode_words(AlignedText text) {
    if (text.size() == 0) return;
    const Span all{0, text.size()};
    Words words{std::move(text), {all}};
    if (parts_.pre_tokenizer) parts_.pre_tokenizer->split(words);
    for (const Span& span : words.spans) {
      encode_word(words.text, span);
      ++word_;
    }
  }

  void encode_word(const AlignedText& text, Span span) {
    while (span.end - span.begin > WordCache::kLongestWord) {
      const std::size_t size = parts_.model->cut(text.view(span));
      encode_part(text, {span.begin, span.begin + size});
      span.begin += size;
    }
    if (span.begin < span.end) encode_part(text, span);
  }

  void encode_part(const AlignedText& text, Span span) {
    const std::u32string_view word = text.view(span);
    if (const auto known = cache_->find(word)) {
      put_pieces(*known, text, span.begin);
      return;
    }
    pieces_.clear();
    parts_.model->tokenize(word, pieces_);
    cache_->add(word, pieces_);
    put_pieces(pieces_, text, span.begin);
  }

  void put_pieces(std::span<const Piece> pieces, const AlignedText& text, std::size_t begin) {
    for (const Piece& piece : pieces) {
      const std::string_view token =
          parts_.model->vocabulary().token_of(piece.id).value_or(std::string_view());
      if (marked_ && piece.begin > 0 && text.chars[begin + piece.begin] == U'\u2581') ++word_;
      put(piece.id, text.origin({begin + piece.begin, begin + piece.end}), token, token);
    }
  }

  void put_added(const Segment& segment, const AlignedText& text) {
    const std::string found = trim_.on ? to_utf8(text.view(segment.span)) : std::string();
    put(segment.id, text.origin(segment.span), *parts_.added.token_of(segment.id), found);
    ++word_;
  }

  /// `found` is the token as it stands in the text, white space that belongs to it included.
  void put(std::int32_t id, ByteRange where, std::string_view token, std::string_view found) {
    out_.offsets.push_back(trim_.on ? trimmed(where, found) : where);
    out_.ids.push_back(id);
    out_.tokens.emplace_back(token);
    out_.words.push_back(word_);
    out_.special.push_back(parts_.added.is_special(id) ? 1 : 0);
  }

  /// Leaves out as many characters as the token has white space at its ends.
  [[nodiscard]] ByteRange trimmed(ByteRange range, std::string_view token) const {
    std::size_t leading = leading_spaces(token);
    std::size_t trailing = trailing_spaces(token);
    const bool first = out_.ids.empty() || range.begin == 0;
    if (first && trim_.prefix_space && leading == 1) leading = 0;
    for (; leading > 0 && range.begin < range.end; --leading) {
      ++range.begin;
      while (continues(text_, range.begin)) ++range.begin;
    }
    std::size_t end = range.end;
    for (; trailing > 0 && end > 0; --trailing) {
      --end;
      while (end > 0 && continues(text_, end)) --end;
    }
    if (trailing == 0) range.end = std::max(range.begin, end);
    return range;
  }

  const Tokenizer::Parts& parts_;
  std::string_view text_;
  std::unique_ptr<WordCache> cache_;
  TrimOffsets trim_;
  Encoding out_;
  std::int32_t word_ = 0;
  bool marked_ = parts_.model->marks_words();
  std::vector<Piece> pieces_;
};

}  // namespace

Encoding Tokenizer::Parts::encode(std::string_view text, std::int32_t type_id) const {
  Encoding out = Encoder(*this, text).run();
  out.type_ids.assign(out.ids.size(), type_id);
  return out;
}

}  // namespace headscope
