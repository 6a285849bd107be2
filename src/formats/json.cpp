#include "formats/json.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <new>
#include <utility>

namespace headscope::json {

namespace {

constexpr std::size_t kLongest = 100;  // of a value inside a message

thread_local Asked* listening = nullptr;

/// Walks a text and remembers how far the parser has come, which nlohmann's events do not say.
class Cursor {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  Cursor(const char* at, const char** farthest) : at_(at), farthest_(farthest) {}
  reference operator*() const { return *at_; }
  Cursor& operator++() {
    *farthest_ = at_++;
    return *this;
  }
  Cursor operator++(int) {
    Cursor before = *this;
    ++*this;
    return before;
  }
  bool operator==(const Cursor& other) const { return at_ == other.at_; }
  bool operator!=(const Cursor& other) const { return at_ != other.at_; }

 private:
  const char* at_;
  const char** farthest_;
};

[[noreturn]] void fail_at(std::string_view text,
                          std::size_t at,
                          std::string_view name,
                          std::string_view complaint) {
  const std::string_view before = text.substr(0, at);
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  const std::size_t newline = before.rfind('\n');
  const std::size_t start = newline == std::string_view::npos ? 0 : newline + 1;
  // Columns count letters, so continuation bytes of UTF-8 do not move them.
  const auto column = 1 + std::count_if(before.begin() + static_cast<std::ptrdiff_t>(start),
                                        before.end(),
                                        [](char c) { return (c & 0xC0) != 0x80; });
  throw Error(ErrorCode::kFormat,
              fmt::format("[{}] line {}, column {}: {}", name, line, column, complaint));
}

/// nlohmann's parser takes a NUL for the end of the text and nests without bound; neither may
/// reach it. Strings are skipped exactly as the parser will read them.
void check_nesting(std::string_view text, std::string_view name, std::size_t limit) {
  std::size_t depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\0') fail_at(text, i, name, "expected JSON, found a NUL byte");
    if (in_string) {
      if (c == '\\' && i + 1 < text.size() && text[i + 1] != '\0') {
        ++i;
      } else if (c == '"') {
        in_string = false;
      }
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > limit) {
        fail_at(text, i, name, fmt::format("expected at most {} nested levels", limit));
      }
    } else if ((c == ']' || c == '}') && depth > 0) {
      --depth;
    }
  }
}

void check_limits(std::string_view text, std::string_view name, const Limits& limits) {
  if (text.size() > limits.bytes) {
    throw Error(
        ErrorCode::kResources,
        fmt::format(
            "[{}] expected at most {} bytes of JSON, found {}", name, limits.bytes, text.size()));
  }
  check_nesting(text, name, limits.depth);
}

/// The part of nlohmann's message that a person wants, without the text it had read so far, which
/// may be megabytes.
std::string tidy(std::string_view message) {
  if (const std::size_t id = message.find("] "); id != std::string_view::npos) {
    message.remove_prefix(id + 2);
  }
  if (message.starts_with("parse error")) {
    const std::size_t colon = message.find(": ");
    if (colon != std::string_view::npos) message.remove_prefix(colon + 2);
  }
  const std::size_t read = message.find("; last read: ");
  std::string out(message.substr(0, std::min<std::size_t>(read, 200)));
  const std::size_t expected = message.rfind("; expected ");
  if (read != std::string_view::npos && expected != std::string_view::npos && expected > read) {
    out += message.substr(expected, 80);
  }
  // The parser's own words are ASCII; bytes of the text, which may not even be UTF-8, stay out.
  std::replace_if(
      out.begin(), out.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return out;
}

}  // namespace

Value parse(std::string_view text,
            std::string_view name,
            const Limits& limits,
            const Callback& callback) {
  check_limits(text, name, limits);
  const char* farthest = text.data();
  const Cursor first(text.data(), &farthest);
  const Cursor last(text.data() + text.size(), &farthest);
  try {
    return Value::parse(first, last, callback);
  } catch (const Value::exception& error) {
    fail_at(text, static_cast<std::size_t>(farthest - text.data()), name, tidy(error.what()));
  } catch (const std::bad_alloc&) {
    throw Error(ErrorCode::kResources, fmt::format("[{}] memory ran out reading JSON", name));
  }
}

Asked::Asked() : outer_(std::exchange(listening, this)) {}
Asked::~Asked() { listening = outer_; }

const Value* find(const Value& object, std::string_view key, std::string_view where) {
  if (!object.is_object()) {
    throw Error(
        ErrorCode::kFormat,
        fmt::format("[{}] expected an object with \"{}\", found {}", where, key, describe(object)));
  }
  if (listening != nullptr && !listening->keys_.contains(key)) listening->keys_.emplace(key);
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

std::string describe(const Value& value) {
  if (value.is_array()) return fmt::format("an array of {}", value.size());
  if (value.is_object()) return "an object";
  std::string text = value.dump(-1, ' ', false, Value::error_handler_t::replace);
  if (text.size() <= kLongest) return text;
  std::size_t cut = kLongest;
  while (cut > 0 && (text[cut] & 0xC0) == 0x80) --cut;  // never in the middle of a letter
  return text.substr(0, cut) + "...";
}

std::string quote(std::string_view text) {
  // What lies beyond the cut need not be escaped first.
  return describe(Value(text.substr(0, 4 * kLongest)));
}

namespace detail {

void wrong(const Value& value,
           std::string_view what,
           std::string_view expected,
           std::string_view where) {
  throw Error(
      ErrorCode::kFormat,
      fmt::format(
          "[{}] expected \"{}\" to be {}, found {}", where, what, expected, describe(value)));
}

void missing(std::string_view key, std::string_view where) {
  throw Error(ErrorCode::kFormat, fmt::format("[{}] expected \"{}\", found none", where, key));
}

bool as_bool(const Value& value, std::string_view what, std::string_view where) {
  if (!value.is_boolean()) wrong(value, what, "true or false", where);
  return value.get<bool>();
}

std::int64_t as_signed(const Value& value,
                       std::string_view what,
                       std::int64_t least,
                       std::int64_t most,
                       std::string_view where) {
  if (!value.is_number_integer()) wrong(value, what, "an integer", where);
  const bool huge =
      value.is_number_unsigned() &&
      value.get<std::uint64_t>() > std::uint64_t{std::numeric_limits<std::int64_t>::max()};
  const std::int64_t number = huge ? 0 : value.get<std::int64_t>();
  if (huge || number < least || number > most) {
    wrong(value, what, fmt::format("an integer from {} to {}", least, most), where);
  }
  return number;
}

std::uint64_t as_unsigned(const Value& value,
                          std::string_view what,
                          std::uint64_t most,
                          std::string_view where) {
  if (!value.is_number_integer()) wrong(value, what, "an integer", where);
  const bool negative = !value.is_number_unsigned() && value.get<std::int64_t>() < 0;
  if (negative || value.get<std::uint64_t>() > most) {
    wrong(value, what, fmt::format("an integer from 0 to {}", most), where);
  }
  return value.get<std::uint64_t>();
}

double as_number(const Value& value, std::string_view what, double most, std::string_view where) {
  if (!value.is_number()) wrong(value, what, "a number", where);
  const double number = value.get<double>();
  if (!(std::abs(number) <= most)) {
    wrong(value, what, fmt::format("a number of at most {:g}", most), where);
  }
  return number;
}

const std::string& as_text(const Value& value, std::string_view what, std::string_view where) {
  if (!value.is_string()) wrong(value, what, "a text", where);
  return value.get_ref<const std::string&>();
}

}  // namespace detail

}  // namespace headscope::json
