#include "tokenizers/jinja_filters.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "formats/json.h"
#include "tokenizers/jinja_text.h"

namespace headscope::jinja {

namespace {

[[noreturn]] void fail(std::string message, ErrorCode code = ErrorCode::kInput) {
  throw Failure{code, std::move(message)};
}

constexpr std::size_t kLongestText = std::size_t{64} << 20;

// Numbers.
double number_of(const Value& value) {
  if (value.is_undefined()) fail(value.complaint());
  if (!value.is_number()) fail(fmt::format("expected a number, found {}", type_name(value)));
  return value.number();
}

std::optional<std::int64_t> parse_integer(std::string_view text, int base) {
  std::string digits;
  for (const char c : strip(text, Sides::kBoth, std::nullopt)) {
    if (c != '_') digits += c;
  }
  const bool minus = digits.starts_with('-');
  if (minus || digits.starts_with('+')) digits.erase(0, 1);
  const auto prefixed = [&](char letter) {
    return digits.size() > 2 && digits[0] == '0' && (digits[1] | 0x20) == letter;
  };
  if ((base == 16 && prefixed('x')) || (base == 8 && prefixed('o')) || (base == 2 && prefixed('b')))
    digits.erase(0, 2);
  if (digits.empty() || digits[0] == '-') return std::nullopt;
  if (minus) digits.insert(0, 1, '-');
  std::int64_t number = 0;
  const char* end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, number, base);
  if (error == std::errc::result_out_of_range && stop == end) {
    fail("expected a whole number of at most 64 bits, found " + json::quote(digits));
  }
  if (error != std::errc() || stop != end) return std::nullopt;
  return number;
}

std::optional<double> parse_float(std::string_view text) {
  std::string digits(strip(text, Sides::kBoth, std::nullopt));
  digits.erase(std::remove(digits.begin(), digits.end(), '_'), digits.end());
  const char* begin = digits.data() + (digits.starts_with('+') ? 1 : 0);
  const char* end = digits.data() + digits.size();
  double number = 0.0;
  const auto [stop, error] = std::from_chars(begin, end, number);
  if (stop != end || begin == end || error == std::errc::invalid_argument) return std::nullopt;
  return number;
}

std::optional<std::int64_t> truncated(double number) {
  if (!(std::abs(number) < 9.2e18)) return std::nullopt;
  return static_cast<std::int64_t>(number);
}

Value to_integer(Run&, const Value& v, const Bound& a) {
  if (v.is_undefined()) fail(v.complaint());
  const Value fallback = a.given(0) ? a[0] : Value::of(std::int64_t{0});
  std::optional<std::int64_t> out;
  if (v.is_text()) {
    const auto base = static_cast<int>(std::clamp<std::int64_t>(a.integer(1, 10), 2, 36));
    out = parse_integer(v.text(), base);
    if (const auto real = out ? std::nullopt : parse_float(v.text())) out = truncated(*real);
  } else if (v.is_number()) {
    out = v.is_float() ? truncated(v.number()) : v.integer();
  }
  return out ? Value::of(*out) : fallback;
}

Value to_float(Run&, const Value& v, const Bound& a) {
  if (v.is_undefined()) fail(v.complaint());
  if (v.is_number()) return Value::of(v.number());
  if (const auto out = v.is_text() ? parse_float(v.text()) : std::nullopt) return Value::of(*out);
  return a.given(0) ? a[0] : Value::of(0.0);
}

Value rounded(Run&, const Value& v, const Bound& a) {
  const double x = number_of(v);
  const std::int64_t precision = std::clamp<std::int64_t>(a.integer(0, 0), -300, 300);
  const std::string method = a.given(1) ? a.text(1) : "common";
  const double scale = std::pow(10.0, static_cast<double>(precision));
  if (method == "ceil") return Value::of(std::ceil(x * scale) / scale);
  if (method == "floor") return Value::of(std::floor(x * scale) / scale);
  if (method != "common") fail("expected round by common, ceil or floor, found " + method);
  if (!v.is_float() && precision >= 0) return Value::of(v.integer());
  if (!std::isfinite(x)) return v;
  if (precision < 0) {
    const double near = std::nearbyint(x * scale) / scale;
    return v.is_float() ? Value::of(near) : Value::of(truncated(near).value_or(0));
  }
  // The decimal digits of the number itself decide, as in Python, not those of x * 10^n.
  return Value::of(parse_float(fmt::format("{:.{}f}", x, precision)).value_or(x));
}

Value absolute(Run& run, const Value& v, const Bound&) {
  const double x = number_of(v);
  if (v.is_float()) return Value::of(std::abs(x));
  return x < 0 ? binary(run, "-", Value::of(std::int64_t{0}), v) : Value::of(v.integer());
}

// Texts.
template <std::string (*kChange)(std::string_view)>
Value changed(Run& run, const Value& v, const Bound&) {
  return run.text(kChange(run.str(v)));
}

Value as_title(Run& run, const Value& v, const Bound&) { return run.text(title(run.str(v), true)); }

Value as_string(Run& run, const Value& v, const Bound&) {
  return v.is_text() ? v : run.text(run.str(v));
}

Value trimmed(Run& run, const Value& v, const Bound& a) {
  std::optional<std::string_view> set;
  if (a.has(0)) set = a.text(0);
  return run.text(std::string(strip(run.str(v), Sides::kBoth, set)));
}

Value replaced(Run& run, const Value& v, const Bound& a) {
  return run.text(replace(
      run.str(v), run.str(a[0]), run.str(a[1]), a.has(2) ? a.integer(2, -1) : -1, kLongestText));
}

Value indented(Run& run, const Value& v, const Bound& a) {
  const bool by_text = a.given(0) && a[0].is_text();
  const std::int64_t width = by_text ? 0 : a.integer(0, 4);
  constexpr std::int64_t kWidest = 10'000;
  if (width > kWidest) fail("expected an indent that is not so wide", ErrorCode::kResources);
  const std::string indent =
      by_text ? a[0].text()
              : std::string(static_cast<std::size_t>(std::max<std::int64_t>(width, 0)), ' ');
  const bool first = a.truth(1, false);
  const bool blank = a.truth(2, false);
  if (!v.is_text()) fail(fmt::format("expected a text to indent, found {}", type_name(v)));
  const std::vector<std::string> lines = split_lines(v.text() + '\n', false);
  std::string out;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out += '\n';
    if (i == 0 ? first : (blank || !lines[i].empty())) out += indent;
    out += lines[i];
    run.budget().bytes(indent.size());
  }
  return run.text(std::move(out));
}

