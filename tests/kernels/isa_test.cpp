#include "kernels/isa.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "headscope/error.h"
#include "kernels/scalar.h"

namespace headscope::kernels {
namespace {

TEST(Isa, ScalarIsAlwaysThereAndFirst) { EXPECT_EQ(tables().front()->name, "scalar"); }

TEST(Isa, EveryTableCanBeNamedAndForced) {
  for (const Table* t : tables()) {
    use(t->name);
    EXPECT_EQ(&table(), t);
    int chosen = 0;
    for (const Isa& isa : list()) chosen += isa.chosen ? 1 : 0;
    EXPECT_EQ(chosen, 1);
  }
  use("auto");
  EXPECT_EQ(&table(), tables().back());
}

TEST(Isa, AnUnknownNameListsThoseThereAre) {
  try {
    use("mmx");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kUsage);
    EXPECT_NE(std::string(e.what()).find("scalar"), std::string::npos);
  }
}

TEST(Activations, EqualTheReferenceOnEveryInstructionSet) {
  std::vector<float> inputs;
  for (int i = -4000; i <= 4000; ++i) inputs.push_back(static_cast<float>(i) * 0.005F);
  for (float edge : {-1e30F, -200.0F, -88.5F, 88.5F, 200.0F, 1e30F, 0.0F, -0.0F, 1e-30F})
    inputs.push_back(edge);
  for (Activation kind : {Activation::kGelu,
                          Activation::kGeluTanh,
                          Activation::kRelu,
                          Activation::kSilu,
                          Activation::kTanh}) {
    std::vector<float> expected = inputs;
    scalar::activate(kind, expected.data(), static_cast<std::int64_t>(expected.size()));
    for (const Table* t : tables()) {
      std::vector<float> found = inputs;
      t->activate(kind, found.data(), static_cast<std::int64_t>(found.size()));
      for (std::size_t i = 0; i < found.size(); ++i) {
        // erf and tanh carry 2e-7, and gelu multiplies them by its argument.
        ASSERT_NEAR(found[i], expected[i], 3e-7 * (1.0 + std::abs(inputs[i])))
            << t->name << " of " << inputs[i];
      }
    }
  }
}

TEST(Activations, NanStaysNan) {
  for (const Table* t : tables()) {
    for (Activation kind : {Activation::kGelu,
                            Activation::kGeluTanh,
                            Activation::kRelu,
                            Activation::kSilu,
                            Activation::kTanh}) {
      std::vector<float> x(19, NAN);
      t->activate(kind, x.data(), 19);
      for (float y : x) ASSERT_TRUE(std::isnan(y)) << t->name;
    }
  }
}

TEST(LayerNorm, EqualsTheReferenceOnEveryInstructionSet) {
  std::mt19937 generator(7);
  std::normal_distribution<float> normal(3.0F, 2.0F);
  for (std::int64_t n : {1, 2, 7, 16, 33, 384, 1000}) {
    std::vector<float> x(static_cast<std::size_t>(n)), w(x), b(x), expected(x), found(x);
    for (auto* v : {&x, &w, &b}) {
      for (float& y : *v) y = normal(generator);
    }
    scalar::layer_norm(x.data(), w.data(), b.data(), 1e-5F, n, expected.data());
    double largest = 1.0;
    for (float y : expected) largest = std::max(largest, std::abs(double{y}));
    const double tolerance = 6e-8 * 8.0 * std::sqrt(static_cast<double>(n)) * largest;
    for (const Table* t : tables()) {
      t->layer_norm(x.data(), w.data(), b.data(), 1e-5F, n, found.data());
      for (std::size_t i = 0; i < found.size(); ++i)
        ASSERT_NEAR(found[i], expected[i], tolerance) << t->name << " n " << n;
    }
  }
}

}  // namespace
}  // namespace headscope::kernels
