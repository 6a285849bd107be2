#include "tokenizers/part_options.h"

#include <array>

#include "tokenizers/kinds.h"
#include "tokenizers/unicode.h"

namespace headscope::tokenizers {
namespace {

char32_t to_character(const std::string& text, std::string_view key, std::string_view where) {
  const std::u32string chars = to_utf32(text);
  if (chars.size() == 1) return chars[0];
  throw Error(
      ErrorCode::kFormat,
      fmt::format(
          "[{}] expected \"{}\" to be one character, found {}", where, key, json::quote(text)));
}

}  // namespace

char32_t require_character(const json::Value& part, std::string_view key, std::string_view where) {
  return to_character(json::require<std::string>(part, key, where), key, where);
}

Regex require_pattern(const json::Value& part, std::string_view where) {
  const json::Value& pattern = require_part(part, "pattern", where);
  if (json::find(pattern, "String", where) != nullptr) {
    return Regex::literal(json::require<std::string>(pattern, "String", where), where);
  }
  if (json::find(pattern, "Regex", where) != nullptr) {
    return Regex(json::require<std::string>(pattern, "Regex", where), where);
  }
  throw Error(
      ErrorCode::kUnsupported,
      fmt::format("[{}] expected a pattern to be one of String, Regex, found neither", where));
}

char32_t metaspace_mark(const json::Value& part, std::string_view where) {
  return to_character(
      json::get_or<std::string>(part, "replacement", "\u2581", where), "replacement", where);
}

std::string metaspace_scheme(const json::Value& part, std::string_view where) {
  const bool prefix = json::get_or<bool>(part, "add_prefix_space", true, where);
  auto scheme =
      json::get_or<std::string>(part, "prepend_scheme", prefix ? "always" : "never", where);
  static constexpr std::array<Kind<int>, 3> kSchemes{{{"always", 0}, {"first", 1}, {"never", 2}}};
  find_kind(kSchemes, scheme, "prepend_scheme", where);
  if (prefix || scheme == "never") return scheme;
  throw Error(ErrorCode::kFormat,
              fmt::format("[{}] expected prepend_scheme \"never\" where add_prefix_space is false, "
                          "found \"{}\"",
                          where,
                          scheme));
}

}  // namespace headscope::tokenizers
