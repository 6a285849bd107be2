#include "train/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>

namespace headscope::train {

namespace {

constexpr double kWidth = 760.0, kHeight = 420.0;
constexpr double kLeft = 56.0, kRight = 190.0, kTop = 20.0, kBottom = 48.0;

struct Frame {
  double tokens = 0.0;  // from 0 to here
  double low = 0.0, high = 0.0;
  bool empty = true;

  [[nodiscard]] double x(double at) const {
    return kLeft + at / tokens * (kWidth - kLeft - kRight);
  }
  [[nodiscard]] double y(double at) const {
    return kTop + (high - at) / (high - low) * (kHeight - kTop - kBottom);
  }
};

Frame frame_of(const std::vector<Curve>& curves) {
  Frame frame;
  frame.low = std::numeric_limits<double>::infinity();
  frame.high = -frame.low;
  for (const Curve& curve : curves) {
    for (const Point& point : curve.points) {
      if (!std::isfinite(point.loss)) continue;
      frame.empty = false;
      frame.tokens = std::max(frame.tokens, static_cast<double>(point.tokens));
      frame.low = std::min(frame.low, point.loss);
      frame.high = std::max(frame.high, point.loss);
    }
  }
  if (frame.empty) return frame;
  if (frame.high - frame.low < 1e-9) {
    frame.low -= 0.5;
    frame.high += 0.5;
  }
  frame.tokens = std::max(frame.tokens, 1.0);
  return frame;
}

/// "12 M", "300 k".
std::string amount(double n) {
  if (n >= 1e6) return fmt::format("{:.4g} M", n / 1e6);
  return n >= 1e3 ? fmt::format("{:.4g} k", n / 1e3) : fmt::format("{:.4g}", n);
}

std::vector<Point> thinned(const std::vector<Point>& points, std::size_t most) {
  std::vector<Point> finite;
  for (const Point& point : points) {
    if (std::isfinite(point.loss)) finite.push_back(point);
  }
  if (finite.size() <= most) return finite;
  std::vector<Point> out;
  for (std::size_t i = 0; i < most; ++i) {
    const std::size_t begin = i * finite.size() / most;
    const std::size_t end = (i + 1) * finite.size() / most;
    double sum = 0.0;
    for (std::size_t k = begin; k < end; ++k) sum += finite[k].loss;
    out.push_back(finite[end - 1]);
    out.back().loss = sum / static_cast<double>(end - begin);
  }
  return out;
}

/// Colours of runs, on light and on dark ground.
constexpr std::array<std::pair<const char*, const char*>, 8> kHues = {{{"#1f5fa8", "#7db4f0"},
                                                                       {"#b3541e", "#f0a070"},
                                                                       {"#2c7a4b", "#7fcf9f"},
                                                                       {"#7a3f98", "#c79be0"},
                                                                       {"#a3203f", "#f08aa0"},
                                                                       {"#0f7f86", "#6fd0d6"},
                                                                       {"#7d6608", "#d8c25a"},
                                                                       {"#5c4033", "#c8a48c"}}};

/// Of a run beyond the first: a small letter for training, the same as a capital for validation.
char letter_of(const Curve& curve) {
  constexpr std::string_view kLetters = "xatnszh";
  const char small = kLetters[static_cast<std::size_t>(curve.run - 1) % kLetters.size()];
  return curve.valid ? static_cast<char>(small - 'a' + 'A') : small;
}

std::string style() {
  std::string light, dark;
  for (std::size_t c = 0; c < kHues.size(); ++c) {
    light += fmt::format(".c{} {{ color: {} }} ", c, kHues[c].first);
    dark += fmt::format(".c{} {{ color: {} }} ", c, kHues[c].second);
  }
  return fmt::format(
      "<style>\n  svg {{ background: #fff; color: #333 }} .grid {{ stroke: #ddd }} {}\n"
      "  @media (prefers-color-scheme: dark) {{ svg {{ background: #16181d; color: #ccc }} "
      ".grid {{ stroke: #333 }} {}}}\n"
      "  text {{ fill: currentColor }} polyline {{ fill: none; stroke: currentColor; "
      "stroke-width: 1.6 }}\n  .valid polyline {{ stroke-dasharray: 5 3 }}\n</style>\n",
      light,
      dark);
}

/// Lines across, and numbers on both axes.
std::string axes(const Frame& frame) {
  std::string out;
  for (const double at : ticks(frame.low, frame.high, 6)) {
    out += fmt::format(
        "<line class=\"grid\" x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>"
        "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\">{:.4g}</text>\n",
        kLeft,
        kWidth - kRight,
        frame.y(at),
        frame.y(at),
        kLeft - 6,
        frame.y(at) + 4,
        at);
  }
  for (const double at : ticks(0.0, frame.tokens, 6)) {
    out += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>\n",
                       frame.x(at),
                       kHeight - kBottom + 18,
                       amount(at));
  }
  return out;
}

struct EndLabel {
  const Curve* curve = nullptr;
  double loss = 0.0;
  double y = 0.0;
};

/// At most so many letters.
std::string shortened(std::string_view name, std::size_t most) {
  std::size_t letters = 0;
  for (std::size_t i = 0; i < name.size(); ++i) {
    if ((static_cast<unsigned char>(name[i]) & 0xC0U) == 0x80U) continue;
    if (letters++ == most) return std::string(name.substr(0, i)) + "…";
  }
  return std::string(name);
}

/// The line below a picture of characters, and under it its ends with the name between them.
std::string axis_below(std::string_view name, const std::string& last, int columns) {
  const auto blank = [](std::ptrdiff_t n) {
    return std::string(static_cast<std::size_t>(std::max<std::ptrdiff_t>(1, n)), ' ');
  };
  const auto inside = [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) == 0x80U; };
  const auto letters = std::ssize(name) -
                       static_cast<std::ptrdiff_t>(std::count_if(name.begin(), name.end(), inside));
  const std::ptrdiff_t room = columns - 2 - std::ssize(last);
  const std::ptrdiff_t left = (room - letters) / 2;
  const bool fits = left > 0;
  return "       +" + std::string(static_cast<std::size_t>(columns - 1), '-') + "\n        0" +
         (fits ? blank(left) + std::string(name) + blank(room - letters - left) : blank(room)) +
         last + '\n';
}

