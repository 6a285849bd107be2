#include "tokenizers/precompiled.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "headscope/error.h"
#include "tokenizers/token_trie.h"
#include "tokenizers/unicode.h"

namespace headscope::tokenizers {
namespace {

constexpr std::size_t kLongestCluster = 5;  // bytes
// Of a key and of what replaces it, in bytes; published tables stay far below.
constexpr std::size_t kLongest = 256;

Error malformed(std::string_view where, std::string_view found) {
  return {
      ErrorCode::kFormat,
      fmt::format(
          "[{}] expected a table of replacements (precompiled_charsmap), found {}", where, found)};
}

int digit_of(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+') return 62;
  return c == '/' ? 63 : -1;
}

/// Units of a double array, as the darts library writes them.
class DoubleArray {
 public:
  explicit DoubleArray(std::vector<std::uint32_t> units) : units_(std::move(units)) {}

  /// Calls take(length, value) for the keys that begin `text`, the shortest first, until it says false.
  template <typename Take>
  void each_prefix(std::string_view text, Take take) const {
    std::size_t node = 0;
    if (units_.empty()) return;
    node ^= offset(units_[node]);
    for (std::size_t i = 0; i < std::min(text.size(), kLongest); ++i) {
      const auto byte = static_cast<unsigned char>(text[i]);
      if (byte == 0) return;
      node ^= byte;
      if (node >= units_.size()) return;
      const std::uint32_t unit = units_[node];
      if ((unit & 0x800000FF) != byte) return;
      node ^= offset(unit);
      const bool leaf = ((unit >> 8) & 1) != 0;
      if (leaf && node < units_.size() && !take(i + 1, units_[node] & 0x7FFFFFFF)) return;
    }
  }

 private:
  static std::size_t offset(std::uint32_t unit) {
    return std::size_t{unit >> 10} << ((unit & (1u << 9)) >> 6);
  }
  std::vector<std::uint32_t> units_;
};

/// What is replaced, and by what.
class CharsMap {
 public:
  CharsMap(std::string_view table, std::string_view where) : array_({}) {
    if (table.size() < 4) throw malformed(where, fmt::format("{} bytes", table.size()));
    const auto word = [&table](std::size_t at) {
      std::uint32_t out = 0;
      for (std::size_t i = 0; i < 4; ++i) {
        out |= std::uint32_t{static_cast<unsigned char>(table[at + i])} << (8 * i);
      }
      return out;
    };
    const std::size_t bytes = word(0);
    if (bytes % 4 != 0 || bytes > table.size() - 4) {
      throw malformed(where, fmt::format("{} bytes of units in {}", bytes, table.size()));
    }
    std::vector<std::uint32_t> units;
    units.reserve(bytes / 4);
    for (std::size_t at = 4; at < 4 + bytes; at += 4) units.push_back(word(at));
    array_ = DoubleArray(std::move(units));
    texts_ = table.substr(4 + bytes);
    for (std::size_t at = 0; at < texts_.size();) {
      if (next_utf8(texts_, at) == kNotUtf8) throw malformed(where, "replacements not in UTF-8");
    }
    for (std::size_t at = 0; at < texts_.size();) {
      const std::size_t end = texts_.find('\0', at);
      if (end == texts_.npos || end - at > kLongest)
        throw malformed(where, fmt::format("a replacement of more than {} bytes", kLongest));
      at = end + 1;
    }
  }

  struct Match {
    std::size_t length = 0;  ///< bytes of the text
    std::string_view fresh;
  };
  /// Of the shortest, or else the longest, key that begins `text`.
  [[nodiscard]] std::optional<Match> find(std::string_view text, bool longest) const {
    std::optional<Match> out;
    array_.each_prefix(text, [&](std::size_t length, std::uint32_t at) {
      if (at > texts_.size()) {
        out.reset();
      } else {
        const std::string_view rest = std::string_view(texts_).substr(at);
        out = Match{length, rest.substr(0, rest.find('\0'))};
      }
      return longest;
    });
    return out;
  }

