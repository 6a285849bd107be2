#include "models/convolution.h"

#include <gtest/gtest.h>

#include <random>

namespace headscope::models {
namespace {

Tensor noise(Shape shape, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> number;
  Tensor t(DType::kF32, std::move(shape));
  for (float& x : t.span<float>()) x = number(random);
  return t;
}

struct Made {
  Tensor weight, bias;
  Weights weights;
  explicit Made(const Convolution::Facts& f, bool biased = true)
      : weight(noise({f.out, f.in / f.groups, f.kernel}, 1)),
        bias(noise({f.out}, 2)),
        weights(tensors(biased), {}, Linear::Layout::kOutIn) {}
  [[nodiscard]] Tensors tensors(bool biased) const {
    Tensors t;
    t.file = "made";
    t.by_name.emplace("c.weight", weight.any());
    if (biased) t.by_name.emplace("c.bias", bias.any());
    return t;
  }
};

TEST(Convolution, IsTheSumOverNeighbours) {
  const Convolution::Facts cases[] = {{.name = "c", .in = 6, .out = 9, .kernel = 3},
                                      {.name = "c", .in = 6, .out = 9, .kernel = 3, .stride = 2},
                                      {.name = "c", .in = 6, .out = 9, .kernel = 5, .groups = 3},
                                      {.name = "c", .in = 4, .out = 4, .kernel = 1},
                                      {.name = "c", .in = 4, .out = 4, .kernel = 7, .groups = 4}};
  for (const Convolution::Facts& f : cases) {
    for (const bool biased : {false, true}) {
      for (const std::int64_t T : {1, 2, 7, 8}) {
        Made made(f, biased);
        const Convolution convolution(made.weights, f);
        const Tensor x = noise({2, T, f.in}, 3);
        const Tensor y = convolution(x);
        ASSERT_EQ(y.shape(), (Shape{2, (T + f.stride - 1) / f.stride, f.out}));
        const auto w = made.weight.view<float, 3>();
        const std::int64_t in = f.in / f.groups;
        for (std::int64_t b = 0; b < 2; ++b) {
          for (std::int64_t t = 0; t < y.dim(1); ++t) {
            for (std::int64_t o = 0; o < f.out; ++o) {
              double sum = biased ? double{made.bias.span<float>()[static_cast<std::size_t>(o)]} : 0.0;
              const std::int64_t group = o / (f.out / f.groups);
              for (std::int64_t c = 0; c < in; ++c) {
                for (std::int64_t k = 0; k < f.kernel; ++k) {
                  const std::int64_t from = t * f.stride + k - f.kernel / 2;
                  if (from < 0 || from >= T) continue;
                  sum += double{w(o, c, k)} * double{x.view<float, 3>()(b, from, group * in + c)};
                }
              }
              ASSERT_NEAR((y.view<float, 3>()(b, t, o)), sum, 1e-5);
            }
          }
        }
      }
    }
  }
}

TEST(Convolution, RefusesKernelsWithoutAMiddleAndGroupsThatDoNotDivide) {
  const Convolution::Facts even{.name = "c", .in = 4, .out = 4, .kernel = 2};
  const Convolution::Facts uneven{.name = "c", .in = 4, .out = 4, .kernel = 3, .groups = 3};
  Made made({.name = "c", .in = 4, .out = 4, .kernel = 3});
  EXPECT_THROW((void)Convolution(made.weights, even), Error);
  EXPECT_THROW((void)Convolution(made.weights, uneven), Error);
  try {
    (void)Convolution(made.weights, {.name = "c", .in = 4, .out = 5, .kernel = 3});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kShape);
    EXPECT_NE(std::string(error.what()).find("c.weight"), std::string::npos);
  }
}

}  // namespace
}  // namespace headscope::models
