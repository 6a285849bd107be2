#include "headscope/linear.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "headscope/threads.h"

namespace headscope {
namespace {

Tensor noise(Shape shape, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  Tensor t(DType::kF32, std::move(shape));
  for (float& x : t.span<float>()) x = normal(generator);
  return t;
}

// Rounding of a sum of K products of unit numbers.
double tolerance(std::int64_t K) { return 6e-8 * 8.0 * static_cast<double>(K); }

void expect_equal(const Tensor& a, const Tensor& b, double tolerance) {
  ASSERT_EQ(a.shape(), b.shape());
  for (std::size_t i = 0; i < a.span<float>().size(); ++i) {
    ASSERT_NEAR(a.span<float>()[i], b.span<float>()[i], tolerance) << "at " << i;
  }
}

TEST(Linear, EqualsTheDoubleReferenceForManyShapes) {
  for (std::int64_t M : {1, 2, 7, 127, 128, 129, 300}) {
    for (std::int64_t K : {1, 5, 48, 200}) {
      for (std::int64_t N : {1, 3, 64, 130}) {
        const Tensor w = noise({N, K}, 1);
        const Tensor b = noise({N}, 2);
        const Tensor x = noise({M, K}, 3);
        Tensor found(DType::kF32, {M, N});
        Tensor expected(DType::kF32, {M, N});
        Linear(w.any(), b.any())(x.view<float, 2>(), found.view<float, 2>());
        Linear::reference(w.any(),
                          b.any(),
                          Linear::Layout::kOutIn,
                          x.view<float, 2>(),
                          expected.view<float, 2>());
        expect_equal(found, expected, tolerance(K));
      }
    }
  }
}

TEST(Linear, TakesWeightsOfConv1DAndHalfPrecision) {
  const Tensor w = noise({16, 24}, 1);
  Tensor half(DType::kF16, {16, 24});
  for (std::size_t i = 0; i < w.span<float>().size(); ++i)
    half.span<f16>()[i] = to_f16(w.span<float>()[i]);
  const Tensor x = noise({9, 16}, 2);
  Tensor found(DType::kF32, {9, 24});
  Tensor expected(DType::kF32, {9, 24});
  Linear(half.any(), {}, Linear::Layout::kInOut)(x.view<float, 2>(), found.view<float, 2>());
  Linear::reference(
      half.any(), {}, Linear::Layout::kInOut, x.view<float, 2>(), expected.view<float, 2>());
  expect_equal(found, expected, tolerance(16));
}

TEST(Linear, ReadsStridedRows) {
  const Tensor w = noise({8, 12}, 1);
  const Tensor wide = noise({6, 3, 12}, 2);
  const View<const float, 2> second(wide.span<float>().data() + 12, {6, 12}, {36, 1});
  Tensor found(DType::kF32, {6, 8});
  Tensor expected(DType::kF32, {6, 8});
  Linear(w.any())(second, found.view<float, 2>());
  Linear::reference(w.any(), {}, Linear::Layout::kOutIn, second, expected.view<float, 2>());
  expect_equal(found, expected, tolerance(12));
}

TEST(Linear, NumberOfThreadsChangesNoBit) {
  const Tensor w = noise({96, 384}, 1);
  const Linear linear(w.any());
  const Tensor x = noise({517, 384}, 2);
  const int before = threads();
  Tensor one(DType::kF32, {517, 96});
  set_threads(1);
  linear(x.view<float, 2>(), one.view<float, 2>());
  for (int n : {2, 3, 5}) {
    Tensor many(DType::kF32, {517, 96});
    set_threads(n);
    linear(x.view<float, 2>(), many.view<float, 2>());
    EXPECT_EQ(std::memcmp(one.raw(), many.raw(), one.bytes()), 0) << n << " threads";
  }
  set_threads(before);
}

// As the queries, keys and values of a layer do: products of one shape that nobody has made before.
TEST(Linear, ThreadsMakeProductsOfOneShapeAtTheSameMoment) {
  constexpr std::int64_t N = 56;
  constexpr int kThreads = 3, kMost = 4;
  for (std::int64_t K = 8; K < 20; ++K) {
    const Tensor w = noise({N, K}, 1);
    const Tensor x = noise({kMost, K}, 2);
    const Linear linears[kThreads] = {Linear(w.any()), Linear(w.any()), Linear(w.any())};
    Tensor y[kThreads] = {
        {DType::kF32, {kMost, N}}, {DType::kF32, {kMost, N}}, {DType::kF32, {kMost, N}}};
    std::atomic<int> ready{0};
    std::vector<std::thread> team;
    for (int t = 0; t < kThreads; ++t) {
      team.emplace_back([&, t] {
        for (std::int64_t M = 1; M <= kMost; ++M) {
          for (++ready; ready < kThreads * M;) std::this_thread::yield();
          linears[t]({x.span<float>().data(), {M, K}}, {y[t].span<float>().data(), {M, N}});
        }
      });
    }
    for (std::thread& one : team) one.join();
    for (const Tensor& one : y) expect_equal(one, y[0], 0.0);
  }
}

TEST(Linear, WrongShapesAreNamed) {
  const Tensor w = noise({8, 12}, 1);
  const Tensor x = noise({4, 11}, 2);
  Tensor y(DType::kF32, {4, 8});
  try {
    Linear(w.any())(x.view<float, 2>(), y.view<float, 2>());
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kShape);
    EXPECT_STREQ(e.what(), "[linear] expected x [4,12] and y [4,8], found [4,11] and [4,8]");
  }
  const Tensor bias = noise({7}, 3);
  EXPECT_THROW(Linear(w.any(), bias.any()), Error);
  EXPECT_THROW(Linear(bias.any()), Error);
}

}  // namespace
}  // namespace headscope