 private:
  DoubleArray array_;
  std::string texts_;  // each ends in NUL
};

class Precompiled : public Normalizer {
 public:
  Precompiled(const json::Value& part, std::string_view where)
      : map_(from_base64(json::require<std::string>(part, "precompiled_charsmap", where), where),
             where) {
    for (std::size_t c = 0; c < ascii_.size(); ++c) {
      const char text = static_cast<char>(c);
      ascii_[c] = !transform({&text, 1});
    }
  }

  void apply(AlignedText& text) const override {
    std::vector<Change> changes;
    changes.reserve(text.size());
    bool changed = false;
    const std::u32string_view all = text.chars;
    for (std::size_t at = 0; at < all.size();) {
      const std::size_t end = cluster_end(all, at);
      changed = rewrite(all.substr(at, end - at), changes) || changed;
      at = end;
    }
    if (changed) text.rewrite(changes);
  }

 private:
  static std::size_t cluster_end(std::u32string_view text, std::size_t at) {
    if (text[at] == '\r' && at + 1 < text.size() && text[at + 1] == '\n') return at + 2;
    std::size_t end = at + 1;
    while (end < text.size()) {
      const bool joined = extends_grapheme(text[end])
                              ? !ends_grapheme(text[end - 1])
                              : prepends_grapheme(text[end - 1]) && !ends_grapheme(text[end]);
      if (!joined) break;
      ++end;
    }
    return end;
  }

  /// Appends what a cluster becomes; whether that is something else.
  bool rewrite(std::u32string_view cluster, std::vector<Change>& changes) const {
    if (cluster.size() == 1 && cluster[0] < ascii_.size() && ascii_[cluster[0]]) {
      changes.push_back({cluster[0], 0});
      return false;
    }
    if (cluster.size() <= kLongestCluster) {
      const std::string text = to_utf8(cluster);
      const auto fresh = text.size() <= kLongestCluster ? transform(text) : std::nullopt;
      if (fresh) {
        replace(cluster.size(), *fresh, changes);
        return true;
      }
    }
    bool changed = false;
    for (const char32_t c : cluster) {
      std::string text;
      append_utf8(c, text);
      const auto fresh = transform(text);
      if (fresh) {
        replace(1, *fresh, changes);
      } else {
        changes.push_back({c, 0});
      }
      changed = changed || fresh.has_value();
    }
    return changed;
  }

  [[nodiscard]] std::optional<std::string_view> transform(std::string_view text) const {
    const auto match = map_.find(text, false);
    return match ? std::optional(match->fresh) : std::nullopt;
  }

  /// What is longer than the old text ends in additions; what is shorter takes the rest along.
  static void replace(std::size_t old, std::string_view fresh, std::vector<Change>& changes) {
    const std::u32string chars = to_utf32(fresh);
    for (std::size_t i = 0; i < chars.size(); ++i) changes.push_back({chars[i], i < old ? 0 : 1});
    if (chars.size() < old && !changes.empty()) {
      changes.back().change -= static_cast<std::ptrdiff_t>(old - chars.size());
    }
  }

  CharsMap map_;
  std::array<bool, 128> ascii_{};  // stays as it is
};

constexpr char32_t kMark = U'\u2581';

class SentencePieceRules : public Normalizer {
 public:
  SentencePieceRules(SentencePieceNormalizer rules, std::string_view where)
      : rules_(std::move(rules)) {
    if (!rules_.table.empty()) map_.emplace(rules_.table, where);
    rules_.table.clear();
    std::vector<std::pair<std::u32string, std::int32_t>> tokens;
    for (const std::string& token : rules_.kept)
      tokens.emplace_back(to_utf32(token), static_cast<std::int32_t>(tokens.size()));
    rules_.kept.clear();
    kept_ = TokenTrie::of_vocabulary(std::move(tokens), where);
  }

