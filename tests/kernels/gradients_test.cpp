// What training does to rows: every instruction set against the reference in double, and that one against differences.
#include "kernels/gradients.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "kernels/isa.h"
#include "kernels/scalar.h"

namespace headscope::kernels {
namespace {

std::vector<float> noise(std::int64_t n, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.0F, 2.0F);
  std::vector<float> x(static_cast<std::size_t>(n));
  for (float& v : x) v = normal(generator);
  return x;
}

constexpr Activation kAll[] = {Activation::kGelu,
                               Activation::kGeluTanh,
                               Activation::kGeluQuick,
                               Activation::kRelu,
                               Activation::kReluSquared,
                               Activation::kSilu,
                               Activation::kTanh};
constexpr std::int64_t kLengths[] = {1, 3, 7, 8, 9, 16, 31, 64, 133};

void expect_near(const std::vector<float>& found,
                 const std::vector<float>& expected,
                 double least) {
  for (std::size_t i = 0; i < found.size(); ++i) {
    ASSERT_NEAR(static_cast<double>(found[i]),
                static_cast<double>(expected[i]),
                least * (1.0 + std::abs(static_cast<double>(expected[i]))))
        << "at " << i << " of " << found.size();
  }
}

// The scalar table's own activation, in f32 with its differences taken in wide steps.
TEST(GradientBodies, ReferenceEqualsDifferences) {
  const GradientBodies reference = gradient_bodies("scalar");
  for (const Activation kind : kAll) {
    for (float x = -4.05F; x < 4.0F; x += 0.1F) {
      const float one = 1.0F;
      float slope = 0.0F;
      reference.activate_back(kind, &x, &one, 1, &slope);
      const float step = 0.01F;
      float above = x + step;
      float below = x - step;
      const double width = static_cast<double>(above) - static_cast<double>(below);
      scalar::activate(kind, &above, 1);
      scalar::activate(kind, &below, 1);
      const double difference = (static_cast<double>(above) - static_cast<double>(below)) / width;
      EXPECT_NEAR(static_cast<double>(slope), difference, 3e-3)
          << static_cast<int>(kind) << " at " << x;
    }
  }
}

TEST(GradientBodies, EqualTheReferenceOnEveryInstructionSet) {
  const GradientBodies reference = gradient_bodies("scalar");
  for (const Table* table : tables()) {
    SCOPED_TRACE(table->name);
    const GradientBodies bodies = gradient_bodies(table->name);
    for (const std::int64_t n : kLengths) {
      const auto size = static_cast<std::size_t>(n);
      const std::vector<float> x = noise(n, 1);
      const std::vector<float> up = noise(n, 2);
      const std::vector<float> dy = noise(n, 3);
      std::vector<float> a(size);
      std::vector<float> b(size);
      std::vector<float> c(size);
      std::vector<float> d(size);
      for (const Activation kind : kAll) {
        bodies.activate_back(kind, x.data(), dy.data(), n, a.data());
        reference.activate_back(kind, x.data(), dy.data(), n, b.data());
        expect_near(a, b, 3e-6);
        bodies.gate_back(kind, x.data(), up.data(), dy.data(), n, a.data(), c.data());
        reference.gate_back(kind, x.data(), up.data(), dy.data(), n, b.data(), d.data());
        expect_near(a, b, 6e-6);
        expect_near(c, d, 3e-6);
      }
      a = x;
      b = x;
      bodies.add(up.data(), n, a.data());
      reference.add(up.data(), n, b.data());
      EXPECT_EQ(a, b);
      const double squares = reference.sum_of_squares(x.data(), n);
      EXPECT_NEAR(bodies.sum_of_squares(x.data(), n), squares, 1e-6 * squares);
      bodies.drop({x.data(), n, 0x123456789ABCDEFULL, 1U << 22, 1.25F, a.data()});
      reference.drop({x.data(), n, 0x123456789ABCDEFULL, 1U << 22, 1.25F, b.data()});
      EXPECT_EQ(a, b) << "dropout differs between instruction sets";
    }
  }
}

TEST(GradientBodies, NormsEqualTheReference) {
  const GradientBodies reference = gradient_bodies("scalar");
  for (const Table* table : tables()) {
    SCOPED_TRACE(table->name);
    const GradientBodies bodies = gradient_bodies(table->name);
    for (const std::int64_t n : kLengths) {
      if (n == 1) continue;  // its variance is 0
      for (int way = 0; way < 16; ++way) {
        const std::vector<float> x = noise(n, 1);
        const std::vector<float> weight = noise(n, 2);
        const std::vector<float> dy = noise(n, 3);
        std::vector<float> found[3] = {noise(n, 4), noise(n, 5), noise(n, 6)};
        std::vector<float> expected[3] = {found[0], found[1], found[2]};
        const auto task = [&](std::vector<float>* to) {
          NormBackTask t{};
          t.x = x.data();
          t.weight = (way & 1) != 0 ? weight.data() : nullptr;
          t.dy = dy.data();
          t.eps = 1e-5F;
          t.n = n;
          t.centred = (way & 2) != 0;
          t.add = (way & 4) != 0;
          t.dx = to[0].data();
          t.dweight = (way & 8) != 0 ? to[1].data() : nullptr;
          t.dbias = (way & 8) != 0 ? to[2].data() : nullptr;
          return t;
        };
        bodies.norm_back(task(found));
        reference.norm_back(task(expected));
        for (int k = 0; k < 3; ++k) expect_near(found[k], expected[k], 2e-5);
      }
    }
  }
}

TEST(GradientBodies, CrossEntropyEqualsTheReference) {
  const GradientBodies reference = gradient_bodies("scalar");
  for (const Table* table : tables()) {
    SCOPED_TRACE(table->name);
    const GradientBodies bodies = gradient_bodies(table->name);
    for (const std::int64_t n : kLengths) {
      for (const float smoothing : {0.0F, 0.2F}) {
        for (const float scale : {0.0F, 3.0F}) {
          std::vector<float> a = noise(n, static_cast<unsigned>(n));
          a[static_cast<std::size_t>(n / 2)] = 40.0F;  // far above the others, sometimes the label
          std::vector<float> b = a;
          const std::int64_t label = scale > 0.0F ? n / 2 : n - 1;
          const CrossEntropyRow found =
              bodies.cross_entropy({a.data(), n, label, smoothing, scale});
          const CrossEntropyRow expected =
              reference.cross_entropy({b.data(), n, label, smoothing, scale});
          EXPECT_NEAR(found.nats, expected.nats, 1e-5 * (1.0 + expected.nats));
          EXPECT_EQ(found.likeliest, expected.likeliest);
          expect_near(a, b, 1e-5);
        }
      }
    }
  }
}

TEST(GradientBodies, AdamWEqualsTheReference) {
  const GradientBodies reference = gradient_bodies("scalar");
  for (const Table* table : tables()) {
    SCOPED_TRACE(table->name);
    const GradientBodies bodies = gradient_bodies(table->name);
    for (const std::int64_t n : kLengths) {
      std::vector<float> found[4] = {noise(n, 1), noise(n, 2), noise(n, 3), noise(n, 4)};
      for (float& v : found[3]) v *= v;  // second moments
      std::vector<float> expected[4] = {found[0], found[1], found[2], found[3]};
      const auto task = [&](std::vector<float>* x) {
        return AdamWTask{x[0].data(),
                         x[1].data(),
                         x[2].data(),
                         x[3].data(),
                         n,
                         0.5F,
                         0.9F,
                         0.99F,
                         0.01F,
                         1.5F,
                         1e-8F,
                         0.999F};
      };
      bodies.adamw(task(found));
      reference.adamw(task(expected));
      for (int k = 0; k < 4; ++k) expect_near(found[k], expected[k], 2e-6);
    }
  }
}

TEST(DropBits, AreSpreadEvenly) {
  constexpr std::uint32_t kQuarter = 1U << 22;
  int below = 0;
  int both = 0;
  const int n = 100000;
  for (int i = 0; i < n; ++i) {
    const bool one = drop_bits(static_cast<std::uint64_t>(i / 100) << 20,
                               static_cast<std::uint32_t>(i % 100)) < kQuarter;
    const bool next = drop_bits(static_cast<std::uint64_t>(i / 100) << 20,
                                static_cast<std::uint32_t>(i % 100 + 1)) < kQuarter;
    below += one ? 1 : 0;
    both += one && next ? 1 : 0;
  }
  EXPECT_NEAR(below / static_cast<double>(n), 0.25, 0.01);
  EXPECT_NEAR(both / static_cast<double>(n), 0.0625, 0.006);
}

}  // namespace
}  // namespace headscope::kernels
