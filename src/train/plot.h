#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "train/checkpoint.h"

/// Loss curves as a picture and as characters.
namespace headscope::train {

struct Curve {
  std::string name;
  std::vector<Point> points;
};

/// Loss (nats a label) over tokens as an SVG of its own: light and dark, one colour and one end label a curve. Curves
/// of more than 800 points are thinned by means. `tokens`, `loss`: names of the axes.
std::string loss_svg(const std::vector<Curve>& curves,
                     std::string_view tokens,
                     std::string_view loss);

/// The same in `width` x `height` characters of braille dots, with axes; lines end in '\n'. Curves beyond the first are
/// told apart by marks (o, x, +). "" when there is nothing to draw.
std::string loss_text(const std::vector<Curve>& curves, int width, int height);

/// About `n` round numbers in [low, high], for an axis.
std::vector<double> ticks(double low, double high, int n);
/// A text for SVG and HTML.
std::string escaped(std::string_view text);

}  // namespace headscope::train
