// The two products of `focus` in bf16, each form against sums in double. Native forms run where the
// machine has their instructions.
#include "kernels/products.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/amx.h"

namespace headscope::kernels {
namespace {

constexpr std::byte kGuard{0x5A};

// Bytes that start at a multiple of 64, all set, with a guard behind them.
class Bytes {
 public:
  explicit Bytes(std::size_t size) : all_(size + 128, kGuard), size_(size) {
    const auto at = reinterpret_cast<std::uintptr_t>(all_.data());
    begin_ = all_.data() + (64 - at % 64) % 64;
  }
  std::byte* data() { return begin_; }
  float* floats() { return reinterpret_cast<float*>(begin_); }
  std::size_t size() const { return size_; }
  bool guarded() const {
    const std::byte* end = all_.data() + all_.size();
    return std::all_of(static_cast<const std::byte*>(begin_) + size_, end, [](std::byte b) {
      return b == kGuard;
    });
  }

 private:
  std::vector<std::byte> all_;
  std::byte* begin_ = nullptr;
  std::size_t size_;
};

// Rows of bf16 with numbers between their ends that nobody may read.
struct Matrix {
  std::int64_t rows, width, stride;
  std::vector<bf16> numbers;

  const bf16* row(std::int64_t i) const { return numbers.data() + i * stride; }
  double at(std::int64_t i, std::int64_t c) const { return to_f32(row(i)[c]); }
};

using Random = std::mt19937_64;

std::int64_t between(Random& random, std::int64_t low, std::int64_t high) {
  return std::uniform_int_distribution<std::int64_t>(low, high)(random);
}

Matrix matrix(Random& random, std::int64_t rows, std::int64_t width) {
  Matrix m{rows, width, width + between(random, 0, 9), {}};
  // The last row ends where the memory does, so that a sanitizer sees a read past it.
  m.numbers.assign(static_cast<std::size_t>((rows - 1) * m.stride + width), to_bf16(NAN));
  std::normal_distribution<float> normal;
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t c = 0; c < width; ++c)
      m.numbers[static_cast<std::size_t>(i * m.stride + c)] = to_bf16(normal(random));
  }
  return m;
}

Bytes queries(const Products& form, const Matrix& q) {
  Bytes to(form.query_bytes(q.width));
  std::vector<const bf16*> rows;
  for (std::int64_t i = 0; i < q.rows; ++i) rows.push_back(q.row(i));
  form.load_queries(rows.data(), q.rows, q.width, to.data());
  return to;
}

// Packs a matrix in two parts, the later one first, as threads may.
Bytes packed(const Matrix& x,
             decltype(Products::pack_keys) pack,
             std::size_t size,
             Random& random) {
  Bytes to(size);
  const std::int64_t cut = between(random, 0, x.rows / 64) * 64;
  const auto part = [&](std::int64_t begin, std::int64_t end) {
    if (begin < end) pack(x.numbers.data(), x.stride, begin, end, x.rows, x.width, to.data());
  };
  part(cut, x.rows);
  part(0, cut);
  return to;
}

constexpr double kUlp = 0x1p-24;  // half a unit in the last place of f32, relative

// The first key of a block of 64, and how many of its keys to take.
struct Span {
  std::int64_t j0, n;
};
Span span(Random& random, std::int64_t keys) {
  const std::int64_t j0 = between(random, 0, (keys - 1) / 64) * 64;
  return {j0, between(random, 1, std::min<std::int64_t>(64, keys - j0))};
}

void check_scores(const Products& form, Random& random) {
  const std::int64_t width = between(random, 1, 256);
  const Matrix q = matrix(random, between(random, 1, form.rows), width);
  const Matrix k = matrix(random, between(random, 1, 200), width);
  Bytes q_packed = queries(form, q);
  Bytes k_packed = packed(k, form.pack_keys, form.key_bytes(k.rows, width), random);
  const auto [j0, n] = span(random, k.rows);
  Bytes s(static_cast<std::size_t>(64 * form.rows) * sizeof(float));
  form.score(q_packed.data(), k_packed.data(), j0, n, width, s.floats());
  for (std::int64_t m = 0; m < n; ++m) {
    for (std::int64_t i = 0; i < form.rows; ++i) {
      double sum = 0.0;
      double size = 0.0;
      for (std::int64_t d = 0; d < width && i < q.rows; ++d) {
        sum += q.at(i, d) * k.at(j0 + m, d);
        size += std::abs(q.at(i, d) * k.at(j0 + m, d));
      }
      // Products of bf16 are exact; every addition rounds once.
      ASSERT_NEAR(s.floats()[m * form.rows + i], sum, static_cast<double>(width + 4) * kUlp * size)
          << form.name << " width " << width << " key " << j0 + m << " row " << i;
    }
  }
  ASSERT_TRUE(q_packed.guarded() && k_packed.guarded() && s.guarded()) << form.name << " " << width;
}

