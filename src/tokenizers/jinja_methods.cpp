#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <span>

#include "tokenizers/jinja_run.h"
#include "tokenizers/jinja_text.h"

/// Methods of texts, lists and dicts: those of Python's str, list and dict that change nothing.
namespace headscope::jinja {

namespace {

[[noreturn]] void fail(std::string message, ErrorCode code = ErrorCode::kInput) {
  throw Failure{code, std::move(message)};
}

constexpr std::size_t kLongestText = std::size_t{64} << 20;

Value texts(Run& run, std::vector<std::string> parts, bool tuple = false) {
  List items;
  items.reserve(parts.size());
  for (std::string& part : parts) items.push_back(run.text(std::move(part)));
  return run.list(std::move(items), tuple);
}

Value stripped(Run& run, const Value& self, const Bound& a, Sides sides) {
  std::optional<std::string_view> set;
  if (a.has(0)) set = a.text(0);
  return run.text(std::string(strip(self.text(), sides, set)));
}

template <Sides kSides>
Value strip_method(Run& run, const Value& self, const Bound& a) {
  return stripped(run, self, a, kSides);
}

template <bool kFromRight>
Value split_method(Run& run, const Value& self, const Bound& a) {
  std::optional<std::string_view> separator;
  if (a.has(0)) separator = a.text(0);
  if (separator && separator->empty()) fail("expected a separator that is not empty");
  return texts(run, split(self.text(), separator, a.integer(1, -1), kFromRight));
}

template <bool kFromRight>
Value partition_method(Run& run, const Value& self, const Bound& a) {
  const std::string& text = self.text();
  const std::string& separator = a.text(0);
  if (separator.empty()) fail("expected a separator that is not empty");
  const std::size_t at = kFromRight ? text.rfind(separator) : text.find(separator);
  if (at == text.npos) {
    return kFromRight ? texts(run, {"", "", text}, true) : texts(run, {text, "", ""}, true);
  }
  return texts(run, {text.substr(0, at), separator, text.substr(at + separator.size())}, true);
}

template <bool kEnd>
Value affix_method(Run& run, const Value& self, const Bound& a) {
  const std::string_view text = self.text();
  const auto fits = [&](const Value& affix) {
    if (!affix.is_text()) {
      fail(fmt::format("expected a text to begin or end with, found {}", type_name(affix)));
    }
    return kEnd ? text.ends_with(affix.text()) : text.starts_with(affix.text());
  };
  const bool tuple = a[0].is_sequence() && a[0].sequence().tuple;
  if (!tuple) return Value::of(fits(a[0]));
  run.budget().step(a[0].sequence().items.size());
  const List& items = a[0].sequence().items;
  return Value::of(std::any_of(items.begin(), items.end(), fits));
}

template <bool kEnd>
Value remove_affix_method(Run& run, const Value& self, const Bound& a) {
  std::string_view text = self.text();
  const std::string& affix = a.text(0);
  if (kEnd ? text.ends_with(affix) : text.starts_with(affix)) {
    text = kEnd ? text.substr(0, text.size() - affix.size()) : text.substr(affix.size());
  }
  return run.text(std::string(text));
}

template <std::string (*kChange)(std::string_view)>
Value changed_method(Run& run, const Value& self, const Bound&) {
  return run.text(kChange(self.text()));
}

template <Letters kKind>
Value is_method(Run&, const Value& self, const Bound&) {
  return Value::of(is_all(self.text(), kKind));
}

// Where a text stands in a text, in characters; -1 when nowhere.
std::int64_t place_of(const Value& self, const Bound& a, bool from_right) {
  const std::string& text = self.text();
  const std::string& part = a.text(0);
  const auto n = static_cast<std::int64_t>(characters(text));
  const auto bound = [&](std::size_t i, std::int64_t fallback) {
    const std::int64_t at = a.has(i) ? a.integer(i, fallback) : fallback;
    return static_cast<std::size_t>(std::clamp(at < 0 ? at + n : at, std::int64_t{0}, n));
  };
  if (a.has(1) && a.integer(1, 0) > n) return -1;
  const std::size_t begin = byte_of_character(text, bound(1, 0));
  const std::size_t end = byte_of_character(text, bound(2, n));
  if (end < begin) return -1;
  const std::string_view within = std::string_view(text).substr(begin, end - begin);
  const std::size_t at = from_right ? within.rfind(part) : within.find(part);
  if (at == within.npos) return -1;
  return static_cast<std::int64_t>(characters(std::string_view(text).substr(0, begin + at)));
}

template <bool kFromRight, bool kMustBe>
Value find_method(Run&, const Value& self, const Bound& a) {
  const std::int64_t at = place_of(self, a, kFromRight);
  if (kMustBe && at < 0) fail("expected a text that holds the one looked for, found none");
  return Value::of(at);
}

Value count_method(Run&, const Value& self, const Bound& a) {
  const std::string& text = self.text();
  const std::string& part = a.text(0);
  if (part.empty()) return Value::of(static_cast<std::int64_t>(characters(text) + 1));
  std::int64_t n = 0;
  for (std::size_t at = 0; (at = text.find(part, at)) != text.npos; at += part.size()) ++n;
  return Value::of(n);
}

Value replace_method(Run& run, const Value& self, const Bound& a) {
  return run.text(replace(self.text(), a.text(0), a.text(1), a.integer(2, -1), kLongestText));
}

Value join_method(Run& run, const Value& self, const Bound& a) {
  std::string out;
  bool first = true;
  for (const Value& item : iterate(a[0], run.budget())) {
    if (!item.is_text()) fail(fmt::format("expected texts to join, found {}", type_name(item)));
    if (!first) out += self.text();
    first = false;
    run.budget().bytes(item.text().size() + self.text().size());
    out += item.text();
  }
  return run.text(std::move(out));
}

Value split_lines_method(Run& run, const Value& self, const Bound& a) {
  return texts(run, split_lines(self.text(), a.truth(0, false)));
}

Value title_method(Run& run, const Value& self, const Bound&) {
  return run.text(title(self.text(), false));
}

enum class Side { kLeft, kRight, kCenter, kZeros };

template <Side kSide>
Value pad_method(Run& run, const Value& self, const Bound& a) {
  const auto n = static_cast<std::int64_t>(characters(self.text()));
  const std::int64_t missing = std::max<std::int64_t>(a.integer(0, std::nullopt) - n, 0);
  std::string fill = kSide == Side::kZeros ? "0" : " ";
  if (kSide != Side::kZeros && a.given(1)) fill = a.text(1);
  if (characters(fill) != 1) fail("expected one character to fill with");
  run.budget().bytes(static_cast<std::size_t>(std::min<std::int64_t>(missing, INT32_MAX)));
  // Python puts the odd one on the left when the width is odd.
  const std::int64_t middle = missing / 2 + (missing & (n + missing) & 1);
  const std::int64_t before =
      kSide == Side::kLeft ? 0 : (kSide == Side::kCenter ? middle : missing);
  std::string out = self.text();
  std::string front;
  for (std::int64_t i = 0; i < before; ++i) front += fill;
  const bool sign = !out.empty() && (out[0] == '-' || out[0] == '+');
  out.insert(kSide == Side::kZeros && sign ? 1 : 0, front);
  for (std::int64_t i = before; i < missing; ++i) out += fill;
  return run.text(std::move(out));
}

// "{} {0} {name}".format(...), without format specifications.
Value format_text(Run& run, const Value& self, const Arguments& arguments) {
  const std::string& text = self.text();
  std::string out;
  std::size_t next = 0;
  bool automatic = false;
  bool by_number = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if ((c == '{' || c == '}') && i + 1 < text.size() && text[i + 1] == c) {
      out += c;
      ++i;
    } else if (c == '{') {
      const std::size_t end = text.find('}', i);
      if (end == text.npos) fail("expected } behind { in a format, found the text's end");
      const std::string field = text.substr(i + 1, end - i - 1);
      if (field.find_first_of(":!.[") != field.npos) {
        fail("expected a format with plain {}, found {" + field + '}', ErrorCode::kUnsupported);
      }
      (field.empty() ? automatic : by_number) |=
          field.find_first_not_of("0123456789") == field.npos;
      if (automatic && by_number) fail("expected a format with {} or with {0}, found both");
      const Value* value = nullptr;
      if (field.find_first_not_of("0123456789") == field.npos) {
        const std::size_t at = field.empty() ? next++ : std::strtoul(field.c_str(), nullptr, 10);
        if (at < arguments.positional.size()) value = &arguments.positional[at];
      } else {
        for (const auto& [name, named] : arguments.named) {
          if (name == field) value = &named;
        }
      }
      if (value == nullptr) fail("expected a value for {" + field + "} of a format, found none");
      const std::string shown = run.str(*value);
      run.budget().bytes(shown.size());
      out += shown;
      i = end;
    } else if (c == '}') {
      fail("expected { before } in a format");
    } else {
      out += c;
    }
  }
  return run.text(std::move(out));
}

// Lists.
Value index_in_list(Run& run, const Value& self, const Bound& a) {
  const List& items = self.sequence().items;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (equal(items[i], a[0], run.budget())) return Value::of(static_cast<std::int64_t>(i));
  }
  fail("expected a list that holds the item looked for, found none");
}

