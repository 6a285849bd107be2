#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "headscope/threads.h"
#include "train/tiny.h"

namespace headscope::train {
namespace {

std::vector<Parameter> two(unsigned seed) {
  std::vector<Parameter> out(2);
  out[0].name = "matrix";
  out[0].value = testing::noise({40, 500}, seed);
  out[0].gradient = testing::noise({40, 500}, seed + 1);
  out[0].decays = true;
  out[1].name = "bias";
  out[1].value = testing::noise({17}, seed + 2);
  out[1].gradient = testing::noise({17}, seed + 3);
  return out;
}

void fill_gradients(std::vector<Parameter>& parameters, unsigned seed) {
  for (Parameter& p : parameters) {
    const Tensor g = testing::noise(p.value.shape(), seed++);
    std::ranges::copy(g.span<float>(), p.gradient.span<float>().begin());
  }
}

TEST(AdamW, FollowsItsFormulas) {
  std::vector<Parameter> parameters = two(1);
  const AdamWOptions o{.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-6, .weight_decay = 0.1, .clip = 2.0};
  AdamW adamw(parameters, o);
  struct Number {
    double value, m = 0.0, v = 0.0;
  };
  std::vector<std::vector<Number>> expected;
  for (const Parameter& p : parameters) {
    std::vector<Number>& all = expected.emplace_back();
    for (const float x : p.value.span<float>()) all.push_back({static_cast<double>(x)});
  }
  const double rate = 0.03;
  for (int t = 1; t <= 3; ++t) {
    fill_gradients(parameters, static_cast<unsigned>(10 * t));
    double sum = 0.0;
    for (const Parameter& p : parameters) {
      for (const float g : p.gradient.span<float>())
        sum += static_cast<double>(g) * static_cast<double>(g);
    }
    const double clip = std::min(1.0, o.clip / std::sqrt(sum));
    for (std::size_t n = 0; n < 2; ++n) {
      for (std::size_t i = 0; i < expected[n].size(); ++i) {
        Number& x = expected[n][i];
        const double g = clip * static_cast<double>(parameters[n].gradient.span<float>()[i]);
        x.m = o.beta1 * x.m + (1.0 - o.beta1) * g;
        x.v = o.beta2 * x.v + (1.0 - o.beta2) * g * g;
        const double m = x.m / (1.0 - std::pow(o.beta1, t));
        const double v = x.v / (1.0 - std::pow(o.beta2, t));
        if (n == 0) x.value -= rate * o.weight_decay * x.value;
        x.value -= rate * m / (std::sqrt(v) + o.eps);
      }
    }
    EXPECT_NEAR(adamw.step(parameters, rate), std::sqrt(sum), 1e-4 * std::sqrt(sum));
    EXPECT_EQ(adamw.steps(), t);
    for (std::size_t n = 0; n < 2; ++n) {
      for (std::size_t i = 0; i < expected[n].size(); ++i) {
        ASSERT_NEAR(static_cast<double>(parameters[n].value.span<float>()[i]),
                    expected[n][i].value,
                    2e-5 * (1.0 + std::abs(expected[n][i].value)))
            << parameters[n].name << " " << i;
        ASSERT_EQ(parameters[n].gradient.span<float>()[i], 0.0F);
      }
    }
  }
}

TEST(AdamW, OnlyMatricesDecay) {
  std::vector<Parameter> parameters = two(1);
  for (Parameter& p : parameters) std::ranges::fill(p.gradient.span<float>(), 0.0F);
  const Tensor matrix = parameters[0].value.clone();
  const Tensor bias = parameters[1].value.clone();
  AdamW adamw(parameters, {.weight_decay = 0.5});
  EXPECT_EQ(adamw.step(parameters, 0.1), 0.0);
  for (std::size_t i = 0; i < 500; ++i) {
    EXPECT_NEAR(parameters[0].value.span<float>()[i], 0.95F * matrix.span<float>()[i], 1e-6F);
  }
  EXPECT_EQ(std::memcmp(parameters[1].value.raw(), bias.raw(), bias.bytes()), 0);
}

TEST(AdamW, LeavesOutAStepWithGradientsThatAreNoNumbers) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity(), 3e38F}) {
    std::vector<Parameter> parameters = two(1);
    AdamW adamw(parameters);
    adamw.step(parameters, 0.1);
    fill_gradients(parameters, 7);
    parameters[1].gradient.span<float>()[5] = bad;
    const Tensor before = parameters[0].value.clone();
    const Tensor moment = Tensor::copy_of(adamw.state().at("adamw.first.matrix"));
    try {
      adamw.step(parameters, 0.1);
      ADD_FAILURE() << "taken";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kInput);
      EXPECT_NE(std::string(e.what()).find("bias"), std::string::npos) << e.what();
    }
    EXPECT_EQ(adamw.steps(), 1);
    EXPECT_EQ(std::memcmp(parameters[0].value.raw(), before.raw(), before.bytes()), 0);
    EXPECT_EQ(
        std::memcmp(adamw.state().at("adamw.first.matrix").data, moment.raw(), moment.bytes()), 0);
    for (const Parameter& p : parameters) {
      for (const float g : p.gradient.span<float>()) ASSERT_EQ(g, 0.0F);
    }
    fill_gradients(parameters, 9);
    adamw.step(parameters, 0.1);
    EXPECT_EQ(adamw.steps(), 2);
  }
}