/// Beside the picture, at the heights where the curves end, one below the other where these are close
/// together; never as low as the numbers of the axis.
std::string end_labels(std::vector<EndLabel> labels) {
  if (labels.empty()) return "";
  std::stable_sort(
      labels.begin(), labels.end(), [](const auto& a, const auto& b) { return a.y < b.y; });
  const double bottom = kHeight - kBottom;
  const double room = (bottom - kTop) / static_cast<double>(labels.size());
  const double apart = std::min(15.0, room);
  for (std::size_t i = 1; i < labels.size(); ++i)
    labels[i].y = std::max(labels[i].y, labels[i - 1].y + apart);
  labels.back().y = std::min(labels.back().y, bottom);
  for (std::size_t i = labels.size() - 1; i > 0; --i)
    labels[i - 1].y = std::min(labels[i - 1].y, labels[i].y - apart);
  std::string out;
  for (const EndLabel& label : labels) {
    constexpr std::size_t kLetters = 20;
    out += fmt::format(
        "<g class=\"c{}\"><text class=\"end\" x=\"{:.1f}\" y=\"{:.1f}\">{} {:.3f}"
        "<title>{}</title></text></g>\n",
        static_cast<std::size_t>(label.curve->run) % kHues.size(),
        kWidth - kRight + 8,
        label.y,
        escaped(shortened(label.curve->name, kLetters)),
        label.loss,
        escaped(label.curve->name));
  }
  return out;
}

}  // namespace

std::vector<double> ticks(double low, double high, int n) {
  const double rough = (high - low) / n;
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  double step = 10.0 * power;
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= rough) {
      step = factor * power;
      break;
    }
  }
  std::vector<double> out;
  for (double at = std::ceil(low / step) * step; at <= high + step * 1e-9; at += step)
    out.push_back(at);
  return out;
}

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '<') {
      out += "&lt;";
    } else if (c == '&') {
      out += "&amp;";
    } else if (c == '>') {
      out += "&gt;";
    } else if (static_cast<unsigned char>(c) >= 0x20) {
      out += c;
    }
  }
  return out;
}

