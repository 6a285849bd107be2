// Patches, windows and biases against plain loops.
#include "models/places.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <set>

namespace headscope::models {
namespace {

Tensor random_tensor(Shape shape, unsigned seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal;
  Tensor t(DType::kF32, std::move(shape));
  for (float& x : t.span<float>()) x = normal(engine);
  return t;
}

TEST(Places, EveryPatchSitsInOneWindow) {
  for (const auto& [rows, columns, side, shift] :
       {std::array<std::int64_t, 4>{8, 8, 4, 0}, {8, 8, 4, 2}, {7, 10, 3, 1}, {5, 5, 5, 0}, {9, 4, 4, 2}}) {
    const Places places = places_of(Meeting::kWindows, {1, rows, columns}, 0, side, shift);
    std::multiset<std::int64_t> found;
    for (const std::int64_t row : places.row) {
      if (row >= 0) found.insert(row);
    }
    ASSERT_EQ(static_cast<std::int64_t>(found.size()), rows * columns);
    for (std::int64_t n = 0; n < rows * columns; ++n) EXPECT_EQ(found.count(n), 1U) << n;
    const Tensor x = random_tensor({2, rows * columns, 3}, 7);
    const Tensor back = scattered(gathered(x, places), places, rows * columns);
    for (std::size_t i = 0; i < x.span<float>().size(); ++i)
      EXPECT_EQ(back.span<float>()[i], x.span<float>()[i]);
  }
}

// Patches of a moved window see each other just when they are less than a window apart in the picture too.
TEST(Places, WhatWrapsAroundIsKeptApart) {
  const std::int64_t columns = 12;
  const std::int64_t side = 4;
  const Places places = places_of(Meeting::kWindows, {1, 8, columns}, 0, side, 2);
  for (std::int64_t w = 0; w < places.sequences; ++w) {
    for (std::int64_t i = 0; i < places.length; ++i) {
      for (std::int64_t j = 0; j < places.length; ++j) {
        const auto a = static_cast<std::size_t>(w * places.length + i);
        const auto b = static_cast<std::size_t>(w * places.length + j);
        const std::int64_t down = std::abs(places.row[a] / columns - places.row[b] / columns);
        const std::int64_t across = std::abs(places.row[a] % columns - places.row[b] % columns);
        EXPECT_EQ(places.region[a] == places.region[b], down < side && across < side);
      }
    }
  }
}

TEST(Places, TimeAndSpaceCrossInOnePatch) {
  const Grid grid{3, 2, 5};
  const Places time = places_of(Meeting::kTime, grid, 1, 0, 0);
  const Places space = places_of(Meeting::kSpace, grid, 1, 0, 0);
  EXPECT_EQ(time.sequences, 10);
  EXPECT_EQ(time.length, 3);
  EXPECT_EQ(space.sequences, 3);
  EXPECT_EQ(space.length, 11);
  for (std::int64_t frame = 0; frame < 3; ++frame) {
    EXPECT_EQ(space.row[static_cast<std::size_t>(frame * 11)], 0);
    for (std::int64_t patch = 0; patch < 10; ++patch) {
      EXPECT_EQ(space.row[static_cast<std::size_t>(frame * 11 + 1 + patch)],
                time.row[static_cast<std::size_t>(patch * 3 + frame)]);
    }
  }
}

TEST(Places, ARowInSeveralSequencesGetsTheirMean) {
  const Places space = places_of(Meeting::kSpace, {3, 1, 2}, 1, 0, 0);
  const Tensor found = random_tensor({3, 3, 2}, 3);
  const Tensor rows = scattered(found, space, 7);
  const auto f = found.view<float, 3>();
  for (std::int64_t c = 0; c < 2; ++c) {
    EXPECT_NEAR((rows.view<float, 3>()(0, 0, c)), (f(0, 0, c) + f(1, 0, c) + f(2, 0, c)) / 3.0F, 1e-6);
    EXPECT_EQ((rows.view<float, 3>()(0, 1 + 3 * 1 + 2, c)), f(2, 2, c));  // patch 1 of frame 2
  }
}

TEST(Places, WindowBiasGoesByDistance) {
  const Tensor table = random_tensor({25, 2}, 1);  // windows of 3 x 3
  const Tensor bias = window_bias(table, 3);
  for (std::int64_t i = 0; i < 9; ++i) {
    for (std::int64_t j = 0; j < 9; ++j) {
      const std::int64_t row = (i / 3 - j / 3 + 2) * 5 + (i % 3 - j % 3 + 2);
      EXPECT_EQ((bias.view<float, 4>()(0, 1, i, j)), (table.view<float, 2>()(row, 1)));
    }
  }
}

TEST(Places, PictureBiasGoesByDistanceAndKnowsTheRowInFront) {
  const Grid grid{1, 3, 3};
  const Tensor table = random_tensor({5 * 5 + 3, 2}, 2);
  const Tensor bias = picture_bias(table, grid, grid);
  const auto b = bias.view<float, 4>();
  const auto t = table.view<float, 2>();
  EXPECT_EQ(b(0, 0, 0, 0), t(27, 0));
  EXPECT_EQ(b(0, 0, 0, 4), t(25, 0));
  EXPECT_EQ(b(0, 0, 4, 0), t(26, 0));
  // Patch (2,1) on patch (0,2): two down, one to the left.
  EXPECT_EQ(b(0, 1, 1 + 7, 1 + 2), t((2 + 2) * 5 + (-1 + 2), 1));
  // For a larger picture a distance of half as many patches says as much: corners stay corners.
  const Tensor larger = picture_bias(table, grid, {1, 6, 6});
  EXPECT_NEAR((larger.view<float, 4>()(0, 0, 1, 36)), t(0, 0), 1e-6);
  EXPECT_NEAR((larger.view<float, 4>()(0, 0, 36, 1)), t(24, 0), 1e-6);
}

TEST(Patches, FittedToItsOwnSizeIsTheSame) {
  const Tensor table = random_tensor({4, 6, 3}, 4);
  for (const Fit fit : {Fit::kBicubic, Fit::kBicubicSmooth, Fit::kNearest}) {
    const Tensor same = fitted(table.view<float, 3>(), 4, 6, fit);
    for (std::size_t i = 0; i < table.span<float>().size(); ++i)
      EXPECT_NEAR(same.span<float>()[i], table.span<float>()[i], 1e-6);
  }
}

// Cubic interpolation by its definition, point by point.
TEST(Patches, FittedIsTheCubicOfItsSixteenNeighbours) {
  const Tensor table = random_tensor({5, 4, 2}, 5);
  const auto from = table.view<float, 3>();
  const auto cubic = [](double x) {
    const double a = -0.75;
    x = std::abs(x);
    if (x <= 1.0) return (a + 2) * x * x * x - (a + 3) * x * x + 1;
    return x < 2.0 ? a * x * x * x - 5 * a * x * x + 8 * a * x - 4 * a : 0.0;
  };
  for (const auto& [rows, columns] : {std::pair<std::int64_t, std::int64_t>{3, 9}, {8, 2}, {1, 1}}) {
    const Tensor fit = fitted(from, rows, columns, Fit::kBicubic);
    for (std::int64_t y = 0; y < rows; ++y) {
      for (std::int64_t x = 0; x < columns; ++x) {
        const double at_y = (static_cast<double>(y) + 0.5) * 5.0 / static_cast<double>(rows) - 0.5;
        const double at_x = (static_cast<double>(x) + 0.5) * 4.0 / static_cast<double>(columns) - 0.5;
        double want = 0.0;
        for (std::int64_t i = -2; i < 8; ++i) {
          for (std::int64_t j = -2; j < 7; ++j) {
            want += cubic(at_y - static_cast<double>(i)) * cubic(at_x - static_cast<double>(j)) *
                    static_cast<double>(from(std::clamp<std::int64_t>(i, 0, 4), std::clamp<std::int64_t>(j, 0, 3), 1));
          }
        }
        EXPECT_NEAR((fit.view<float, 3>()(y, x, 1)), want, 1e-5);
      }
    }
  }
}

// A projection of patches is a convolution that steps by its own size.
TEST(Patches, AreAConvolution) {
  for (const bool pads : {false, true}) {
    PatchFacts facts;
    facts.projection = "p";
    facts.channels = 2;
    facts.height = facts.width = 8;
    facts.patch_height = 3;
    facts.patch_width = 2;
    facts.frames = 4;
    facts.tubelet = 2;
    facts.pads = pads;
    const Tensor weight = random_tensor({5, 2, 2, 3, 2}, 8);
    const Tensor bias = random_tensor({5}, 9);
    const Tensor pixels = random_tensor({2, 4, 2, 8, 7}, 10);
    const Weights weights({"test", {{"p.weight", weight.any()}, {"p.bias", bias.any()}}, nullptr},
                          {},
                          Linear::Layout::kOutIn);
    const Patches patches(weights, facts, 5);
    const Grid grid = patches.grid(pixels);
    ASSERT_EQ(grid, (Grid{2, pads ? 3 : 2, pads ? 4 : 3}));
    const Tensor rows = patches(pixels, grid);
    const auto w = weight.view<float, 5>();
    const auto x = pixels.view<float, 5>();
    for (std::int64_t n = 0; n < grid.count(); ++n) {
      const std::int64_t f = n / (grid.rows * grid.columns);
      const std::int64_t r = n / grid.columns % grid.rows;
      const std::int64_t k = n % grid.columns;
      for (std::int64_t o = 0; o < 5; ++o) {
        double want = static_cast<double>(bias.span<float>()[static_cast<std::size_t>(o)]);
        for (std::int64_t c = 0; c < 2; ++c) {
          for (std::int64_t t = 0; t < 2; ++t) {
            for (std::int64_t i = 0; i < 3; ++i) {
              for (std::int64_t j = 0; j < 2; ++j) {
                if (r * 3 + i >= 8 || k * 2 + j >= 7) continue;
                want += static_cast<double>(w(o, c, t, i, j)) *
                        static_cast<double>(x(1, f * 2 + t, c, r * 3 + i, k * 2 + j));
              }
            }
          }
        }
        EXPECT_NEAR((rows.view<float, 3>()(1, n, o)), want, 1e-5);
      }
    }
  }
}

TEST(Patches, BadPixelsAreNamed) {
  PatchFacts facts;
  facts.projection = "p";
  facts.height = facts.width = facts.patch_height = facts.patch_width = 4;
  const Tensor weight = random_tensor({5, 3, 4, 4}, 8);
  const Weights weights({"test", {{"p.weight", weight.any()}}, nullptr}, {}, Linear::Layout::kOutIn);
  const Patches patches(weights, facts, 5);
  const auto code = [&](const Tensor& pixels) {
    try {
      (void)patches.grid(pixels);
    } catch (const Error& error) {
      return error.code();
    }
    return ErrorCode::kInternal;
  };
  EXPECT_EQ(code(Tensor()), ErrorCode::kShape);
  EXPECT_EQ(code(random_tensor({1, 1, 8, 8}, 1)), ErrorCode::kShape);
  EXPECT_EQ(code(random_tensor({1, 2, 3, 8, 8}, 1)), ErrorCode::kShape);
  EXPECT_EQ(code(random_tensor({1, 3, 3, 8}, 1)), ErrorCode::kInput);
  Tensor bad = random_tensor({1, 3, 4, 4}, 1);
  bad.span<float>()[5] = std::nanf("");
  EXPECT_EQ(code(bad), ErrorCode::kInput);
}

TEST(Patches, ComputedPositionsAreSinesThenCosinesInTurns) {
  const Tensor table = sinusoid_table(3, 4);
  const auto t = table.view<float, 2>();
  EXPECT_EQ(t(0, 0), 0.0F);
  EXPECT_EQ(t(0, 1), 1.0F);
  EXPECT_NEAR(t(2, 0), std::sin(2.0), 1e-6);
  EXPECT_NEAR(t(2, 3), std::cos(2.0 / 100.0), 1e-6);
}

}  // namespace
}  // namespace headscope::models
