#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tokenizers/jinja_run.h"
#include "tokenizers/jinja_text.h"

namespace headscope::jinja {

namespace {

[[noreturn]] void fail(std::string message, ErrorCode code = ErrorCode::kInput) {
  throw Failure{code, std::move(message)};
}

[[noreturn]] void too_large() {
  fail("expected whole numbers of at most 64 bits, found a larger one");
}

std::int64_t add(std::int64_t a, std::int64_t b) {
  std::int64_t out = 0;
  if (__builtin_add_overflow(a, b, &out)) too_large();
  return out;
}

std::int64_t subtract(std::int64_t a, std::int64_t b) {
  std::int64_t out = 0;
  if (__builtin_sub_overflow(a, b, &out)) too_large();
  return out;
}

std::int64_t multiply(std::int64_t a, std::int64_t b) {
  std::int64_t out = 0;
  if (__builtin_mul_overflow(a, b, &out)) too_large();
  return out;
}

std::int64_t floor_divide(std::int64_t a, std::int64_t b) {
  if (b == -1) return subtract(0, a);
  return a / b - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0);
}

std::int64_t modulo(std::int64_t a, std::int64_t b) {
  return b == -1 ? 0 : a - floor_divide(a, b) * b;
}

std::int64_t power(std::int64_t a, std::int64_t b) {
  std::int64_t out = 1;
  if (a == 0 || a == 1) return b == 0 ? 1 : a;
  if (a == -1) return b % 2 == 0 ? 1 : -1;
  for (std::int64_t i = 0; i < b; ++i) out = multiply(out, a);
  return out;
}

Value of_integers(std::string_view symbol, std::int64_t a, std::int64_t b) {
  if (symbol == "+") return Value::of(add(a, b));
  if (symbol == "-") return Value::of(subtract(a, b));
  if (symbol == "*") return Value::of(multiply(a, b));
  if (symbol == "**") {
    return b >= 0 ? Value::of(power(a, b))
                  : Value::of(std::pow(static_cast<double>(a), static_cast<double>(b)));
  }
  if (b == 0) fail("expected a division by something other than 0");
  if (symbol == "/") return Value::of(static_cast<double>(a) / static_cast<double>(b));
  return Value::of(symbol == "//" ? floor_divide(a, b) : modulo(a, b));
}

Value of_floats(std::string_view symbol, double a, double b) {
  if (symbol == "+") return Value::of(a + b);
  if (symbol == "-") return Value::of(a - b);
  if (symbol == "*") return Value::of(a * b);
  if (symbol == "**") return Value::of(std::pow(a, b));
  if (b == 0.0) fail("expected a division by something other than 0");
  if (symbol == "/") return Value::of(a / b);
  if (symbol == "//") return Value::of(std::floor(a / b));
  const double rest = std::fmod(a, b);
  return Value::of(rest != 0.0 && (rest < 0.0) != (b < 0.0) ? rest + b : rest);
}

// A text or list, n times.
Value repeated(Run& run, const Value& what, std::int64_t n) {
  const auto times = static_cast<std::size_t>(n < 0 ? 0 : n);
  const std::size_t size = what.is_text() ? what.text().size() : what.sequence().items.size();
  std::size_t total = 0;
  if (__builtin_mul_overflow(size, times, &total)) total = SIZE_MAX;
  run.budget().bytes(total);  // before anything is made
  if (what.is_text()) {
    std::string out;
    out.reserve(total);
    for (std::size_t i = 0; size > 0 && i < times; ++i) out += what.text();
    return Value::of(std::move(out));
  }
  run.budget().step(total);
  List out;
  for (std::size_t i = 0; size > 0 && i < times; ++i) {
    out.insert(out.end(), what.sequence().items.begin(), what.sequence().items.end());
  }
  return run.list(std::move(out), what.sequence().tuple);
}

std::string one_percent(Run& run, std::string_view spec, char kind, const Value& value) {
  const bool left = spec.find('-') != spec.npos;
  const std::size_t first = spec.find_first_of("123456789.");
  const bool zero = spec.find('0') < first && !left;
  std::size_t width = 0;
  std::size_t precision = SIZE_MAX;
  for (std::size_t i = first; i < spec.size(); ++i) {
    constexpr std::size_t kWidest = 10'000;
    if (spec[i] == '.') {
      precision = 0;
      continue;
    }
    if (spec[i] < '0' || spec[i] > '9') fail("expected digits in a format behind %");
    std::size_t& part = precision == SIZE_MAX ? width : precision;
    part = part * 10 + static_cast<std::size_t>(spec[i] - '0');
    if (part > kWidest) fail("expected a format that is not so wide", ErrorCode::kResources);
  }
  std::string out;
  if (kind == 's' || kind == 'r') {
    out = kind == 's' ? run.str(value) : repr(value, run.budget());
    if (precision != SIZE_MAX) out.resize(byte_of_character(out, precision));
  } else {
    if (value.is_undefined()) fail(value.complaint());
    if (!value.is_number()) {
      fail(fmt::format("expected a number for %{}, found {}", kind, type_name(value)));
    }
    const bool whole = kind == 'd' || kind == 'i' || kind == 'x';
    if (whole && value.is_float() && !(std::abs(value.number()) < 9e18)) {
      fail("expected a whole number of at most 64 bits in a format");
    }
    const std::int64_t number = !whole             ? 0
                                : value.is_float() ? static_cast<std::int64_t>(value.number())
                                                   : value.integer();
    const auto digits = static_cast<int>(precision == SIZE_MAX ? 6 : precision);
    out = kind == 'x'   ? fmt::format("{:x}", number)
          : whole       ? fmt::format("{}", number)
          : kind == 'f' ? fmt::format("{:.{}f}", value.number(), digits)
          : kind == 'e' ? fmt::format("{:.{}e}", value.number(), digits)
                        : fmt::format("{:.{}g}", value.number(), digits);
    if (spec.find('+') != spec.npos && out[0] != '-') out.insert(0, 1, '+');
    if (zero && out.size() < width) {
      out.insert(out[0] == '-' || out[0] == '+' ? 1 : 0, width - out.size(), '0');
    }
  }
  const std::size_t n = characters(out);
  if (n < width) out.insert(left ? out.size() : 0, width - n, ' ');
  return out;
}

}  // namespace

