#include "cli/screen.h"

#include <fmt/format.h>
#include <unicode/uchar.h>
#include <unicode/utf8.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace headscope::cli {

namespace {
constexpr std::string_view kEscape = "\x1b[";

UChar32 next(std::string_view text, std::size_t& i) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(text.data());
  auto at = static_cast<std::int32_t>(i);
  UChar32 c = 0;
  U8_NEXT(bytes, at, static_cast<std::int32_t>(text.size()), c);
  i = static_cast<std::size_t>(at);
  return c;
}

int columns_of(UChar32 c) {
  if (c < 0) return 1;
  switch (u_charType(c)) {
    case U_NON_SPACING_MARK:
    case U_ENCLOSING_MARK:
    case U_FORMAT_CHAR:
    case U_CONTROL_CHAR:
      return 0;
    default:
      break;
  }
  const int width = u_getIntPropertyValue(c, UCHAR_EAST_ASIAN_WIDTH);
  return width == U_EA_WIDE || width == U_EA_FULLWIDTH ? 2 : 1;
}

// Past a colour code that starts at i, or i itself when there is none.
std::size_t past_code(std::string_view text, std::size_t i) {
  if (text.substr(i, kEscape.size()) != kEscape) return i;
  const std::size_t end = text.find('m', i);
  return end == std::string_view::npos ? text.size() : end + 1;
}

// Characters that turn the direction of everything after them, and other invisible steering.
bool steers(UChar32 c) {
  return (c >= 0x202A && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069) || c == 0x200E ||
         c == 0x200F || c == 0x061C || c == 0xFEFF;
}

// "1.2e-06" -> "1.2e-6", "1.2e+05" -> "1.2e5"
std::string short_exponent(std::string figure) {
  std::size_t at = figure.find('e') + 1;
  if (figure[at] == '+') {
    figure.erase(at, 1);
  } else {
    ++at;
  }
  if (figure[at] == '0') figure.erase(at, 1);
  return figure;
}

void drop_leading_zero(std::string& figure) {
  if (figure.starts_with("0.")) {
    figure.erase(0, 1);
  } else if (figure.starts_with("-0.")) {
    figure.erase(1, 1);
  }
}
}  // namespace

int columns(std::string_view text) {
  int n = 0;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t past = past_code(text, i);
    if (past != i) {
      i = past;
    } else {
      n += columns_of(next(text, i));
    }
  }
  return n;
}

std::string clean(std::string_view text) {
  std::string out;
  bool space = false;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t begin = i;
    const UChar32 c = next(text, i);
    if (c < 0) {
      out += "\uFFFD";
    } else if (u_isUWhiteSpace(c) != 0) {
      space = !out.empty();
      continue;
    } else if (u_charType(c) == U_CONTROL_CHAR || steers(c)) {
      continue;
    } else {
      if (space) out += ' ';
      out += text.substr(begin, i - begin);
    }
    space = false;
  }
  return out;
}

std::string clip(std::string_view text, int width) {
  if (columns(text) <= width) return std::string(text);
  if (width < 1) return "";
  int n = 0;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t begin = i;
    n += columns_of(next(text, i));
    if (n > width - 1) return std::string(text.substr(0, begin)) + "…";
  }
  return std::string(text);
}

std::string spaces(int n) { return std::string(static_cast<std::size_t>(std::max(n, 0)), ' '); }

std::string trimmed(std::string text) {
  text.erase(text.find_last_not_of(' ') + 1);
  return text;
}

std::string tidy(std::string_view lines) {
  std::string out;
  while (!lines.empty()) {
    const std::size_t end = lines.find('\n');
    out += trimmed(std::string(lines.substr(0, end)));
    if (end == std::string_view::npos) break;
    out += '\n';
    lines.remove_prefix(end + 1);
  }
  return out;
}

std::string left(std::string_view text, int width) {
  return std::string(text) + spaces(width - columns(text));
}

std::string right(std::string_view text, int width) {
  return spaces(width - columns(text)) + std::string(text);
}

std::string wrap(std::string_view text, int width, int indent) {
  std::string out;
  int used = indent;
  for (std::size_t i = 0; i < text.size();) {
    std::size_t end = text.find(' ', i);
    if (end == std::string_view::npos) end = text.size();
    const std::string_view word = text.substr(i, end - i);
    const int n = columns(word);
    if (used > indent && used + 1 + n > width) {
      out += '\n' + spaces(indent);
      used = indent;
    } else if (i > 0) {
      out += ' ';
      ++used;
    }
    out += word;
    used += n;
    i = end + 1;
  }
  return out;
}

