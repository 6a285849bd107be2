#include "architect/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "train/plot.h"

namespace headscope::architect {

namespace {

using train::escaped;

constexpr double kWidth = 760.0, kHeight = 300.0;
constexpr double kLeft = 70.0, kRight = 130.0, kTop = 34.0, kBottom = 48.0;

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();

  void take(double x) {
    if (!std::isfinite(x)) return;
    low = std::min(low, x);
    high = std::max(high, x);
  }
  void settle(double share) {
    if (!(low <= high)) {
      low = 0.0;
      high = 1.0;
    }
    const double room = high > low ? share * (high - low) : std::max(1e-9, 0.1 * std::abs(high));
    low -= room;
    high += room;
  }
};

std::string short_number(double x) {
  const double size = std::abs(x);
  if (size < 1e-12) return "0";
  if (size >= 1e9) return fmt::format("{:.4g} G", x / 1e9);
  if (size >= 1e6) return fmt::format("{:.4g} M", x / 1e6);
  if (size >= 1e4) return fmt::format("{:.4g} k", x / 1e3);
  return fmt::format("{:.4g}", x);
}

class Drawing {
 public:
  Drawing(const Panel& panel, double top) : panel_(panel), top_(top) {
    for (const Line& line : panel.lines) {
      if (line.base) up_.take(*line.base);
      for (const Mark& mark : line.marks) {
        if (!std::isfinite(mark.y)) continue;
        across_.take(mark.x);
        up_.take(mark.y);
        if (mark.low < mark.high) {
          up_.take(mark.low);
          up_.take(mark.high);
        }
      }
    }
    across_.settle(0.08);
    if (panel.bars) {
      up_.low = 0.0;
      up_.high = std::isfinite(up_.high) && up_.high > 0.0 ? 1.08 * up_.high : 1.0;
    } else {
      up_.settle(0.08);
    }
    places_ = panel.lines.empty() ? 1 : std::max<std::size_t>(1, panel.lines.front().marks.size());
  }

  std::string draw() {
    frame();
    for (std::size_t n = 0; n < panel_.lines.size(); ++n) line(panel_.lines[n], n);
    return std::move(out_);
  }

 private:
  [[nodiscard]] double x(const Mark& mark, std::size_t place) const {
    const double width = kWidth - kLeft - kRight;
    if (panel_.names)
      return kLeft + width * (static_cast<double>(place) + 0.5) / static_cast<double>(places_);
    return kLeft + width * (mark.x - across_.low) / (across_.high - across_.low);
  }
  [[nodiscard]] double y(double at) const {
    return top_ + kTop + (up_.high - at) / (up_.high - up_.low) * (kHeight - kTop - kBottom);
  }

  void text(double at_x, double at_y, const char* anchor, std::string_view words) {
    out_ += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>\n",
                        at_x,
                        at_y,
                        anchor,
                        escaped(words));
  }

  void frame() {
    out_ += fmt::format("<text class=\"title\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n",
                        kLeft,
                        top_ + 20,
                        escaped(panel_.title));
    for (const double at : train::ticks(up_.low, up_.high, 5)) {
      out_ += fmt::format(
          "<line class=\"grid\" x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>\n",
          kLeft,
          kWidth - kRight,
          y(at),
          y(at));
      text(kLeft - 6, y(at) + 4, "end", short_number(at));
    }
    const double below = top_ + kHeight - kBottom + 18;
    if (panel_.names && !panel_.lines.empty()) {
      const auto& marks = panel_.lines.front().marks;
      for (std::size_t n = 0; n < marks.size(); ++n)
        text(x(marks[n], n), below, "middle", marks[n].label);
    } else {
      for (const double at : train::ticks(across_.low, across_.high, 6))
        text(x({at, 0.0, 0.0, 0.0, {}}, 0), below, "middle", short_number(at));
    }
    text(kLeft + (kWidth - kLeft - kRight) / 2, below + 20, "middle", panel_.x);
    out_ += fmt::format(
        "<text transform=\"translate(14 {:.1f}) rotate(-90)\" text-anchor=\"middle\">{}</text>\n",
        top_ + kTop + (kHeight - kTop - kBottom) / 2,
        escaped(panel_.y));
  }

  /// Names of lines that end close together stand one below the other.
  static double label_at(std::vector<double>& labels, double at) {
    constexpr double kApart = 14.0;
    const auto close = [&](double other) { return std::abs(other - at) < kApart; };
    while (std::any_of(labels.begin(), labels.end(), close)) at += 1.0;
    labels.push_back(at);
    return at;
  }

  void base(const Line& line) {
    out_ += fmt::format("<path class=\"base\" d=\"M{:.1f} {:.1f}H{:.1f}\"/>",
                        kLeft,
                        y(*line.base),
                        kWidth - kRight);
    // Many marks leave names of lines no room on the left of these.
    std::vector<double>& labels = places_ > 6 ? labels_ : bases_;
    text(kWidth - kRight + 6, label_at(labels, y(*line.base) + 4.0), "start", line.base_name);
  }