std::string mark_of(const Curve& curve) {
  if (curve.run == 0) return curve.valid ? "o" : "⣀";
  return std::string(1, letter_of(curve));
}

std::string loss_svg(const std::vector<Curve>& curves,
                     std::string_view tokens,
                     std::string_view loss) {
  const Frame frame = frame_of(curves);
  std::string out = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" "
      "height=\"{1}\" font-family=\"sans-serif\" font-size=\"12\">\n{2}",
      kWidth,
      kHeight,
      style());
  if (!frame.empty) out += axes(frame);
  std::vector<EndLabel> labels;
  for (const Curve& curve : curves) {
    const std::vector<Point> points = thinned(curve.points, 800);
    if (points.empty()) continue;
    out += fmt::format("<g class=\"c{}{}\"><polyline points=\"",
                       static_cast<std::size_t>(curve.run) % kHues.size(),
                       curve.valid ? " valid" : "");
    for (const Point& point : points) {
      out += fmt::format(
          "{:.1f},{:.1f} ", frame.x(static_cast<double>(point.tokens)), frame.y(point.loss));
    }
    out += "\"/></g>\n";
    labels.push_back({&curve, points.back().loss, frame.y(points.back().loss) + 4.0});
  }
  out += end_labels(std::move(labels));
  out += fmt::format(
      "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>\n"
      "<text transform=\"translate(14 {:.1f}) rotate(-90)\" "
      "text-anchor=\"middle\">{}</text>\n</svg>\n",
      kLeft + (kWidth - kLeft - kRight) / 2,
      kHeight - 10,
      escaped(tokens),
      kTop + (kHeight - kTop - kBottom) / 2,
      escaped(loss));
  return out;
}

std::string loss_text(const std::vector<Curve>& curves,
                      std::string_view tokens,
                      int width,
                      int height) {
  const Frame frame = frame_of(curves);
  constexpr int kMargin = 8;
  const int columns = width - kMargin;
  if (frame.empty || columns < 8 || height < 3) return "";
  const auto cells = static_cast<std::size_t>(columns * height);
  std::vector<std::uint8_t> dots(cells, 0);
  std::vector<char> marks(cells, 0);
  constexpr std::array<std::array<std::uint8_t, 2>, 4> kDots{
      {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}}};
  for (const Curve& curve : curves) {
    for (const Point& point : thinned(curve.points, static_cast<std::size_t>(2 * columns))) {
      const double across = static_cast<double>(point.tokens) / frame.tokens;
      const double down = (frame.high - point.loss) / (frame.high - frame.low);
      const int px = std::min(2 * columns - 1, static_cast<int>(across * (2 * columns - 1) + 0.5));
      const int py = std::min(4 * height - 1, static_cast<int>(down * (4 * height - 1) + 0.5));
      const auto cell = static_cast<std::size_t>(py / 4 * columns + px / 2);
      if (curve.run == 0 && !curve.valid) {
        dots[cell] |= kDots[static_cast<std::size_t>(py % 4)][static_cast<std::size_t>(px % 2)];
      } else {
        marks[cell] = curve.run == 0 ? 'o' : letter_of(curve);
      }
    }
  }
  std::string out;
  for (int row = 0; row < height; ++row) {
    const double at = frame.high - (frame.high - frame.low) * row / (height - 1);
    out += row == 0 || row + 1 == height || row == height / 2 ? fmt::format("{:6.3f} |", at)
                                                              : std::string("       |");
    std::string line;
    for (int column = 0; column < columns; ++column) {
      const auto cell = static_cast<std::size_t>(row * columns + column);
      if (marks[cell] != 0) {
        line += marks[cell];
      } else if (dots[cell] != 0) {
        line += "\xE2";  // U+2800 + dots
        line += static_cast<char>(0xA0 | (dots[cell] >> 6));
        line += static_cast<char>(0x80 | (dots[cell] & 0x3F));
      } else {
        line += ' ';
      }
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + '\n';
  }
  return out + axis_below(tokens, amount(frame.tokens), columns);
}

}  // namespace headscope::train
