#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "headscope/split.h"
#include "headscope/threads.h"
#include "kernels/heads.h"
#include "kernels/isa.h"

namespace headscope {

namespace {

constexpr std::int64_t kMaxWidth = 1 << 16;
constexpr std::int64_t kTokens = 64;                       // that one task turns
constexpr std::int64_t kFurthest = std::int64_t{1} << 53;  // doubles hold every position up to here

// cos and sin of one position after the other. Sums of angles take a step to the next position, at
// a tenth of the cost of cos and sin; every task starts with exact ones, so that the at most
// kTokens roundings in double stay far below one in f32.
class Angles {
 public:
  Angles(const Rotary& rotary, Turn turn)
      : frequencies_(rotary.frequencies),
        cos_scale_(rotary.factor),
        sin_scale_(turn == Turn::kBack ? -rotary.factor : rotary.factor),
        at_(frequencies_.size()),
        step_(frequencies_.size()),
        cos_(frequencies_.size()),
        sin_(frequencies_.size()) {}

  void move_to(std::int64_t position) {
    if (started_ && position == position_) return;
    if (started_ && position - 1 == position_)
      advance();
    else
      set(at_, static_cast<double>(position));
    started_ = true;
    position_ = position;
    for (std::size_t m = 0; m < at_.size(); ++m) {
      cos_[m] = static_cast<float>(cos_scale_ * at_[m].cos);
      sin_[m] = static_cast<float>(sin_scale_ * at_[m].sin);
    }
  }
  [[nodiscard]] const float* cos() const { return cos_.data(); }
  [[nodiscard]] const float* sin() const { return sin_.data(); }

 private:
  struct Point {
    double cos = 1.0;
    double sin = 0.0;
  };

  void set(std::vector<Point>& points, double position) const {
    for (std::size_t m = 0; m < points.size(); ++m) {
      const double angle = position * frequencies_[m];
      points[m] = {std::cos(angle), std::sin(angle)};
    }
  }
  void advance() {
    if (!stepped_) set(step_, 1.0);
    stepped_ = true;
    for (std::size_t m = 0; m < at_.size(); ++m) {
      const Point a = at_[m];
      const Point s = step_[m];
      at_[m] = {a.cos * s.cos - a.sin * s.sin, a.sin * s.cos + a.cos * s.sin};
    }
  }

  const std::vector<double>& frequencies_;
  double cos_scale_;
  double sin_scale_;
  std::vector<Point> at_;
  std::vector<Point> step_;
  std::vector<float> cos_;
  std::vector<float> sin_;
  std::int64_t position_ = 0;
  bool started_ = false;
  bool stepped_ = false;
};

void check(const Rotary& rotary,
           const View<float, 4>& heads,
           const View<const std::int64_t, 2>& positions) {
  const auto [B, N, T, D] = heads.shape;
  if (rotary.width() < 2 || rotary.width() > D || (D > 1 && heads.stride[3] != 1)) {
    throw Error(ErrorCode::kShape,
                fmt::format("[split] expected a rotary width of 2 to {} and contiguous heads, "
                            "found {} and strides {}",
                            D,
                            rotary.width(),
                            to_string(heads.stride)));
  }
  const auto [batch, tokens] = positions.shape;
  if (positions.data == nullptr || (batch != B && batch != 1) || tokens != T) {
    throw Error(ErrorCode::kShape,
                fmt::format("[split] expected positions [{},{}] or [1,{}], found {}",
                            B,
                            T,
                            T,
                            to_string(positions.shape)));
  }
  for (std::int64_t b = 0; b < batch; ++b) {
    for (std::int64_t t = 0; t < tokens; ++t) {
      if (const std::int64_t p = positions(b, t); p < -kFurthest || p > kFurthest) {
        throw Error(ErrorCode::kRange,
                    fmt::format("[split] expected positions up to 2^53, found {}", p));
      }
    }
  }
  const auto bad = std::find_if_not(rotary.frequencies.begin(),
                                    rotary.frequencies.end(),
                                    [](double f) { return std::isfinite(f); });
  if (bad != rotary.frequencies.end() || !std::isfinite(rotary.factor)) {
    throw Error(ErrorCode::kRange,
                fmt::format("[split] expected finite rotary frequencies and factor, found {}",
                            bad != rotary.frequencies.end() ? *bad : rotary.factor));
  }
}

}  // namespace

Rotary Rotary::plain(Style style, std::int64_t width, double base) {
  if (width < 2 || width % 2 != 0 || width > kMaxWidth) {
    throw Error(
        ErrorCode::kRange,
        fmt::format("[rotary] expected an even width of 2 to {}, found {}", kMaxWidth, width));
  }
  if (!std::isfinite(base) || base <= 0.0) {
    throw Error(ErrorCode::kRange,
                fmt::format("[rotary] expected a finite base above 0, found {}", base));
  }
  Rotary rotary{style, std::vector<double>(static_cast<std::size_t>(width / 2)), 1.0};
  for (std::size_t m = 0; m < rotary.frequencies.size(); ++m) {
    rotary.frequencies[m] =
        std::pow(base, -2.0 * static_cast<double>(m) / static_cast<double>(width));
  }
  return rotary;
}

void rotate(const Rotary& rotary,
            View<float, 4> heads,
            View<const std::int64_t, 2> positions,
            Turn turn) {
  if (rotary.style == Rotary::Style::kNone) return;
  check(rotary, heads, positions);
  const std::int64_t B = heads.shape[0];
  const std::int64_t T = heads.shape[2];
  const std::int64_t pieces = (T + kTokens - 1) / kTokens;
  const auto body = kernels::head_bodies(kernels::table().name).turn;
  parallel_for(B * pieces, [&](std::int64_t task) {
    const std::int64_t b = task / pieces;
    const std::int64_t first = task % pieces * kTokens;
    Angles angles(rotary, turn);
    for (std::int64_t t = first; t < std::min(first + kTokens, T); ++t) {
      angles.move_to(positions(positions.shape[0] == 1 ? 0 : b, t));
      body({heads.data + b * heads.stride[0] + t * heads.stride[2],
            heads.shape[1],
            heads.stride[1],
            angles.cos(),
            angles.sin(),
            rotary.width() / 2,
            rotary.style == Rotary::Style::kGptj});
    }
  });
}

}  // namespace headscope