Value count_in_list(Run& run, const Value& self, const Bound& a) {
  const List& items = self.sequence().items;
  return Value::of(
      static_cast<std::int64_t>(std::count_if(items.begin(), items.end(), [&](const Value& item) {
        return equal(item, a[0], run.budget());
      })));
}

Value itself(Run&, const Value& self, const Bound&) { return self; }

// Dicts.
Value dict_get(Run&, const Value& self, const Bound& a) {
  if (const Value* found = self.dict().find(a[0])) return *found;
  return a.given(1) ? a[1] : Value();
}

Value dict_keys(Run& run, const Value& self, const Bound&) {
  return run.list(iterate(self, run.budget()));
}

Value dict_values(Run& run, const Value& self, const Bound&) {
  List out;
  for (const auto& item : self.dict().items) out.push_back(item.second);
  return run.list(std::move(out));
}

Value dict_items(Run& run, const Value& self, const Bound&) {
  List out;
  for (const auto& [key, value] : self.dict().items) out.push_back(run.list({key, value}, true));
  return run.list(std::move(out));
}

struct Method {
  std::string_view name;
  std::string_view parameters;
  Value (*body)(Run&, const Value&, const Bound&);
};

constexpr std::array<Method, 37> kTextMethods = {{
    {"strip", "chars", strip_method<Sides::kBoth>},
    {"lstrip", "chars", strip_method<Sides::kLeft>},
    {"rstrip", "chars", strip_method<Sides::kRight>},
    {"split", "sep maxsplit", split_method<false>},
    {"rsplit", "sep maxsplit", split_method<true>},
    {"splitlines", "keepends", split_lines_method},
    {"partition", "sep", partition_method<false>},
    {"rpartition", "sep", partition_method<true>},
    {"startswith", "prefix", affix_method<false>},
    {"endswith", "suffix", affix_method<true>},
    {"removeprefix", "prefix", remove_affix_method<false>},
    {"removesuffix", "suffix", remove_affix_method<true>},
    {"upper", "", changed_method<upper>},
    {"lower", "", changed_method<lower>},
    {"casefold", "", changed_method<lower>},
    {"capitalize", "", changed_method<capitalize>},
    {"title", "", title_method},
    {"replace", "old new count", replace_method},
    {"join", "iterable", join_method},
    {"find", "sub start end", find_method<false, false>},
    {"rfind", "sub start end", find_method<true, false>},
    {"index", "sub start end", find_method<false, true>},
    {"rindex", "sub start end", find_method<true, true>},
    {"count", "sub", count_method},
    {"isalpha", "", is_method<Letters::kAlpha>},
    {"isdigit", "", is_method<Letters::kDigit>},
    {"isdecimal", "", is_method<Letters::kDigit>},
    {"isnumeric", "", is_method<Letters::kDigit>},
    {"isalnum", "", is_method<Letters::kAlphaNumeric>},
    {"isspace", "", is_method<Letters::kSpace>},
    {"isupper", "", is_method<Letters::kUpper>},
    {"islower", "", is_method<Letters::kLower>},
    {"ljust", "width fillchar", pad_method<Side::kLeft>},
    {"rjust", "width fillchar", pad_method<Side::kRight>},
    {"center", "width fillchar", pad_method<Side::kCenter>},
    {"zfill", "width", pad_method<Side::kZeros>},
    {"format", "", nullptr},  // takes what it is given: format_text

}};
constexpr std::array<Method, 3> kListMethods = {{
    {"index", "value", index_in_list},
    {"count", "value", count_in_list},
    {"copy", "", itself},
}};
constexpr std::array<Method, 5> kDictMethods = {{
    {"get", "key default", dict_get},
    {"keys", "", dict_keys},
    {"values", "", dict_values},
    {"items", "", dict_items},
    {"copy", "", itself},
}};
// What the sandbox of Transformers refuses, too: it would change a value.
constexpr std::array<std::string_view, 8> kChangesList = {
    "append", "extend", "insert", "pop", "remove", "clear", "sort", "reverse"};