  void apply(AlignedText& text) const override {
    const std::string bytes = to_utf8(text.chars);
    AlignedText out;
    out.reserve(text.size() + 1);
    std::size_t at = 0, byte = 0;  // of the same place
    const auto next = [&] {
      Step step =
          step_at(std::string_view(bytes).substr(byte), std::u32string_view(text.chars).substr(at));
      step.origin = text.from[at];
      for (std::size_t end = byte + step.length; byte < end; ++at) {
        step.origin.end = text.from[at].end;
        (void)next_utf8(bytes, byte);
      }
      return step;
    };
    bool space = rules_.remove_spaces;  // what was written last
    Step step;
    while (at < text.size()) {
      step = next();
      if (!rules_.remove_spaces || step.fresh != U" ") break;
      step = {};
    }
    if (step.length == 0) {
      text = std::move(out);
      return;
    }
    if (rules_.add_prefix) out.push(kMark, {step.origin.begin, step.origin.begin});
    for (;; step = next()) {
      std::u32string_view fresh = step.fresh;
      while (space && fresh.starts_with(U' ')) fresh.remove_prefix(1);
      for (const char32_t c : fresh) out.push(c == U' ' ? kMark : c, step.origin);
      if (!fresh.empty()) space = fresh.ends_with(U' ');
      space = space && rules_.remove_spaces;
      if (at == text.size()) break;
    }
    while (rules_.remove_spaces && out.chars.ends_with(kMark)) {
      out.chars.pop_back();
      out.from.pop_back();
    }
    text = std::move(out);
  }

 private:
  struct Step {
    std::size_t length = 0;  // bytes
    std::u32string fresh;
    Origin origin;
  };

  /// Of the same text, as bytes and as characters.
  [[nodiscard]] Step step_at(std::string_view text, std::u32string_view chars) const {
    if (const auto token = kept_.longest(TokenTrie::root(), chars)) {
      const std::u32string whole(chars.substr(0, token->length));
      return {to_utf8(whole).size(), whole, {}};
    }
    const auto match = map_ ? map_->find(text, true) : std::nullopt;
    if (match && is_whole(text, match->length)) return {match->length, to_utf32(match->fresh), {}};
    std::size_t end = 0;
    (void)next_utf8(text, end);
    return {end, std::u32string(1, chars.front()), {}};
  }

  /// Keys end between characters, except in tables that somebody damaged.
  static bool is_whole(std::string_view text, std::size_t length) {
    return length == text.size() || (static_cast<unsigned char>(text[length]) & 0xC0) != 0x80;
  }

  SentencePieceNormalizer rules_;
  std::optional<CharsMap> map_;
  TokenTrie kept_;
};

}  // namespace

std::string to_base64(std::span<const std::uint8_t> bytes) {
  static constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve(bytes.size() * 4 / 3 + 2);
  std::uint32_t bits = 0;
  int count = 0;
  for (const std::uint8_t byte : bytes) {
    bits = (bits << 8) | byte;
    for (count += 8; count >= 6; count -= 6) out += kDigits[(bits >> (count - 6)) & 63];
  }
  if (count > 0) out += kDigits[(bits << (6 - count)) & 63];
  return out;
}

std::string from_base64(std::string_view text, std::string_view where) {
  while (text.ends_with('=')) text.remove_suffix(1);
  std::string out;
  out.reserve(text.size() * 3 / 4);
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    const int digit = digit_of(c);
    if (digit < 0) throw malformed(where, "another character");
    bits = (bits << 6) | static_cast<std::uint32_t>(digit);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    out.push_back(static_cast<char>((bits >> count) & 0xFF));
  }
  return out;
}

std::unique_ptr<const Normalizer> make_precompiled(const json::Value& part,
                                                   std::string_view where) {
  return std::make_unique<const Precompiled>(part, where);
}

std::unique_ptr<const Normalizer> make_sentencepiece(SentencePieceNormalizer rules,
                                                     std::string_view where) {
  return std::make_unique<const SentencePieceRules>(std::move(rules), where);
}

}  // namespace headscope::tokenizers
