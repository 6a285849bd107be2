#include "train/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>

namespace headscope::train {

namespace {

struct Frame {
  double tokens = 0.0;  // from 0 to here
  double low = 0.0, high = 0.0;
  bool empty = true;
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

constexpr double kWidth = 760.0, kHeight = 420.0;
constexpr double kLeft = 56.0, kRight = 130.0, kTop = 20.0, kBottom = 48.0;

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

std::string loss_svg(const std::vector<Curve>& curves,
                     std::string_view tokens,
                     std::string_view loss) {
  const Frame frame = frame_of(curves);
  std::string out = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" "
      "height=\"{1}\" "
      "font-family=\"sans-serif\" font-size=\"12\">\n<style>\n"
      "  svg {{ background: #fff; color: #333 }} .grid {{ stroke: #ddd }} .c0 {{ color: #1f5fa8 }} "
      ".c1 {{ color: #b3541e }} .c2 {{ color: #2c7a4b }} .c3 {{ color: #7a3f98 }}\n"
      "  @media (prefers-color-scheme: dark) {{ svg {{ background: #16181d; color: #ccc }} "
      ".grid {{ stroke: #333 }} .c0 {{ color: #7db4f0 }} .c1 {{ color: #f0a070 }} .c2 {{ color: "
      "#7fcf9f }} "
      ".c3 {{ color: #c79be0 }} }}\n"
      "  text {{ fill: currentColor }} polyline {{ fill: none; stroke: currentColor; stroke-width: "
      "1.6 }}\n"
      "</style>\n",
      kWidth,
      kHeight);
  const auto x = [&](double at) { return kLeft + at / frame.tokens * (kWidth - kLeft - kRight); };
  const auto y = [&](double at) {
    return kTop + (frame.high - at) / (frame.high - frame.low) * (kHeight - kTop - kBottom);
  };
  if (!frame.empty) {
    for (const double at : ticks(frame.low, frame.high, 6)) {
      out += fmt::format(
          "<line class=\"grid\" x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>"
          "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\">{:.4g}</text>\n",
          kLeft,
          kWidth - kRight,
          y(at),
          y(at),
          kLeft - 6,
          y(at) + 4,
          at);
    }
    for (const double at : ticks(0.0, frame.tokens, 6)) {
      out += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>\n",
                         x(at),
                         kHeight - kBottom + 18,
                         amount(at));
    }
  }
  double label = -1e9;
  for (std::size_t c = 0; c < curves.size(); ++c) {
    const std::vector<Point> points = thinned(curves[c].points, 800);
    if (points.empty()) continue;
    out += fmt::format("<g class=\"c{}\"><polyline points=\"", c % 4);
    for (const Point& point : points) {
      out += fmt::format("{:.1f},{:.1f} ", x(static_cast<double>(point.tokens)), y(point.loss));
    }
    // Labels of curves that end close together stand one below the other.
    label = std::max(label + 15.0, y(points.back().loss) + 4.0);
    out += fmt::format("\"/><text x=\"{:.1f}\" y=\"{:.1f}\">{} {:.3f}</text></g>\n",
                       x(static_cast<double>(points.back().tokens)) + 6,
                       label,
                       escaped(curves[c].name),
                       points.back().loss);
  }
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

std::string loss_text(const std::vector<Curve>& curves, int width, int height) {
  const Frame frame = frame_of(curves);
  constexpr int kMargin = 8;
  const int columns = width - kMargin;
  if (frame.empty || columns < 8 || height < 3) return "";
  const auto cells = static_cast<std::size_t>(columns * height);
  std::vector<std::uint8_t> dots(cells, 0);
  std::vector<char> marks(cells, 0);
  constexpr std::array<std::array<std::uint8_t, 2>, 4> kDots{
      {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}}};
  constexpr std::string_view kMarks = "ox+";
  for (std::size_t c = 0; c < curves.size(); ++c) {
    for (const Point& point : thinned(curves[c].points, static_cast<std::size_t>(2 * columns))) {
      const double across = static_cast<double>(point.tokens) / frame.tokens;
      const double down = (frame.high - point.loss) / (frame.high - frame.low);
      const int px = std::min(2 * columns - 1, static_cast<int>(across * (2 * columns - 1) + 0.5));
      const int py = std::min(4 * height - 1, static_cast<int>(down * (4 * height - 1) + 0.5));
      const auto cell = static_cast<std::size_t>(py / 4 * columns + px / 2);
      if (c == 0) {
        dots[cell] |= kDots[static_cast<std::size_t>(py % 4)][static_cast<std::size_t>(px % 2)];
      } else {
        marks[cell] = kMarks[(c - 1) % kMarks.size()];
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
  const std::string last = amount(frame.tokens);
  out += "       +" + std::string(static_cast<std::size_t>(columns - 1), '-') + '\n';
  const int gap = columns - 2 - static_cast<int>(last.size());
  out += "        0" + std::string(static_cast<std::size_t>(std::max(1, gap)), ' ') + last + '\n';
  return out;
}

}  // namespace headscope::train