std::string share(double x) {
  if (!std::isfinite(x)) return " — ";
  if (x >= 0.995) return "1.0";
  std::string out = fmt::format("{:.2f}", std::max(x, 0.0));
  return out.substr(1);
}

std::string figure(double x) {
  if (!std::isfinite(x)) return fmt::format("{}", x);
  const double size = std::abs(x);
  if (x != 0.0 && (size < 1e-3 || size >= 1e5)) return short_exponent(fmt::format("{:.1e}", x));
  std::string out = size < 999.5 ? fmt::format("{:.3g}", x) : fmt::format("{:.0f}", x);
  drop_leading_zero(out);
  return out;
}

std::string large(std::int64_t n) {
  const auto x = static_cast<double>(n);
  if (n < 10'000) return fmt::format("{}", n);
  if (n < 1'000'000) return fmt::format("{:.3g} k", x / 1e3);
  if (n < 1'000'000'000) return fmt::format("{:.3g} M", x / 1e6);
  return fmt::format("{:.3g} G", x / 1e9);
}

std::string bytes(std::uint64_t n) {
  const std::string number = large(static_cast<std::int64_t>(n));
  return number + (n < 10'000 ? " B" : "B");
}

std::string milliseconds(Lang lang, double ms) {
  if (ms >= 1000.0) return say(lang, Word::kSeconds, fmt::format("{:.1f}", ms / 1000.0));
  return say(lang,
             Word::kMilliseconds,
             ms >= 10.0 ? fmt::format("{:.0f}", ms) : fmt::format("{:.2g}", ms));
}

std::string duration(Lang lang, double seconds) {
  const auto s = static_cast<std::int64_t>(std::clamp(seconds, 0.0, 1e7));
  if (s < 60) return say(lang, Word::kSeconds, s);
  return s < 3600 ? say(lang, Word::kMinutes, fmt::format("{}:{:02}", s / 60, s % 60))
                  : say(lang, Word::kHours, fmt::format("{}:{:02}", s / 3600, s % 3600 / 60));
}

std::string bar(double part, int width) {
  static constexpr std::array<std::string_view, 8> kEighths = {
      "", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const double clamped = std::isfinite(part) ? std::clamp(part, 0.0, 1.0) : 0.0;
  const auto eighths = static_cast<int>(std::lround(clamped * width * 8));
  std::string out;
  for (int i = 0; i < eighths / 8; ++i) out += "█";
  out += kEighths[static_cast<std::size_t>(eighths % 8)];
  return left(out, width);
}

std::string figures(std::span<const float> row, int width, int cell) {
  const auto fit = static_cast<std::size_t>(std::max(width / cell, 1));
  const bool cut = row.size() > fit;
  const std::size_t n =
      cut ? std::max<std::size_t>(
                (static_cast<std::size_t>(width) - 2) / static_cast<std::size_t>(cell), 1)
          : row.size();
  std::string out;
  for (std::size_t i = 0; i < n; ++i) out += right(figure(static_cast<double>(row[i])), cell);
  if (cut) out += " …";
  return out;
}

std::string paint(const Screen& screen, Paint paint, std::string_view text) {
  if (!screen.colour || text.empty()) return std::string(text);
  static constexpr std::array<std::string_view, 4> kCodes = {"1", "2", "32", "31"};
  return fmt::format("\x1b[{}m{}\x1b[0m", kCodes[static_cast<std::size_t>(paint)], text);
}

int ramp(double x) {
  static constexpr std::array<int, 9> kColours = {231, 195, 153, 111, 74, 67, 25, 18, 17};
  const double root = std::sqrt(std::isfinite(x) ? std::clamp(x, 0.0, 1.0) : 0.0);
  return kColours[static_cast<std::size_t>(std::lround(root * (kColours.size() - 1)))];
}

std::string shade(const Screen& screen, double x, std::string_view text) {
  if (!screen.colour) return std::string(text);
  const int ink = x > 0.25 ? 231 : 16;
  return fmt::format("\x1b[38;5;{};48;5;{}m{}\x1b[0m", ink, ramp(x), text);
}

}  // namespace headscope::cli
