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
  int run = 0;         ///< curves of a run share a colour
  bool valid = false;  ///< of validation: dashed
};

/// What stands for a curve in loss_text: ⣀ and o for the first run, then x and X, a and A, ...
/// Eight runs are told apart.
std::string mark_of(const Curve& curve);

/// Loss over tokens as an SVG of its own: light and dark, one colour a run (eight, then again), dashes for validation,
/// one end label a curve. Curves of more than 800 points are thinned by means. `tokens`, `loss`: names of the axes.
std::string loss_svg(const std::vector<Curve>& curves,
                     std::string_view tokens,
                     std::string_view loss);

/// The same in `width` x `height` characters of braille dots, with axes; lines end in '\n'. Marks as
/// mark_of says; `tokens` names the axis below, where there is room for it. "" when there is nothing to draw.
std::string loss_text(const std::vector<Curve>& curves,
                      std::string_view tokens,
                      int width,
                      int height);

/// About `n` round numbers in [low, high], for an axis.
std::vector<double> ticks(double low, double high, int n);
/// A text for SVG and HTML.
std::string escaped(std::string_view text);

}  // namespace headscope::train