  void line(const Line& line, std::size_t number) {
    out_ += fmt::format("<g class=\"c{}\">", number % 4);
    std::string path;
    const Mark* last = nullptr;
    double last_x = 0.0;
    for (std::size_t n = 0; n < line.marks.size(); ++n) {
      const Mark& mark = line.marks[n];
      if (!std::isfinite(mark.y)) continue;
      const double at = x(mark, n);
      if (panel_.bars && number == 0) {
        const double half = 0.3 * (kWidth - kLeft - kRight) / static_cast<double>(places_);
        out_ += fmt::format("<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\"/>",
                            at - half,
                            y(mark.y),
                            2 * half,
                            y(0.0) - y(mark.y));
        text(at, y(mark.y) - 4, "middle", short_number(mark.y));
      } else {
        out_ += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\"/>", at, y(mark.y));
        if (mark.low < mark.high) {
          out_ += fmt::format(
              "<path d=\"M{0:.1f} {1:.1f}V{2:.1f}M{3:.1f} {1:.1f}h8M{3:.1f} {2:.1f}h8\"/>",
              at,
              y(mark.low),
              y(mark.high),
              at - 4);
        }
        if (!panel_.names) text(at + 6, y(mark.y) - 6, "start", mark.label);
      }
      path += fmt::format("{:.1f},{:.1f} ", at, y(mark.y));
      last = &mark;
      last_x = at;
    }
    const bool bars = panel_.bars && number == 0;
    if (panel_.joined && !bars && !path.empty())
      out_ += fmt::format("<polyline points=\"{}\"/>", path);
    if (last != nullptr && panel_.names && !bars)
      text(last_x + 10, label_at(labels_, y(last->y) + 4.0), "start", line.name);
    // In the colour of its line; over bars, in that of the words.
    const bool based = line.base && std::isfinite(*line.base);
    if (based && !bars) base(line);
    out_ += "</g>\n";
    if (based && bars) base(line);
  }

  const Panel& panel_;
  double top_;
  Range across_, up_;
  std::size_t places_ = 1;
  std::vector<double> labels_, bases_;
  std::string out_;
};

constexpr std::string_view kStyle =
    "  svg { background: #fff; color: #333 } .grid { stroke: #ddd } .title { font-weight: bold }\n"
    "  .c0 { color: #1f5fa8 } .c1 { color: #b3541e } .c2 { color: #2c7a4b } .c3 { color: #7a3f98 "
    "}\n"
    "  @media (prefers-color-scheme: dark) { svg { background: #16181d; color: #ccc }\n"
    "  .grid { stroke: #333 } .c0 { color: #7db4f0 } .c1 { color: #f0a070 } .c2 { color: #7fcf9f "
    "}\n"
    "  .c3 { color: #c79be0 } }\n"
    "  text, circle, rect { fill: currentColor } polyline, path { fill: none; stroke: currentColor;"
    " stroke-width: 1.5 }\n"
    "  .base { stroke-dasharray: 6 4; stroke-width: 1 }\n";

}  // namespace

std::string chart_svg(std::span<const Panel> panels) {
  const double height = kHeight * static_cast<double>(std::max<std::size_t>(1, panels.size()));
  std::string out = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" "
      "height=\"{1}\" font-family=\"sans-serif\" font-size=\"12\">\n<style>\n{2}</style>\n",
      kWidth,
      height,
      kStyle);
  for (std::size_t n = 0; n < panels.size(); ++n)
    out += Drawing(panels[n], kHeight * static_cast<double>(n)).draw();
  return out + "</svg>\n";
}

std::string chart_page(std::string_view title,
                       std::string_view lang,
                       std::string_view svg,
                       const std::vector<std::vector<std::string>>& table,
                       std::string_view note) {
  std::string out = fmt::format(
      "<!doctype html>\n<html lang=\"{0}\"><head><meta charset=\"utf-8\"><title>{1}</title>\n"
      "<meta name=\"viewport\" content=\"width=device-width\">\n<style>\n"
      "  body {{ font: 15px/1.5 sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; "
      "background: #fff; color: #333 }}\n"
      "  table {{ border-collapse: collapse; font-variant-numeric: tabular-nums }} td, th {{ "
      "padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #ddd }}\n"
      "  svg {{ max-width: 100%; height: auto }}\n"
      "  @media (prefers-color-scheme: dark) {{ body {{ background: #16181d; color: #ccc }} td, th "
      "{{ border-color: #333 }} }}\n</style></head>\n<body><h1>{1}</h1>\n{2}<table>\n",
      escaped(lang),
      escaped(title),
      svg);
  for (std::size_t n = 0; n < table.size(); ++n) {
    out += "<tr>";
    const char* cell = n == 0 ? "th" : "td";
    for (const std::string& words : table[n])
      out += fmt::format("<{0}>{1}</{0}>", cell, escaped(words));
    out += "</tr>\n";
  }
  return out + fmt::format("</table>\n<p>{}</p>\n</body></html>\n", escaped(note));
}

}  // namespace headscope::architect
