#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "headscope/linear.h"
#include "headscope/threads.h"
#include "kernels/isa.h"
#include "kernels/linear_bodies.h"
#include "tensor/quants.h"

namespace headscope {
namespace {

using Compute = Linear::Compute;

constexpr DType kInt8Types[] = {
    DType::kQ4_0, DType::kQ4_1, DType::kQ8_0, DType::kQ4_K, DType::kQ6_K};

Tensor noise(Shape shape, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  Tensor t(DType::kF32, std::move(shape));
  for (float& x : t.span<float>()) x = normal(generator);
  return t;
}

// Where a dtype keeps its f16 factors in a block.
std::vector<std::size_t> factors_of(DType dtype) {
  switch (dtype) {
    case DType::kQ4_1:
    case DType::kQ5_1:
    case DType::kQ4_K:
    case DType::kQ5_K:
      return {0, 2};
    case DType::kQ6_K:
      return {208};
    case DType::kQ2_K:
      return {80, 82};
    case DType::kQ3_K:
      return {108};
    default:
      return {0};
  }
}

// Random bits with ordinary factors: every pattern of a block may come up.
Tensor random_weight(DType dtype, std::int64_t N, std::int64_t K, unsigned seed) {
  std::mt19937 generator(seed);
  Tensor w(dtype, {N, K});
  const Block block = block_of(dtype);
  auto* bytes = reinterpret_cast<std::uint8_t*>(w.raw());
  if (dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16) {
    std::normal_distribution<float> normal;
    for (std::int64_t i = 0; i < N * K; ++i) {
      const float x = normal(generator);
      const std::uint16_t half = dtype == DType::kF16 ? to_f16(x).bits : to_bf16(x).bits;
      if (dtype == DType::kF32)
        std::memcpy(bytes + 4 * i, &x, 4);
      else
        std::memcpy(bytes + 2 * i, &half, 2);
    }
    return w;
  }
  for (std::size_t i = 0; i < w.bytes(); ++i) bytes[i] = static_cast<std::uint8_t>(generator());
  std::uniform_real_distribution<float> factor(-0.1F, 0.1F);
  for (std::size_t at = 0; at < w.bytes(); at += block.bytes) {
    for (std::size_t field : factors_of(dtype)) {
      const std::uint16_t half = to_f16(factor(generator)).bits;
      std::memcpy(bytes + at + field, &half, 2);
    }
  }
  return w;
}

struct Case {
  Tensor weight, bias, x;
  [[nodiscard]] std::int64_t M() const { return x.dim(0); }
  [[nodiscard]] std::int64_t N() const { return weight.dim(0); }
  [[nodiscard]] std::int64_t K() const { return x.dim(1); }
};

Case random_case(DType dtype, std::int64_t M, std::int64_t N, std::int64_t K, unsigned seed) {
  return {random_weight(dtype, N, K, seed), noise({N}, seed + 1), noise({M, K}, seed + 2)};
}

Tensor product(const Case& c, Compute compute) {
  Tensor y(DType::kF32, {c.M(), c.N()});
  Linear::stored(c.weight.any(), c.bias.any(), compute)(c.x.view<float, 2>(), y.view<float, 2>());
  return y;
}

Tensor reference(const Case& c) {
  Tensor y(DType::kF32, {c.M(), c.N()});
  Linear::reference(c.weight.any(),
                    c.bias.any(),
                    Linear::Layout::kOutIn,
                    c.x.view<float, 2>(),
                    y.view<float, 2>());
  return y;
}

float at(const Tensor& t, std::int64_t m, std::int64_t n) { return t.view<float, 2>()(m, n); }

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

// Every table gives what the law says; then the fastest one is in use again.
template <typename F>
void on_every_table(F&& body) {
  for (const kernels::Table* t : kernels::tables()) {
    kernels::use(t->name);
    body(std::string(t->name));
    if (testing::Test::HasFatalFailure()) break;
  }
  kernels::use("auto");
}

// ---- exact -------------------------------------------------------------------------------------

// Rounding of sums of K products, for every number of y: what `size` products and the bias are.
void expect_exact(const Case& c, const std::string& what) {
  const Tensor expected = reference(c);
  const Tensor w = Tensor::f32_from(c.weight.any());
  const double steps = std::sqrt(static_cast<double>(c.K())) + 4.0;
  std::vector<double> size;
  for (std::int64_t m = 0; m < c.M(); ++m) {
    for (std::int64_t n = 0; n < c.N(); ++n) {
      size.push_back(std::abs(double{c.bias.span<float>()[static_cast<std::size_t>(n)]}));
      for (std::int64_t k = 0; k < c.K(); ++k)
        size.back() += std::abs(double{at(c.x, m, k)} * double{at(w, n, k)});
    }
  }
  on_every_table([&](const std::string& table) {
    const Tensor found = product(c, Compute::kExact);
    for (std::size_t i = 0; i < size.size(); ++i) {
      ASSERT_NEAR(found.span<float>()[i], expected.span<float>()[i], 6e-8 * steps * size[i])
          << what << " " << table << " at " << i;
    }
  });
}

TEST(StoredLinear, ExactEqualsTheReferenceForEveryDtype) {
  for (DType dtype : {DType::kF32,
                      DType::kF16,
                      DType::kBF16,
                      DType::kQ4_0,
                      DType::kQ4_1,
                      DType::kQ5_0,
                      DType::kQ5_1,
                      DType::kQ8_0,
                      DType::kQ2_K,
                      DType::kQ3_K,
                      DType::kQ4_K,
                      DType::kQ5_K,
                      DType::kQ6_K}) {
    unsigned seed = 1;
    for (auto [M, N] : {std::pair{1, 1}, {1, 27}, {2, 5}, {3, 8}, {13, 31}}) {
      expect_exact(random_case(dtype, M, N, 256, seed), std::string(name(dtype)));
      if (HasFatalFailure()) return;
      seed += 10;
    }
  }
}

TEST(StoredLinear, FloatsTakeAnyWidth) {
  for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (std::int64_t K : {1, 7, 33, 100}) {
      expect_exact(random_case(dtype, 5, 9, K, static_cast<unsigned>(K)), std::string(name(dtype)));
      if (HasFatalFailure()) return;
    }
  }
}

TEST(StoredLinear, WeightsMayLieAtAnyByte) {
  for (DType dtype : {DType::kF32, DType::kBF16, DType::kF16, DType::kQ8_0}) {
    const Case c = random_case(dtype, 3, 10, 96, 4);
    std::vector<std::byte> shifted(c.weight.bytes() + 1);
    std::memcpy(shifted.data() + 1, c.weight.raw(), c.weight.bytes());
    const AnyView odd{dtype, c.weight.shape(), shifted.data() + 1};
    for (Compute compute : {Compute::kExact, Compute::kFast}) {
      Tensor y(DType::kF32, {3, 10});
      Linear::stored(odd, c.bias.any(), compute)(c.x.view<float, 2>(), y.view<float, 2>());
      EXPECT_TRUE(same_bits(y, product(c, compute))) << name(dtype);
    }
  }
}

// ---- fast --------------------------------------------------------------------------------------

// x as int8 rows stand for it.
Tensor rounded(const Tensor& x) {
  const std::int64_t K = x.dim(1);
  const auto blocks = static_cast<std::size_t>(K / 32);
  std::vector<std::int8_t> q(static_cast<std::size_t>(K));
  std::vector<float> scale(blocks), sum(blocks);
  std::vector<std::int32_t> halves(2 * blocks);
  Tensor y = x.clone();
  for (std::int64_t m = 0; m < x.dim(0); ++m) {
    float* row = y.span<float>().data() + m * K;
    kernels::plain::round(row, K, q.data(), scale.data(), sum.data(), halves.data());
    for (std::size_t k = 0; k < q.size(); ++k) row[k] = scale[k / 32] * static_cast<float>(q[k]);
  }
  return y;
}

TEST(StoredLinear, FastEqualsTheProductWithRoundedRows) {
  for (DType dtype : kInt8Types) {
    const std::int64_t K = block_of(dtype).numbers == 32 ? 416 : 512;
    unsigned seed = 3;
    for (auto [M, N] : {std::pair{1, 1}, {1, 43}, {2, 9}, {3, 33}, {7, 70}, {23, 47}}) {
      const Case c = random_case(dtype, M, N, K, seed++);
      const Case same{c.weight.clone(), c.bias.clone(), rounded(c.x)};
      const Tensor expected = reference(same);
      const Tensor w = Tensor::f32_from(c.weight.any());
      std::vector<double> size;
      for (std::int64_t m = 0; m < M; ++m) {
        for (std::int64_t n = 0; n < N; ++n) {
          size.push_back(1.0);
          // q4 types: w = scale * q + least, and the sums of both parts are rounded; factors stay below 0.1
          // (6.3 for the leasts of q4_k, with scales of up to 63).
          const double part = dtype == DType::kQ4_K ? 6.3 : 1.6;
          for (std::int64_t k = 0; k < K; ++k)
            size.back() +=
                std::abs(double{at(same.x, m, k)}) * (std::abs(double{at(w, n, k)}) + part);
        }
      }
      on_every_table([&](const std::string& table) {
        const Tensor found = product(c, Compute::kFast);
        for (std::size_t i = 0; i < size.size(); ++i) {
          ASSERT_NEAR(found.span<float>()[i], expected.span<float>()[i], 6e-8 * 8.0 * size[i])
              << name(dtype) << " " << table << " at " << i;
        }
      });
      if (HasFatalFailure()) return;
    }
  }
}

// A step of a block is its largest number / 127; a rounded number is off by half a step at most, and by
// a twelfth of a squared step on average.
TEST(StoredLinear, RoundingRowsStaysWithinItsBoundAndItsVariance) {
  for (DType dtype : kInt8Types) {
    const std::int64_t M = 16;
    const std::int64_t N = 64;
    const std::int64_t K = 512;
    const Case c = random_case(dtype, M, N, K, 77);
    const Tensor found = product(c, Compute::kFast);
    const Tensor expected = reference(c);
    const Tensor w = Tensor::f32_from(c.weight.any());
    double normalised = 0.0;
    for (std::int64_t m = 0; m < M; ++m) {
      for (std::int64_t n = 0; n < N; ++n) {
        double bound = 1e-4;
        double variance = 0.0;
        for (std::int64_t b = 0; b < K; b += 32) {
          double largest = 0.0;
          for (std::int64_t k = b; k < b + 32; ++k)
            largest = std::max(largest, std::abs(double{c.x.view<float, 2>()(m, k)}));
          const double step = largest / 127.0;
          for (std::int64_t k = b; k < b + 32; ++k) {
            const double size = std::abs(double{w.view<float, 2>()(n, k)});
            bound += 0.5 * step * size;
            variance += step * step / 12.0 * size * size;
          }
        }
        const double error = std::abs(double{found.view<float, 2>()(m, n)} -
                                      double{expected.view<float, 2>()(m, n)});
        ASSERT_LE(error, bound) << name(dtype);
        ASSERT_LE(error, 6.0 * std::sqrt(variance) + 1e-4) << name(dtype);
        normalised += error * error / variance;
      }
    }
    // 1024 samples of a mean square of 1.
    EXPECT_NEAR(normalised / static_cast<double>(M * N), 1.0, 0.25) << name(dtype);
  }
}

// ---- laws --------------------------------------------------------------------------------------

TEST(StoredLinear, ARowOfABatchIsTheRowAloneToTheBit) {
  for (Compute compute : {Compute::kExact, Compute::kFast}) {
    for (DType dtype : {DType::kF32,
                        DType::kF16,
                        DType::kQ4_0,
                        DType::kQ4_1,
                        DType::kQ8_0,
                        DType::kQ4_K,
                        DType::kQ6_K}) {
      on_every_table([&](const std::string& table) {
        const Case c = random_case(dtype, 37, 75, 256, 5);
        const Tensor all = product(c, compute);
        const Linear linear = Linear::stored(c.weight.any(), c.bias.any(), compute);
        for (std::int64_t count : {1, 2, 3, 4, 7, 9}) {
          for (std::int64_t m = 0; m + count <= c.M(); m += 17) {
            Tensor some(DType::kF32, {count, c.N()});
            linear(View<const float, 2>(c.x.span<float>().data() + m * c.K(), {count, c.K()}),
                   some.view<float, 2>());
            ASSERT_EQ(std::memcmp(some.raw(),
                                  all.raw() + static_cast<std::size_t>(m * c.N()) * sizeof(float),
                                  some.bytes()),
                      0)
                << name(dtype) << " " << table << " rows " << count;
          }
        }
      });
    }
  }
}

TEST(StoredLinear, FastIsTheSameToTheBitOnEveryTableWithFma) {
  for (DType dtype : kInt8Types) {
    for (std::int64_t M : {1, 5, 40}) {
      const Case c = random_case(dtype, M, 53, 512, 9);
      kernels::use("scalar");
      const Tensor expected = product(c, Compute::kFast);
      for (const kernels::Table* t : kernels::tables()) {
        kernels::use(t->name);
        EXPECT_TRUE(same_bits(product(c, Compute::kFast), expected))
            << t->name << " " << name(dtype);
      }
      kernels::use("auto");
    }
  }
}

TEST(StoredLinear, NumberOfThreadsChangesNoBit) {
  const int before = threads();
  for (DType dtype : {DType::kQ4_1, DType::kQ8_0, DType::kBF16}) {
    for (std::int64_t M : {1, 300}) {
      const Case c = random_case(dtype, M, 500, 256, 4);
      set_threads(1);
      const Tensor one = product(c, Compute::kFast);
      for (int n : {2, 3, 5}) {
        set_threads(n);
        EXPECT_TRUE(same_bits(one, product(c, Compute::kFast))) << n << " threads";
      }
    }
  }
  set_threads(before);
}

TEST(StoredLinear, SeveralAtOnceAreEachAlone) {
  const std::int64_t K = 256;
  const Tensor packed_weight = noise({24, K}, 1);
  const Tensor q4 = random_weight(DType::kQ4_1, 40, K, 2);
  const Tensor q8 = random_weight(DType::kQ8_0, 16, K, 3);
  const Tensor half = random_weight(DType::kF16, 8, K, 4);
  const Linear packed(packed_weight.any());
  const Linear fast = Linear::stored(q4.any(), {}, Compute::kFast);
  const Linear other = Linear::stored(q8.any(), {}, Compute::kFast);
  const Linear exact = Linear::stored(half.any());
  const Linear* all[] = {&fast, &packed, &exact, &other};
  for (std::int64_t M : {1, 4, 33}) {
    const Tensor x = noise({M, K}, 5);
    Tensor together = Tensor::zeros(DType::kF32, {M, 88});
    std::vector<View<float, 2>> y;
    std::int64_t first = 0;
    for (const Linear* linear : all) {
      y.emplace_back(together.span<float>().data() + first,
                     std::array{M, linear->out()},
                     std::array{std::int64_t{88}, std::int64_t{1}});
      first += linear->out();
    }
    Linear::multiply(all, x.view<float, 2>(), y);
    for (std::size_t i = 0; i < 4; ++i) {
      Tensor alone(DType::kF32, {M, all[i]->out()});
      (*all[i])(x.view<float, 2>(), alone.view<float, 2>());
      for (std::int64_t m = 0; m < M; ++m) {
        for (std::int64_t n = 0; n < all[i]->out(); ++n) {
          // oneDNN may take another way where rows of y lie further apart: sums of K terms of size 1 in another order.
          const double most = all[i] == &packed ? 4e-6 * static_cast<double>(K) : 0.0;
          ASSERT_NEAR(y[i](m, n), (alone.view<float, 2>()(m, n)), most)
              << i << " at " << m << "," << n;
        }
      }
    }
  }
}

TEST(StoredLinear, NanAndInfinityOfARowAreSeenInItsProducts) {
  for (float wrong : {NAN, INFINITY, -INFINITY}) {
    on_every_table([&](const std::string& table) {
      Case c = random_case(DType::kQ4_1, 2, 11, 128, 6);
      c.x.span<float>()[128 + 50] = wrong;
      const Tensor y = product(c, Compute::kFast);
      for (std::int64_t n = 0; n < c.N(); ++n) {
        ASSERT_TRUE(std::isfinite(y.view<float, 2>()(0, n))) << table;
        ASSERT_TRUE(std::isnan(y.view<float, 2>()(1, n))) << table;
      }
    });
  }
}

TEST(StoredLinear, ZeroRowsGiveTheBias) {
  on_every_table([&](const std::string& table) {
    Case c = random_case(DType::kQ6_K, 3, 10, 256, 8);
    std::fill(c.x.span<float>().begin(), c.x.span<float>().end(), 0.0F);
    const Tensor y = product(c, Compute::kFast);
    for (std::int64_t n = 0; n < c.N(); ++n)
      ASSERT_EQ((y.view<float, 2>()(2, n)), c.bias.span<float>()[static_cast<std::size_t>(n)])
          << table;
  });
}

TEST(StoredLinear, WrongWeightsAreNamed) {
  const Tensor w = noise({8, 12}, 1);
  Tensor whole(DType::kI32, {8, 12});
  EXPECT_THROW(Linear::stored(whole.any()), Error);
  EXPECT_THROW(Linear::stored(noise({8}, 2).any()), Error);
  AnyView part = random_weight(DType::kQ8_0, 2, 32, 1).any();
  part.shape = {2, 48};
  EXPECT_THROW(Linear::stored(part), Error);
  const Linear linear = Linear::stored(w.any());
  const Tensor x = noise({4, 12}, 2);
  Tensor y(DType::kF32, {4, 8});
  const Linear* one = &linear;
  EXPECT_THROW(Linear::multiply({&one, 1}, x.view<float, 2>(), {}), Error);
}

}  // namespace
}  // namespace headscope
