#include "kernels/between.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace headscope::kernels {
namespace {

std::vector<float> noise(std::size_t n, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.5F, 3.0F);
  std::vector<float> x(n);
  for (float& y : x) y = normal(generator);
  return x;
}

TEST(Between, GatesEqualTheReferenceOnEveryInstructionSet) {
  for (std::size_t n : {1U, 7U, 16U, 33U, 1536U}) {
    const auto gate = noise(n, 1);
    const auto up = noise(n, 2);
    const auto count = static_cast<std::int64_t>(n);
    for (Activation kind :
         {Activation::kGelu, Activation::kGeluTanh, Activation::kRelu, Activation::kSilu}) {
      std::vector<float> expected(n), found(n);
      between_bodies("scalar").gate(kind, gate.data(), up.data(), count, expected.data());
      for (const Table* t : tables()) {
        const BetweenBodies bodies = between_bodies(t->name);
        bodies.gate(kind, gate.data(), up.data(), count, found.data());
        for (std::size_t i = 0; i < n; ++i) {
          ASSERT_NEAR(
              found[i], expected[i], 4e-7 * (1.0 + std::abs(gate[i])) * (1.0 + std::abs(up[i])))
              << t->name;
        }
        std::vector<float> own = up;
        bodies.gate(kind, gate.data(), own.data(), count, own.data());
        ASSERT_EQ(own, found) << t->name << ": in place";
      }
    }
  }
}

TEST(Between, AddingThenNormingEqualsTheReferenceOnEveryInstructionSet) {
  for (std::size_t n : {1U, 5U, 16U, 33U, 576U}) {
    const auto more = noise(n, 3);
    const auto weight = noise(n, 4);
    const auto count = static_cast<std::int64_t>(n);
    for (const float* w : {weight.data(), static_cast<const float*>(nullptr)}) {
      std::vector<float> sum = noise(n, 5), expected(n), found(n);
      const std::vector<float> start = sum;
      between_bodies("scalar").add_rms_norm(
          more.data(), w, 1e-5F, count, sum.data(), expected.data());
      double largest = 1.0;
      for (float y : expected) largest = std::max(largest, std::abs(double{y}));
      for (const Table* t : tables()) {
        std::vector<float> x = start;
        between_bodies(t->name).add_rms_norm(more.data(), w, 1e-5F, count, x.data(), found.data());
        ASSERT_EQ(x, sum) << t->name;
        for (std::size_t i = 0; i < n; ++i)
          ASSERT_NEAR(found[i], expected[i], 6e-8 * 8.0 * std::sqrt(double(n)) * largest)
              << t->name;
      }
    }
  }
}

}  // namespace
}  // namespace headscope::kernels