Value percent(Run& run, const std::string& format, const List& values) {
  std::string out;
  std::size_t next = 0;
  for (std::size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%') {
      out += format[i];
      continue;
    }
    const std::size_t end = format.find_first_not_of("-+ #0123456789.", i + 1);
    if (end == format.npos) fail("expected a whole format behind %, found the text's end");
    const char kind = format[end];
    if (kind == '%') {
      out += '%';
    } else {
      if (std::string_view("srdifegx").find(kind) == std::string_view::npos) {
        fail(fmt::format("expected one of %s %r %d %f %e %g %x, found %{}", kind),
             ErrorCode::kUnsupported);
      }
      if (next == values.size()) fail("expected as many values as the format names, found fewer");
      out += one_percent(run, format.substr(i + 1, end - i - 1), kind, values[next++]);
    }
    i = end;
  }
  if (next < values.size()) fail("expected as many values as the format names, found more");
  return run.text(std::move(out));
}

Value binary(Run& run, std::string_view symbol, const Value& a, const Value& b) {
  if (a.is_text() && symbol == "%") {
    const bool tuple = b.is_sequence() && b.sequence().tuple;
    return percent(run, a.text(), tuple ? b.sequence().items : List{b});
  }
  if (a.is_undefined()) fail(a.complaint());
  if (b.is_undefined()) fail(b.complaint());
  if (a.is_number() && b.is_number()) {
    if (a.is_float() || b.is_float()) return of_floats(symbol, a.number(), b.number());
    return of_integers(symbol, a.integer(), b.integer());
  }
  if (symbol == "+") {
    if (a.is_text() && b.is_text()) return run.text(a.text() + b.text());
    if (a.is_sequence() && b.is_sequence() && a.sequence().tuple == b.sequence().tuple) {
      List joined = a.sequence().items;
      joined.insert(joined.end(), b.sequence().items.begin(), b.sequence().items.end());
      return run.list(std::move(joined), a.sequence().tuple);
    }
  }
  if (symbol == "*") {
    const auto is_count = [](const Value& v) { return v.is_integer() || v.is_bool(); };
    const auto repeats = [](const Value& v) { return v.is_text() || v.is_sequence(); };
    if (repeats(a) && is_count(b)) return repeated(run, a, b.integer());
    if (repeats(b) && is_count(a)) return repeated(run, b, a.integer());
  }
  fail(fmt::format(
      "expected values that go with {}, found {} and {}", symbol, type_name(a), type_name(b)));
}

Bound::Bound(std::string_view called, std::string_view parameters, const Arguments& arguments)
    : called_(called) {
  std::vector<std::string_view> names;
  for (std::size_t i = 0; i < parameters.size();) {
    const std::size_t end = std::min(parameters.find(' ', i), parameters.size());
    names.push_back(parameters.substr(i, end - i));
    i = end + 1;
  }
  values_.resize(names.size(), nullptr);
  if (arguments.positional.size() > names.size()) {
    fail(fmt::format("expected at most {} arguments of {}, found {}",
                     names.size(),
                     called,
                     arguments.positional.size()));
  }
  for (std::size_t i = 0; i < arguments.positional.size(); ++i)
    values_[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    const auto at = std::find(names.begin(), names.end(), name);
    if (at == names.end()) {
      fail(fmt::format("expected an argument that {} knows, found {}", called, name));
    }
    const Value*& place = values_[static_cast<std::size_t>(at - names.begin())];
    if (place != nullptr) fail(fmt::format("expected {} of {} once, found it twice", name, called));
    place = &value;
  }
}

bool Bound::has(std::size_t i) const { return values_[i] != nullptr && !values_[i]->is_none(); }

const Value& Bound::operator[](std::size_t i) const {
  if (values_[i] == nullptr) {
    fail(fmt::format("expected at least {} arguments of {}, found {}", i + 1, called_, i));
  }
  return *values_[i];
}

std::int64_t Bound::integer(std::size_t i, std::optional<std::int64_t> fallback) const {
  if (values_[i] == nullptr && fallback) return *fallback;
  const Value& value = (*this)[i];
  if (value.is_undefined()) fail(value.complaint());
  if (!value.is_integer() && !value.is_bool()) {
    fail(fmt::format("expected a whole number for {}, found {}", called_, type_name(value)));
  }
  return value.integer();
}

const std::string& Bound::text(std::size_t i) const {
  const Value& value = (*this)[i];
  if (value.is_undefined()) fail(value.complaint());
  if (!value.is_text()) {
    fail(fmt::format("expected a text for {}, found {}", called_, type_name(value)));
  }
  return value.text();
}

bool Bound::truth(std::size_t i, bool fallback) const {
  return values_[i] == nullptr ? fallback : jinja::truth(*values_[i]);
}

}  // namespace headscope::jinja