TEST(AdamW, GoesOnFromItsStateToTheBit) {
  std::vector<Parameter> parameters = two(1);
  AdamW adamw(parameters);
  adamw.step(parameters, 0.1);
  std::vector<Parameter> copy = two(1);
  for (std::size_t n = 0; n < 2; ++n) copy[n].value = parameters[n].value.clone();
  AdamW again(copy);
  again.restore(adamw.state(), adamw.steps());
  for (unsigned t = 0; t < 3; ++t) {
    fill_gradients(parameters, 20 + t);
    fill_gradients(copy, 20 + t);
    EXPECT_EQ(adamw.step(parameters, 0.1), again.step(copy, 0.1));
  }
  for (std::size_t n = 0; n < 2; ++n) {
    EXPECT_EQ(std::memcmp(parameters[n].value.raw(), copy[n].value.raw(), copy[n].value.bytes()),
              0);
  }
  auto lacking = adamw.state();
  lacking.erase("adamw.second.bias");
  EXPECT_THROW(again.restore(lacking, 4), Error);
  EXPECT_EQ(again.steps(), 4);
}

/// Jordan's iteration in doubles, row by row.
std::vector<double> turned(const std::vector<double>& given,
                           std::size_t rows,
                           std::size_t columns) {
  double sum = 0.0;
  for (const double x : given) sum += x * x;
  std::vector<double> x = given;
  for (double& number : x) number /= std::sqrt(sum);
  for (int round = 0; round < 5; ++round) {
    std::vector<double> a(rows * rows, 0.0), b(rows * rows, 0.0), next(rows * columns, 0.0);
    const auto product = [](const auto& l,
                            const auto& r,
                            auto& to,
                            std::size_t n,
                            std::size_t k,
                            std::size_t m,
                            bool other) {
      for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t j = 0; j < m; ++j) {
          for (std::size_t p = 0; p < k; ++p)
            to[i * m + j] += l[i * k + p] * (other ? r[j * k + p] : r[p * m + j]);
        }
      }
    };
    product(x, x, a, rows, columns, rows, true);
    product(a, a, b, rows, rows, rows, false);
    for (std::size_t i = 0; i < b.size(); ++i) b[i] = -4.7750 * a[i] + 2.0315 * b[i];
    product(b, x, next, rows, rows, columns, false);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = 3.4445 * x[i] + next[i];
  }
  return x;
}

std::vector<Parameter> with_inner(unsigned seed) {
  std::vector<Parameter> out = two(seed);
  out[0].inner = true;
  Parameter tall;
  tall.name = "tall";
  tall.value = testing::noise({72, 24}, seed + 4);
  tall.gradient = testing::noise({72, 24}, seed + 5);
  tall.decays = tall.inner = true;
  out.push_back(std::move(tall));
  return out;
}