constexpr std::array<std::string_view, 5> kChangesDict = {
    "update", "pop", "popitem", "setdefault", "clear"};

std::span<const Method> methods_of(const Value& self) {
  if (self.is_text()) return kTextMethods;
  if (self.is_sequence()) return kListMethods;
  if (self.is_dict()) return kDictMethods;
  return {};
}

bool would_change(const Value& self, std::string_view name) {
  const auto among = [&](const auto& names) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  if (self.is_sequence()) return !self.sequence().tuple && among(kChangesList);
  return self.is_dict() && among(kChangesDict);
}

}  // namespace

bool has_method(const Value& self, std::string_view name) {
  const auto methods = methods_of(self);
  return would_change(self, name) ||
         std::any_of(
             methods.begin(), methods.end(), [&](const Method& m) { return m.name == name; });
}

std::optional<Value> call_method(Run& run,
                                 const Value& self,
                                 std::string_view name,
                                 const Arguments& arguments) {
  if (would_change(self, name)) {
    fail(
        fmt::format("expected a template that changes no {0}, found a call of .{1} (refused as in "
                    "the sandbox of Transformers; add with + or use a namespace)",
                    type_name(self),
                    name));
  }
  for (const Method& method : methods_of(self)) {
    if (method.name != name) continue;
    if (self.is_text()) run.budget().step(self.text().size() / 16);
    if (method.body == nullptr) return format_text(run, self, arguments);
    return method.body(run, self, Bound(name, method.parameters, arguments));
  }
  return std::nullopt;
}

}  // namespace headscope::jinja
