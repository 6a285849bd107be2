#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

/// Charts of what models cost and what they reach, as a picture of its own or a page.
namespace headscope::architect {

/// A point with an interval; equal ends: none is drawn.
struct Mark {
  double x = 0.0, y = 0.0, low = 0.0, high = 0.0;
  std::string label;  ///< what stands below it on an axis of names, or beside it
};

struct Line {
  std::string name;
  std::vector<Mark> marks;
  /// What the marks are to be held against: a dashed line across the panel, under its own name.
  std::optional<double> base{};
  std::string base_name{};
};

struct Panel {
  std::string title, x, y;  ///< names of the axes
  std::vector<Line> lines;
  bool names =
      true;  ///< marks stand side by side, in the order of the first line, under their labels
  bool bars = false;   ///< from 0 up, of the first line
  bool joined = true;  ///< marks of a line are joined
};

/// Panels below each other in one SVG: light and dark. Marks that are no numbers are left out.
std::string chart_svg(std::span<const Panel> panels);

/// A page with a chart and tables (rows of cells, the first one the head), which needs no other file.
std::string chart_page(std::string_view title,
                       std::string_view lang,
                       std::string_view svg,
                       const std::vector<std::vector<std::string>>& table,
                       std::string_view note);

}  // namespace headscope::architect