TEST(Muon, FollowsItsFormulas) {
  std::vector<Parameter> parameters = with_inner(1);
  std::vector<Parameter> plain = with_inner(1);
  const AdamWOptions o{.weight_decay = 0.1, .clip = 2.0, .muon = true};
  AdamW muon(parameters, o);
  AdamW adamw(plain, {.weight_decay = 0.1, .clip = 2.0});
  const double rate = 0.03;
  std::vector<std::vector<double>> momenta{
      std::vector<double>(40 * 500), {}, std::vector<double>(72 * 24)};
  for (unsigned t = 1; t <= 3; ++t) {
    fill_gradients(parameters, 10 * t);
    fill_gradients(plain, 10 * t);
    std::vector<Tensor> before, gradient;
    for (const Parameter& p : parameters) {
      before.push_back(p.value.clone());
      gradient.push_back(p.gradient.clone());
    }
    const double norm = muon.step(parameters, rate);
    EXPECT_EQ(adamw.step(plain, rate), norm);
    for (const std::size_t n : {std::size_t{0}, std::size_t{2}}) {
      const auto rows = static_cast<std::size_t>(before[n].dim(0));
      const auto columns = static_cast<std::size_t>(before[n].dim(1));
      const bool tall = rows > columns;
      std::vector<double> ahead(rows * columns);
      for (std::size_t i = 0; i < rows * columns; ++i) {
        const double g = 2.0 / norm * static_cast<double>(gradient[n].span<float>()[i]);
        momenta[n][i] = 0.95 * momenta[n][i] + 0.05 * g;
        ahead[tall ? i % columns * rows + i / columns : i] = 0.95 * momenta[n][i] + 0.05 * g;
      }
      const auto direction = turned(ahead, std::min(rows, columns), std::max(rows, columns));
      const double size = 0.2 * rate * std::sqrt(static_cast<double>(std::max(rows, columns)));
      // Rounding of a product, relative to its factors' norms; each of five rounds makes it up to 3.4445 times as large.
      const double rounding = 6e-8 * std::sqrt(static_cast<double>(std::max(rows, columns))) *
                              std::pow(3.4445, 5.0) *
                              std::sqrt(static_cast<double>(std::min(rows, columns)));
      double apart = 0.0, moved = 0.0;
      for (std::size_t i = 0; i < rows * columns; ++i) {
        const double was = 0.997 * static_cast<double>(before[n].span<float>()[i]);
        const double step =
            (was - static_cast<double>(parameters[n].value.span<float>()[i])) / size;
        const double expected = direction[tall ? i % columns * rows + i / columns : i];
        apart += (step - expected) * (step - expected);
        moved += step * step;
        ASSERT_EQ(parameters[n].gradient.span<float>()[i], 0.0F);
      }
      EXPECT_LT(std::sqrt(apart), rounding) << parameters[n].name;
      // All singular values are about 1.
      EXPECT_NEAR(moved / static_cast<double>(std::min(rows, columns)), 0.9, 0.4);
    }
    // What is no inner matrix goes Adam's way.
    EXPECT_EQ(std::memcmp(parameters[1].value.raw(), plain[1].value.raw(), plain[1].value.bytes()),
              0);
  }
}

TEST(Muon, GoesOnFromItsStateAtAnyThreadsToTheBit) {
  std::vector<Parameter> parameters = with_inner(1);
  const AdamWOptions o{.muon = true};
  AdamW muon(parameters, o);
  muon.step(parameters, 0.1);
  std::vector<Parameter> copy = with_inner(1);
  for (std::size_t n = 0; n < copy.size(); ++n) copy[n].value = parameters[n].value.clone();
  AdamW again(copy, o);
  again.restore(muon.state(), muon.steps());
  const int usual = threads();
  for (unsigned t = 0; t < 3; ++t) {
    fill_gradients(parameters, 20 + t);
    fill_gradients(copy, 20 + t);
    set_threads(1);
    muon.step(parameters, 0.1);
    set_threads(3);
    again.step(copy, 0.1);
  }
  set_threads(usual);
  for (std::size_t n = 0; n < copy.size(); ++n) {
    EXPECT_EQ(std::memcmp(parameters[n].value.raw(), copy[n].value.raw(), copy[n].value.bytes()),
              0);
  }
}

TEST(Muon, AGradientOfZerosMovesNothing) {
  std::vector<Parameter> parameters = with_inner(1);
  for (Parameter& p : parameters) std::ranges::fill(p.gradient.span<float>(), 0.0F);
  const Tensor before = parameters[2].value.clone();
  AdamW muon(parameters, {.weight_decay = 0.0, .muon = true});
  muon.step(parameters, 0.1);
  EXPECT_EQ(std::memcmp(parameters[2].value.raw(), before.raw(), before.bytes()), 0);
}

// Two halves of a batch, one behind the other, are the batch.
TEST(AdamW, GradientsOfPartsAddUp) {
  Trainee whole = Trainee::fresh(testing::config_of("llama"), 1);
  Trainee parts = Trainee::fresh(testing::config_of("llama"), 1);
  const Batch all = testing::text_batch(whole, {9, 14}, 3);
  whole.step(all, {.scale = 0.1});
  std::int32_t first = 0;
  for (const std::int32_t length : {9, 14}) {
    const auto part = [&](const Tensor& t) {
      return testing::integers({t.span<std::int32_t>().begin() + first,
                                t.span<std::int32_t>().begin() + first + length});
    };
    Batch one;
    one.ids = part(all.ids);
    one.labels = part(all.labels);
    one.cu_seqlens = testing::integers({0, length});
    parts.step(one, {.scale = 0.1});
    first += length;
  }
  AdamW a(whole.parameters());
  AdamW b(parts.parameters());
  const double norm = a.step(whole.parameters(), 1e-3);
  EXPECT_NEAR(norm, b.step(parts.parameters(), 1e-3), 1e-5 * norm);
}

}  // namespace
}  // namespace headscope::train
