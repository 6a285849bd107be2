// What whole networks do not reach: losses in several chunks, products of odd shapes, buffers.
#include "train/tape.h"

#include <gtest/gtest.h>

#include <cmath>

#include "train/tiny.h"

namespace headscope::train {
namespace {

double product(const Matrix& a, const Matrix& b, std::int64_t i, std::int64_t j) {
  double sum = 0.0;
  for (std::int64_t k = 0; k < a.columns; ++k) {
    sum += static_cast<double>(a.data[i * a.row_step + k * a.column_step]) *
           static_cast<double>(b.data[k * b.row_step + j * b.column_step]);
  }
  return sum;
}

// What the factors of a product are rounded to, exact where that is f32.
Tensor rounded(const Tensor& t, DType dtype) {
  Tensor r = t.clone();
  if (dtype == DType::kBF16) {
    for (float& x : r.span<float>()) x = to_f32(to_bf16(x));
  }
  return r;
}

Matrix matrix_of(const Tensor& t, bool turned, std::int64_t rows, std::int64_t columns) {
  const float* p = t.span<float>().data();
  return turned ? rows_at(p, columns, rows, rows).turned() : rows_at(p, rows, columns, columns);
}

// Sums of two products in every layout, with a bias or added to what is there, against sums in double.
void expect_sums_in_double(std::span<const std::array<std::int64_t, 3>> sizes,
                           unsigned seed,
                           DType dtype) {
  for (const auto& [M, N, K] : sizes) {
    for (int way = 0; way < 16; ++way) {
      const bool biased = (way & 4) != 0;
      const bool add = (way & 8) != 0 && !biased;
      const Tensor a = testing::noise({M * K}, seed);
      const Tensor b = testing::noise({K * N}, seed + 1);
      const Tensor bias = testing::noise({N}, seed + 2);
      Tensor c = testing::noise({M * (N + 3)}, seed + 3);
      const Tensor before = c.clone();
      const Matrix x = matrix_of(a, (way & 1) != 0, M, K);
      const Matrix y = matrix_of(b, (way & 2) != 0, K, N);
      const Tensor near_a = rounded(a, dtype);
      const Tensor near_b = rounded(b, dtype);
      const Matrix near_x = matrix_of(near_a, (way & 1) != 0, M, K);
      const Matrix near_y = matrix_of(near_b, (way & 2) != 0, K, N);
      const std::array terms{Term{x, y}, Term{x, y}};
      const Sum sum{
          terms, c.span<float>().data(), N + 3, biased ? bias.span<float>().data() : nullptr, add};
      multiply({&sum, 1}, dtype);
      for (std::int64_t i = 0; i < M; ++i) {
        for (std::int64_t j = 0; j < N + 3; ++j) {
          const auto at = static_cast<std::size_t>(i * (N + 3) + j);
          const auto was = static_cast<double>(before.span<float>()[at]);
          if (j >= N) {
            ASSERT_EQ(c.span<float>()[at], before.span<float>()[at]) << "beyond the row";
            continue;
          }
          double expected = 2.0 * product(near_x, near_y, i, j) + (add ? was : 0.0);
          if (biased)
            expected += static_cast<double>(bias.span<float>()[static_cast<std::size_t>(j)]);
          ASSERT_NEAR(static_cast<double>(c.span<float>()[at]),
                      expected,
                      1e-5 * std::sqrt(static_cast<double>(K)) * 4.0)
              << M << "x" << N << "x" << K << " way " << way;
        }
      }
    }
  }
}

TEST(Multiply, EqualsSumsInDoubleForAllLayouts) {
  constexpr std::array<std::int64_t, 3> kSizes[] = {
      {1, 1, 1}, {5, 7, 3}, {300, 400, 17}, {1, 900, 33}, {513, 2, 64}};
  expect_sums_in_double(kSizes, 1, DType::kF32);
}

// Factors rounded to bf16: the sums of products of rounded numbers, whatever the processor does.
TEST(Multiply, Bf16IsTheProductOfRoundedFactors) {
  constexpr std::array<std::int64_t, 3> kSizes[] = {
      {1, 1, 1}, {5, 7, 3}, {300, 400, 40}, {1, 900, 33}, {70, 2, 65}};
  expect_sums_in_double(kSizes, 5, DType::kBF16);
}

TEST(Multiply, RefusesShapesThatDoNotMeet) {
  const Tensor a = testing::noise({12}, 1);
  Tensor c(DType::kF32, {12});
  const Term term{rows_at(a.span<float>().data(), 3, 4, 4),
                  rows_at(a.span<float>().data(), 3, 4, 4)};
  const Sum sum{{&term, 1}, c.span<float>().data(), 4, nullptr, false};
  EXPECT_THROW(multiply({&sum, 1}), Error);
}

// More rows than one chunk of logits: loss and gradients are sums over rows.
TEST(CrossEntropy, ChunksChangeNothing) {
  constexpr std::int64_t R = 4200;
  constexpr std::int64_t V = 8;
  constexpr std::int64_t C = 4;
  std::vector<Parameter> parameters(2);
  parameters[0].value = testing::noise({R, C}, 1);
  parameters[1].value = testing::noise({V, C}, 2);
  for (Parameter& p : parameters) p.gradient = Tensor::zeros(DType::kF32, p.value.shape());
  std::vector<std::int32_t> rows;
  std::vector<std::int32_t> labels;
  for (std::int32_t i = 0; i < R; ++i) {
    rows.push_back(i);
    labels.push_back((i * 7 + i / 3) % V);
  }
  Tape tape;
  tape.begin({.scale = 0.25});
  const Lookup lookup{&parameters[0], rows.data(), 1.0F};
  const Var x = tape.embed(R, {&lookup, 1});
  const Loss loss = tape.cross_entropy(x, {&parameters[1], nullptr, false}, labels, 0.5F);
  tape.backward();
  EXPECT_EQ(loss.count, R);
  const auto at = parameters[0].value.view<float, 2>();
  const auto w = parameters[1].value.view<float, 2>();
  double sum = 0.0;
  std::vector<double> dw(V * C);
  for (std::int64_t i = 0; i < R; ++i) {
    double logits[V];
    double all = 0.0;
    for (std::int64_t v = 0; v < V; ++v) {
      logits[v] = 0.0;
      for (std::int64_t c = 0; c < C; ++c)
        logits[v] += 0.5 * static_cast<double>(at(i, c)) * static_cast<double>(w(v, c));
      all += std::exp(logits[v]);
    }
    const std::int32_t label = labels[static_cast<std::size_t>(i)];
    sum += std::log(all) - logits[label];
    for (std::int64_t c = 0; c < C; ++c) {
      double dx = 0.0;
      for (std::int64_t v = 0; v < V; ++v) {
        const double d = 0.25 * 0.5 * (std::exp(logits[v]) / all - (v == label ? 1.0 : 0.0));
        dx += d * static_cast<double>(w(v, c));
        dw[static_cast<std::size_t>(v * C + c)] += d * static_cast<double>(at(i, c));
      }
      const auto found = static_cast<double>(parameters[0].gradient.view<float, 2>()(i, c));
      ASSERT_NEAR(found, dx, 1e-6) << "row " << i;
    }
  }
  EXPECT_NEAR(loss.sum_nats, sum, 1e-5 * sum);
  for (std::size_t n = 0; n < dw.size(); ++n)
    EXPECT_NEAR(static_cast<double>(parameters[1].gradient.span<float>()[n]), dw[n], 1e-3);
}

TEST(Arena, GivesTheSameBlocksAgain) {
  Arena arena;
  for (int n = 0; n < 3; ++n) {
    arena.restart();
    Block* a = arena.take(1000);
    Block* b = arena.take(500);
    EXPECT_NE(a, b);
    Arena::drop(a);
    Block* c = arena.take(900);
    EXPECT_EQ(a, c);
    EXPECT_EQ(arena.bytes(), 1500 * sizeof(float));
  }
  arena.restart();
  (void)arena.take(5000);  // grown: what was not used goes with the next step
  arena.restart();
  EXPECT_EQ(arena.bytes(), 5000 * sizeof(float));
}

}  // namespace
}  // namespace headscope::train
