#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// Python's str over UTF-8. Bytes that are not UTF-8 count as one character each.
namespace headscope::jinja {

/// The byte behind the character that begins at byte `at`.
std::size_t next_character(std::string_view text, std::size_t at);
/// How many characters.
std::size_t characters(std::string_view text);
/// The byte where character `n` begins; the end when there are fewer.
std::size_t byte_of_character(std::string_view text, std::size_t n);

/// As Python prints a text inside a list.
std::string python_quoted(std::string_view text);
/// Appends a text in the quotes of JSON; with `ascii` all else is escaped.
void append_json_text(std::string_view text, bool ascii, std::string& out);

enum class Sides { kBoth, kLeft, kRight };
/// Without white space, or characters of `set`, at its ends.
std::string_view strip(std::string_view text, Sides sides, std::optional<std::string_view> set);

/// Pieces between separators, at most `most` cuts (-1: all), from the right if asked. Without a
/// separator: the words between white space. `separator` must not be empty.
std::vector<std::string> split(std::string_view text,
                               std::optional<std::string_view> separator,
                               std::int64_t most,
                               bool from_right);
std::vector<std::string> split_lines(std::string_view text, bool keep_ends);
/// At most `most` replacements (-1: all). Failures: kResources past `limit` bytes.
std::string replace(std::string_view text,
                    std::string_view old,
                    std::string_view fresh,
                    std::int64_t most,
                    std::size_t limit);

std::string upper(std::string_view text);
std::string lower(std::string_view text);
/// First letter large, all others small.
std::string capitalize(std::string_view text);
/// Every word so: a word begins after what has no case (str.title), or after white space, hyphens
/// and brackets (the filter).
std::string title(std::string_view text, bool filter);

enum class Letters { kAlpha, kDigit, kAlphaNumeric, kSpace, kUpper, kLower };
/// str.isalpha and its like.
bool is_all(std::string_view text, Letters kind);

}  // namespace headscope::jinja
