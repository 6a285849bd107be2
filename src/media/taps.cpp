#include "media/taps.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace headscope::media {

namespace {

// Keys' cubic: 1 at 0, 0 at 1 and 2, smooth between.
double cubic(double x, double a) {
  x = std::abs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
  if (x < 2.0) return (((x - 5.0) * x + 8.0) * x - 4.0) * a;
  return 0.0;
}

double sinc(double x) {
  if (x == 0.0) return 1.0;
  x *= std::numbers::pi;
  return std::sin(x) / x;
}

struct Shape {
  double support = 0.0;
  double (*at)(double x) = nullptr;
};

Shape shape_of(Filter filter) {
  switch (filter) {
    case Filter::kTriangle:
      return {1.0, [](double x) { return std::max(0.0, 1.0 - std::abs(x)); }};
    case Filter::kHamming:
      return {1.0, [](double x) {
                return std::abs(x) < 1.0
                           ? sinc(x) * (0.54 + 0.46 * std::cos(std::numbers::pi * x))
                           : 0.0;
              }};
    case Filter::kSmoothCubic:
      return {2.0, [](double x) { return cubic(x, -0.5); }};
    case Filter::kLanczos:
      return {3.0, [](double x) { return x >= -3.0 && x < 3.0 ? sinc(x) * sinc(x / 3.0) : 0.0; }};
    default:
      return {0.5, [](double x) { return x > -0.5 && x <= 0.5 ? 1.0 : 0.0; }};
  }
}

void widening(const Shape& shape, std::int64_t from, std::int64_t to, Taps& out) {
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  const double wide = std::max(scale, 1.0);
  const double support = shape.support * wide;
  out.most = static_cast<std::int64_t>(std::ceil(support)) * 2 + 1;
  out.weights.assign(static_cast<std::size_t>(out.most * to), 0.0);
  for (std::int64_t n = 0; n < to; ++n) {
    const double centre = (static_cast<double>(n) + 0.5) * scale;
    const auto begin = std::max<std::int64_t>(0, static_cast<std::int64_t>(centre - support + 0.5));
    const auto end = std::min(from, static_cast<std::int64_t>(centre + support + 0.5));
    double* weights = out.weights.data() + n * out.most;
    double sum = 0.0;
    for (std::int64_t i = begin; i < end; ++i) {
      weights[i - begin] = shape.at((static_cast<double>(i) - centre + 0.5) / wide);
      sum += weights[i - begin];
    }
    for (std::int64_t i = 0; i < end - begin; ++i) weights[i] /= sum;
    out.first.push_back(begin);
    out.count.push_back(end - begin);
  }
}

// Neighbours floor(x) - (most / 2 - 1), ...; those beyond the edge are the number at the edge.
void between(bool smooth, std::int64_t from, std::int64_t to, Taps& out) {
  out.most = smooth ? 4 : 2;
  out.weights.assign(static_cast<std::size_t>(out.most * to), 0.0);
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  for (std::int64_t n = 0; n < to; ++n) {
    const double x = (static_cast<double>(n) + 0.5) * scale - 0.5;
    const auto low = static_cast<std::int64_t>(std::floor(x));
    const std::int64_t begin = std::clamp<std::int64_t>(low - (out.most / 2 - 1), 0, from - 1);
    std::int64_t last = begin;
    for (std::int64_t tap = 0; tap < out.most; ++tap) {
      const std::int64_t at = low - (out.most / 2 - 1) + tap;
      const double far = x - static_cast<double>(at);
      last = std::clamp<std::int64_t>(at, 0, from - 1);
      out.weights[static_cast<std::size_t>(n * out.most + last - begin)] +=
          smooth ? cubic(far, -0.75) : 1.0 - std::abs(far);
    }
    out.first.push_back(begin);
    out.count.push_back(last - begin + 1);
  }
}

}  // namespace

Taps taps(Filter filter, std::int64_t from, std::int64_t to) {
  Taps out;
  if (filter == Filter::kNearest || filter == Filter::kMiddle) {
    out.most = 1;
    out.weights.assign(static_cast<std::size_t>(to), 1.0);
    out.count.assign(static_cast<std::size_t>(to), 1);
    // In f32, as PyTorch counts: where a number sits on an edge, rounding decides.
    const float scale = static_cast<float>(from) / static_cast<float>(to);
    for (std::int64_t n = 0; n < to; ++n) {
      const auto at = filter == Filter::kMiddle
                          ? (2 * n + 1) * from / (2 * to)
                          : static_cast<std::int64_t>(std::floor(static_cast<float>(n) * scale));
      out.first.push_back(std::min(at, from - 1));
    }
  } else if (filter == Filter::kLinear || filter == Filter::kCubic) {
    between(filter == Filter::kCubic, from, to, out);
  } else {
    widening(shape_of(filter), from, to, out);
  }
  return out;
}

}  // namespace headscope::media
