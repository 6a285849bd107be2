#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "cli/words.h"

/// What a terminal shows: columns, figures, bars and colour. Colour never carries the meaning.
namespace headscope::cli {

/// Where the words go.
struct Screen {
  Lang lang = Lang::kEn;
  bool colour = false;
  bool deep = false;  ///< 24 bits of it; else the 256 colours of old
  int width = 80;     ///< columns
};

/// Columns that UTF-8 text takes on a terminal: wide characters two, combining marks none; colour
/// codes of paint() none.
int columns(std::string_view text);

/// Text that is safe on one line of a terminal: white space becomes one space, control characters
/// and those that turn the direction of writing are left out, broken UTF-8 becomes U+FFFD.
std::string clean(std::string_view text);

/// At most `width` columns; what is cut ends in an ellipsis.
std::string clip(std::string_view text, int width);
/// Padded with spaces to `width` columns (text that is longer stays as it is).
std::string left(std::string_view text, int width);
std::string right(std::string_view text, int width);
std::string spaces(int n);
/// Without the spaces at its end.
std::string trimmed(std::string text);
/// The same for every line of a text.
std::string tidy(std::string_view lines);

/// Text broken at spaces, its first line beginning at column `indent` and the others indented to
/// it, so that no line ends past `width`.
std::string wrap(std::string_view text, int width, int indent);

/// A share of 1 in three columns: ".81", "1.0", ".00".
std::string share(double x);
/// Three significant figures without a leading zero: "-.123", "12.3", "1.2e-6".
std::string figure(double x);
/// A large whole number in a few characters: "22.7 M", "512".
std::string large(std::int64_t n);
/// A number of bytes: "269 MB", "512 B".
std::string bytes(std::uint64_t n);
/// A time in milliseconds: "0.31 ms", "11 ms", "1.4 s"; «11 мс».
std::string milliseconds(Lang lang, double ms);
/// A time that has passed or is left: "12 s", "3:05 min", "1:20 h"; «12 с».
std::string duration(Lang lang, double seconds);
/// A bar of at most `width` columns in eighths, padded to `width`.
std::string bar(double part, int width);
/// As many figures of a row as fit, each in `cell` columns: " .12  1.04 ...".
std::string figures(std::span<const float> row, int width, int cell = 9);

enum class Paint { kTitle, kDim, kGood, kBad };
/// Text in a colour or weight, or as it is when the screen has no colour.
std::string paint(const Screen& screen, Paint paint, std::string_view text);
/// Text on a background that is darker the larger `x` (0..1), or as it is without colour.
std::string shade(const Screen& screen, double x, std::string_view text);
/// Number of a colour of the ramp in the 256-colour palette, from paper (0) to dark blue (1), on a
/// square-root scale.
int ramp(double x);

}  // namespace headscope::cli
