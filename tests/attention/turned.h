#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>

#include "headscope/attention.h"
#include "kernels/isa.h"

/// What the tests of `rotate` and of `split` share: the turn in long double.
namespace headscope::testing_support {

// A product of two f32 roundings, their sum and the roundings of cos and sin: under 4 units.
inline constexpr double kUnit = 0x1p-24;
inline constexpr double kTurnError = 4.0 * kUnit;

template <typename Body>
void on_every_table(const Body& body) {
  for (const kernels::Table* table : kernels::tables()) {
    kernels::use(table->name);
    SCOPED_TRACE(std::string(table->name));
    body();
  }
  kernels::use("auto");
}

inline Tensor counting(std::int64_t first, std::int64_t T) {
  Tensor p(DType::kI64, {1, T});
  for (std::int64_t t = 0; t < T; ++t)
    p.span<std::int64_t>()[static_cast<std::size_t>(t)] = first + t;
  return p;
}

struct Pair {
  std::int64_t a, b;
};
inline Pair pair_of(Rotary::Style style, std::int64_t m, std::int64_t width) {
  return style == Rotary::Style::kGptj ? Pair{2 * m, 2 * m + 1} : Pair{m, m + width / 2};
}

// Compares what `rotate` made of `before` with angles p * base^(-2m/width) in long double.
inline void expect_turned(const View<const float, 4>& before,
                          const View<const float, 4>& after,
                          const Rotary& r,
                          double base,
                          const View<const std::int64_t, 2>& positions,
                          Turn turn) {
  const auto [B, H, T, D] = before.shape;
  const std::int64_t width = r.width();
  for (std::int64_t b = 0; b < B; ++b) {
    for (std::int64_t t = 0; t < T; ++t) {
      const std::int64_t p = positions(positions.shape[0] == 1 ? 0 : b, t);
      for (std::int64_t m = 0; m < width / 2; ++m) {
        const long double angle =
            static_cast<long double>(turn == Turn::kBack ? -p : p) *
            std::pow(static_cast<long double>(base),
                     -2.0L * static_cast<long double>(m) / static_cast<long double>(width));
        const auto c = static_cast<double>(std::cos(angle)) * r.factor;
        const auto s = static_cast<double>(std::sin(angle)) * r.factor;
        const Pair at = pair_of(r.style, m, width);
        for (std::int64_t h = 0; h < H; ++h) {
          const double x = before(b, h, t, at.a);
          const double y = before(b, h, t, at.b);
          const double error = kTurnError * r.factor * (std::abs(x) + std::abs(y));
          ASSERT_NEAR(double{after(b, h, t, at.a)}, x * c - y * s, error) << t << " " << m;
          ASSERT_NEAR(double{after(b, h, t, at.b)}, y * c + x * s, error) << t << " " << m;
        }
      }
      for (std::int64_t h = 0; h < H; ++h) {
        for (std::int64_t d = width; d < D; ++d)
          ASSERT_EQ(after(b, h, t, d), before(b, h, t, d)) << "past the width";
      }
    }
  }
}

inline ErrorCode code_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& e) {
    return e.code();
  }
  return ErrorCode::kInternal;
}

}  // namespace headscope::testing_support