void check_mix(const Products& form, Random& random) {
  const std::int64_t width = between(random, 1, 256);
  const Matrix v = matrix(random, between(random, 1, 200), width);
  Bytes v_packed = packed(v, form.pack_values, form.value_bytes(v.rows, width), random);
  const auto [j0, n] = span(random, v.rows);
  Bytes p(static_cast<std::size_t>(64 * form.rows) * sizeof(float));
  std::fill_n(p.floats(), 64 * form.rows, NAN);  // from row n on nobody may read
  std::exponential_distribution<float> weight(1.0F);
  for (std::int64_t i = 0; i < n * form.rows; ++i) p.floats()[i] = weight(random);
  Bytes o(static_cast<std::size_t>(width * form.rows) * sizeof(float));
  std::normal_distribution<float> normal(0.0F, 10.0F);
  for (std::int64_t i = 0; i < width * form.rows; ++i) o.floats()[i] = normal(random);
  const std::vector<float> before(o.floats(), o.floats() + width * form.rows);
  Bytes scratch(form.mix_bytes());
  form.mix(p.floats(), n, v_packed.data(), j0, width, o.floats(), scratch.data());
  for (std::int64_t c = 0; c < width; ++c) {
    for (std::int64_t i = 0; i < form.rows; ++i) {
      double sum = before[static_cast<std::size_t>(c * form.rows + i)];
      double size = std::abs(sum);
      for (std::int64_t m = 0; m < n; ++m) {
        const double term = to_f32(to_bf16(p.floats()[m * form.rows + i])) * v.at(j0 + m, c);
        sum += term;
        size += std::abs(term);
      }
      ASSERT_NEAR(o.floats()[c * form.rows + i], sum, static_cast<double>(n + 4) * kUlp * size)
          << form.name << " column " << c << " of " << width << " row " << i << " keys " << n;
    }
  }
  ASSERT_TRUE(v_packed.guarded() && o.guarded() && scratch.guarded()) << form.name << " " << width;
}

template <class Check>
void on_every_form(Check check) {
  const std::uint64_t seed = std::random_device()();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  for (const Products& form : products()) {
    Random random(seed);
    for (int round = 0; round < 60 && !testing::Test::HasFatalFailure(); ++round)
      check(form, random);
  }
}

TEST(Products, ScoresEqualSumsInDouble) { on_every_form(check_scores); }

TEST(Products, MixAddsWeightedValues) { on_every_form(check_mix); }

TEST(Products, PackingIsTheSameInPiecesAndRepeats) {
  on_every_form([](const Products& form, Random& random) {
    const Matrix x = matrix(random, between(random, 1, 300), between(random, 1, 256));
    const std::size_t size = form.value_bytes(x.rows, x.width);
    Bytes whole(size);
    form.pack_values(x.numbers.data(), x.stride, 0, x.rows, x.rows, x.width, whole.data());
    Bytes pieces = packed(x, form.pack_values, size, random);
    ASSERT_EQ(std::memcmp(whole.data(), pieces.data(), size), 0) << form.name;
  });
}

TEST(Products, SizesAreMultiplesOf64) {
  for (const Products& form : products()) {
    EXPECT_EQ(form.rows % 4, 0) << form.name;
    EXPECT_EQ(form.mix_bytes() % 64, 0U) << form.name;
    for (std::int64_t width = 1; width <= 256; ++width) {
      EXPECT_EQ(form.query_bytes(width) % 64, 0U) << form.name;
      EXPECT_EQ(form.key_bytes(65, width) % 64, 0U) << form.name;
      EXPECT_EQ(form.value_bytes(65, width) % 64, 0U) << form.name;
    }
  }
}

// P that is rounded must round like to_bf16: one weight, one value of 1.
TEST(Products, WeightsRoundToNearestEvenAndKeepNan) {
  const std::vector<float> weights{1.0F,
                                   0x1.01p0F,  // a tie, to even below
                                   0x1.03p0F,  // a tie, to even above
                                   0x1.010002p0F,
                                   0x1.02fffep0F,
                                   0x1.fffffep-1F,
                                   2980.9580F,
                                   3.0e-38F,
                                   -0x1.03p-7F,
                                   NAN};
  for (const Products& form : products()) {
    const bf16 one = to_bf16(1.0F);
    Bytes v(form.value_bytes(1, 1));
    form.pack_values(&one, 1, 0, 1, 1, 1, v.data());
    for (float weight : weights) {
      Bytes p(static_cast<std::size_t>(64 * form.rows) * sizeof(float));
      std::fill_n(p.floats(), form.rows, weight);
      Bytes o(static_cast<std::size_t>(form.rows) * sizeof(float));
      std::fill_n(o.floats(), form.rows, 0.0F);
      Bytes scratch(form.mix_bytes());
      form.mix(p.floats(), 1, v.data(), 0, 1, o.floats(), scratch.data());
      for (std::int64_t i = 0; i < form.rows; ++i) {
        if (std::isnan(weight))
          ASSERT_TRUE(std::isnan(o.floats()[i])) << form.name;
        else
          ASSERT_EQ(o.floats()[i], to_f32(to_bf16(weight))) << form.name << " " << weight;
      }
    }
  }
}

