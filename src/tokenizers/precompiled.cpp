#include "tokenizers/precompiled.h"

#include <fmt/format.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "headscope/error.h"
#include "tokenizers/unicode.h"

namespace headscope::tokenizers {
namespace {

constexpr std::size_t kLongestCluster = 5;  // bytes

Error malformed(std::string_view where, std::string_view found) {
  return {
      ErrorCode::kFormat,
      fmt::format(
          "[{}] expected precompiled_charsmap to be a table in base64, found {}", where, found)};
}

int digit_of(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+') return 62;
  return c == '/' ? 63 : -1;
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

/// Units of a double array, as the darts library writes them.
class DoubleArray {
 public:
  explicit DoubleArray(std::vector<std::uint32_t> units) : units_(std::move(units)) {}

  /// The value of the shortest key that begins `text`.
  [[nodiscard]] std::optional<std::uint32_t> shortest(std::string_view text) const {
    std::size_t node = 0;
    if (units_.empty()) return std::nullopt;
    node ^= offset(units_[node]);
    for (const char c : text) {
      const auto byte = static_cast<unsigned char>(c);
      if (byte == 0) return std::nullopt;
      node ^= byte;
      if (node >= units_.size()) return std::nullopt;
      const std::uint32_t unit = units_[node];
      if ((unit & 0x800000FF) != byte) return std::nullopt;
      node ^= offset(unit);
      const bool leaf = ((unit >> 8) & 1) != 0;
      if (leaf && node < units_.size()) return units_[node] & 0x7FFFFFFF;
    }
    return std::nullopt;
  }

 private:
  static std::size_t offset(std::uint32_t unit) {
    return std::size_t{unit >> 10} << ((unit & (1u << 9)) >> 6);
  }
  std::vector<std::uint32_t> units_;
};

class Precompiled : public Normalizer {
 public:
  Precompiled(const json::Value& part, std::string_view where) : array_({}) {
    const std::string table =
        from_base64(json::require<std::string>(part, "precompiled_charsmap", where), where);
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
    read_texts(std::string_view(table).substr(4 + bytes), where);
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
  void read_texts(std::string_view texts, std::string_view where) {
    for (std::size_t at = 0; at < texts.size();) {
      if (next_utf8(texts, at) == kNotUtf8) throw malformed(where, "replacements not in UTF-8");
    }
    texts_ = texts;
  }

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
    const auto at = array_.shortest(text);
    if (!at || *at > texts_.size()) return std::nullopt;
    const std::string_view rest = std::string_view(texts_).substr(*at);
    return rest.substr(0, rest.find('\0'));
  }

  /// What is longer than the old text ends in additions; what is shorter takes the rest along.
  static void replace(std::size_t old, std::string_view fresh, std::vector<Change>& changes) {
    const std::u32string chars = to_utf32(fresh);
    for (std::size_t i = 0; i < chars.size(); ++i) changes.push_back({chars[i], i < old ? 0 : 1});
    if (chars.size() < old && !changes.empty()) {
      changes.back().change -= static_cast<std::ptrdiff_t>(old - chars.size());
    }
  }

  DoubleArray array_;
  std::string texts_;              // each ends in NUL
  std::array<bool, 128> ascii_{};  // stays as it is
};

}  // namespace

std::unique_ptr<const Normalizer> make_precompiled(const json::Value& part,
                                                   std::string_view where) {
  return std::make_unique<const Precompiled>(part, where);
}

}  // namespace headscope::tokenizers