Value shortened(Run& run, const Value& v, const Bound& a) {
  const std::string text = run.str(v);
  const std::int64_t most = a.integer(0, 255);
  const std::string end = a.given(2) ? a.text(2) : "...";
  const auto marks = static_cast<std::int64_t>(characters(end));
  const std::int64_t leeway = a.has(3) ? a.integer(3, 5) : 5;
  if (most < marks || leeway < 0) fail("expected a length to truncate to that holds the end mark");
  if (static_cast<std::int64_t>(characters(text)) <= most + leeway) return run.text(text);
  std::string cut = text.substr(0, byte_of_character(text, static_cast<std::size_t>(most - marks)));
  if (!a.truth(1, false)) cut = split(cut, " ", 1, true).front();
  return run.text(cut + end);
}

Value centered(Run& run, const Value& v, const Bound& a) {
  return *call_method(run, run.text(run.str(v)), "center", {{Value::of(a.integer(0, 80))}, {}});
}

Value escaped(Run& run, const Value& v, const Bound&) {
  std::string out;
  for (const char c : run.str(v)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '"':
        out += "&#34;";
        break;
      default:
        out += c;
    }
  }
  return run.text(std::move(out));
}

Value url_encoded(Run& run, const Value& v, const Bound&) {
  constexpr std::string_view kPlain = "_.-~/";
  std::string out;
  for (const char c : run.str(v)) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (letter || kPlain.find(c) != kPlain.npos) {
      out += c;
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return run.text(std::move(out));
}

Value word_count(Run& run, const Value& v, const Bound&) {
  return Value::of(static_cast<std::int64_t>(split(run.str(v), std::nullopt, -1, false).size()));
}

// Any value.
Value default_to(Run&, const Value& v, const Bound& a) {
  const bool absent = v.is_undefined() || (a.truth(1, false) && !truth(v));
  return !absent ? v : (a.given(0) ? a[0] : Value::of(std::string()));
}

Value as_json(Run& run, const Value& v, const Bound& a) {
  JsonStyle style;
  style.ascii = a.truth(0, false);
  style.sort_keys = a.truth(3, false);
  if (a.has(1)) {
    constexpr std::int64_t kWidest = 1000;
    style.indent = a[1].is_text() ? a[1].text()
                                  : std::string(static_cast<std::size_t>(std::clamp<std::int64_t>(
                                                    a.integer(1, 0), 0, kWidest)),
                                                ' ');
    style.between_items = ",";
  }
  if (a.has(2)) {
    const List both = iterate(a[2], run.budget());
    if (both.size() != 2 || !both[0].is_text() || !both[1].is_text()) {
      fail("expected two texts as separators of tojson");
    }
    style.between_items = both[0].text();
    style.after_key = both[1].text();
  }
  return run.text(to_json(v, style, run.budget()));
}

Value itself(Run& run, const Value& v, const Bound&) {
  return v.is_text() ? v : run.text(run.str(v));
}

Value attribute_of(Run& run, const Value& v, const Bound& a) {
  return v.is_dict() ? Value::undefined("expected an attribute of a dict, found none")
                     : run.attribute(v, a.text(0));
}

constexpr std::array<Filter, 26> kFilters = {{
    {"abs", "", absolute},
    {"attr", "name", attribute_of},
    {"capitalize", "", changed<capitalize>},
    {"center", "width", centered},
    {"d", "default_value boolean", default_to},
    {"default", "default_value boolean", default_to},
    {"e", "", escaped},
    {"escape", "", escaped},
    {"float", "default", to_float},
    {"forceescape", "", escaped},
    {"indent", "width first blank", indented},
    {"int", "default base", to_integer},
    {"lower", "", changed<lower>},
    {"replace", "old new count", replaced},
    {"round", "precision method", rounded},
    {"safe", "", itself},
    {"string", "", as_string},
    {"title", "", as_title},
    {"tojson", "ensure_ascii indent separators sort_keys", as_json},
    {"trim", "chars", trimmed},
    {"truncate", "length killwords end leeway", shortened},
    {"upper", "", changed<upper>},
    {"urlencode", "", url_encoded},
    {"wordcount", "", word_count},
    {"length", "", [](Run&, const Value& v, const Bound&) { return Value::of(length(v)); }},
    {"count", "", [](Run&, const Value& v, const Bound&) { return Value::of(length(v)); }},
}};

}  // namespace

const Filter* find_text_filter(std::string_view name) {
  for (const Filter& filter : kFilters) {
    if (filter.name == name) return &filter;
  }
  return nullptr;
}

}  // namespace headscope::jinja