float one_score(const Products& form, std::vector<bf16> q, std::vector<bf16> k) {
  const auto width = static_cast<std::int64_t>(q.size());
  Bytes q_packed(form.query_bytes(width));
  const bf16* row = q.data();
  form.load_queries(&row, 1, width, q_packed.data());
  Bytes k_packed(form.key_bytes(1, width));
  form.pack_keys(k.data(), width, 0, 1, 1, width, k_packed.data());
  Bytes s(static_cast<std::size_t>(64 * form.rows) * sizeof(float));
  form.score(q_packed.data(), k_packed.data(), 0, 1, width, s.floats());
  return s.floats()[0];
}

// What the manual says of TDPBF16PS, on the model and, where there are tiles, on the processor.
TEST(Products, TilesRoundAsTheManualSays) {
  const auto b = [](float x) { return to_bf16(x); };
  for (const Products& form : products()) {
    if (form.name.rfind("tiles", 0) != 0) continue;
    EXPECT_EQ(one_score(form, {b(0x1p-127F)}, {b(0x1p100F)}), 0.0F) << "a denormal is zero";
    EXPECT_EQ(one_score(form, {b(0x1p-70F)}, {b(0x1p-60F)}), 0.0F) << "so is a denormal sum";
    EXPECT_EQ(one_score(form, {b(0x1p-70F)}, {b(0x1p-56F)}), 0x1p-126F);
    // Even and odd numbers are summed apart: 2^24 swallows the 1 only where they meet.
    const std::vector<bf16> ones(4, b(1.0F));
    EXPECT_EQ(one_score(form, {b(0x1p24F), b(1.0F), b(-0x1p24F), b(1.0F)}, ones), 2.0F);
    EXPECT_EQ(one_score(form, {b(0x1p24F), b(1.0F), b(1.0F), b(-0x1p24F)}, ones), 1.0F);
  }
}

TEST(Products, NativeTilesEqualTheModelInEveryBit) {
  const std::vector<Products> forms = products();
  const auto with = [&](const char* name) {
    return std::find_if(
        forms.begin(), forms.end(), [&](const Products& f) { return f.name == name; });
  };
  const auto native = with("tiles native AVX3");
  const auto model = with("tiles model AVX3");
  if (native == forms.end()) GTEST_SKIP() << "this machine has no AMX bf16";
  ASSERT_NE(model, forms.end());
  const std::uint64_t seed = std::random_device()();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  for (int round = 0; round < 20; ++round) {
    const std::int64_t width = between(random, 1, 256);
    const Matrix q = matrix(random, native->rows, width);
    const Matrix k = matrix(random, 64, width);
    Bytes s[2] = {Bytes(64 * 64 * 4), Bytes(64 * 64 * 4)};
    for (int i = 0; i < 2; ++i) {
      const Products& form = i == 0 ? *native : *model;
      Bytes k_packed = packed(k, form.pack_keys, form.key_bytes(64, width), random);
      form.score(queries(form, q).data(), k_packed.data(), 0, 64, width, s[i].floats());
    }
    ASSERT_EQ(std::memcmp(s[0].data(), s[1].data(), s[0].size()), 0) << "width " << width;
  }
}

TEST(Products, NativeFormsAreThereWhereTheMachineHasThem) {
  std::string names;
  for (const Products& form : products()) names += form.name + "; ";
  EXPECT_NE(names.find("pairs model"), std::string::npos);
  EXPECT_NE(names.find("tiles model"), std::string::npos);
  // Checking builds are made of fewer instruction sets (CMakeLists.txt); the models tell which there are.
  const bool built = names.find("pairs model AVX3") != std::string::npos;
  EXPECT_EQ(names.find("pairs native") != std::string::npos, built && has_avx512_bf16()) << names;
  EXPECT_EQ(names.find("tiles native") != std::string::npos, built && has_amx_bf16()) << names;
  if (!has_avx512_bf16()) GTEST_SKIP() << "this machine has neither AVX-512-BF16 nor AMX bf16";
  if (!built) GTEST_SKIP() << "this build is without AVX-512";
  if (!has_amx_bf16()) GTEST_SKIP() << "this machine has no AMX bf16";
}

}  // namespace
}  // namespace headscope::kernels
