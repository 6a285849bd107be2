#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "attention/random_call.h"
#include "headscope/threads.h"
#include "kernels/isa.h"

namespace headscope {
namespace {

using testing_support::noise;
using testing_support::RandomCall;
using testing_support::Result;
using testing_support::run;

double largest(const Tensor& t) {
  double most = 0.0;
  for (float x : t.span<float>())
    most = std::max(most, std::isfinite(x) ? std::abs(double{x}) : 0.0);
  return most;
}

void expect_near(const Tensor& found, const Tensor& expected, double tolerance, const char* what) {
  ASSERT_EQ(found.shape(), expected.shape()) << what;
  if (found.empty()) return;
  for (std::size_t n = 0; n < found.span<float>().size(); ++n) {
    const float a = found.span<float>()[n];
    const float b = expected.span<float>()[n];
    if (a == b) continue;
    ASSERT_NEAR(a, b, tolerance) << what << " at " << n;
  }
}

// Rounding of one score: of a dot product of D terms, and of the largest score itself.
double score_error(const RandomCall& c, const Result& r) {
  const double D = static_cast<double>(c.in.q.shape[3]);
  const double scale = double{c.in.options.scale.value_or(static_cast<float>(1.0 / std::sqrt(D)))};
  const double score = scale * largest(c.q) * largest(c.k) * D;
  return 6e-8 * (8.0 + std::min(score, largest(r.lse) + 40.0) +
                 std::sqrt(D) * scale * largest(c.q) * largest(c.k));
}

void expect_same(const RandomCall& c, const Result& found, const Result& expected) {
  const double t = 4.0 * score_error(c, expected);
  const double reach = static_cast<double>(c.in.q.shape[2] + c.in.k.shape[2]);
  expect_near(found.out, expected.out, t * largest(c.v), "out");
  expect_near(found.lse, expected.lse, t, "lse");
  const FocusRecord& a = found.record;
  const FocusRecord& b = expected.record;
  expect_near(a.entropy, b.entropy, 8 * t, "entropy");
  expect_near(a.max_weight, b.max_weight, t, "max_weight");
  expect_near(a.distance_mean, b.distance_mean, t * reach, "distance_mean");
  expect_near(a.distance_var, b.distance_var, 2 * t * reach * reach, "distance_var");
  expect_near(a.first_mass, b.first_mass, t, "first_mass");
  expect_near(a.self_mass, b.self_mass, t, "self_mass");
  expect_near(a.previous_mass, b.previous_mass, t, "previous_mass");
  expect_near(a.top_weights, b.top_weights, t, "top_weights");
  expect_near(a.column_mass, b.column_mass, t * reach, "column_mass");
  expect_near(a.pooled_mean, b.pooled_mean, t, "pooled_mean");
  expect_near(a.pooled_max, b.pooled_max, t, "pooled_max");
}

// Property: whatever the shapes and options, every instruction set agrees with the double
// reference.
TEST(Focus, EqualsTheReferenceOnRandomCalls) {
  const unsigned first = testing_support::first_seed(1000);
  const unsigned end = first + testing_support::cases(200);
  for (unsigned seed = first; seed < end; ++seed) {
    const RandomCall c(seed);
    const Result expected = run(focus_reference, c.in, c.sight);
    for (const kernels::Table* table :
         kernels::tables().subspan(1)) {  // the first is the reference
      // A model of instructions is a hundred times slower than what it models.
      if (table->name.starts_with("model") && seed % 8 != 0) continue;
      SCOPED_TRACE("seed " + std::to_string(seed) + " on " + std::string(table->name));
      kernels::use(table->name);
      expect_same(c, run(focus, c.in, c.sight), expected);
      if (HasFatalFailure()) return kernels::use("auto");
    }
  }
  kernels::use("auto");
}

// The same for bf16: inputs are exact, so only the rounding of the result and, on paths with bf16 products,
// of the weights comes on top.
void expect_near_bf16(const RandomCall& c, const Result& found, const Result& expected) {
  const double t = 4.0 * score_error(c, expected);
  expect_near(found.out, expected.out, (t + 8e-3) * largest(c.v), "out");
  expect_near(found.lse, expected.lse, t, "lse");
  expect_near(found.record.max_weight, expected.record.max_weight, t, "max_weight");
  expect_near(found.record.top_weights, expected.record.top_weights, t, "top_weights");
  expect_near(found.record.pooled_max, expected.record.pooled_max, t, "pooled_max");
}

TEST(Focus, Bf16EqualsTheReferenceOnRandomCalls) {
  const unsigned first = testing_support::first_seed(5000);
  const unsigned end = first + testing_support::cases(100);
  for (unsigned seed = first; seed < end; ++seed) {
    RandomCall c(seed);
    const testing_support::Bf16Call half(c);
    const Result expected = run(focus_reference, c.in, c.sight);
    for (const kernels::Table* table : kernels::tables()) {
      // A model of instructions is a hundred times slower than what it models.
      if (table->name.starts_with("model") && seed % 8 != 0) continue;
      SCOPED_TRACE("seed " + std::to_string(seed) + " on " + std::string(table->name));
      kernels::use(table->name);
      const Result found = half.run(focus, c.sight);
      expect_near_bf16(c, found, expected);
      EXPECT_EQ(found.record.q.dtype(), DType::kBF16);
      if (HasFatalFailure()) return kernels::use("auto");
    }
  }
  kernels::use("auto");
}

// Long enough that weights of many blocks of keys wait for each other, with scores that rise along the keys, so that
// maxima grow while they wait; windows that begin anywhere; columns that fill no tile.
TEST(Focus, Bf16EqualsTheReferenceOnRisingScores) {
  for (int n = 0; n < 6; ++n) {
    std::mt19937 generator(static_cast<unsigned>(50 + n));
    const std::int64_t T = n % 2 == 0 ? 1300 : 770;
    const std::int64_t Tq = n == 3 ? 70 : 150;
    const std::int64_t D = n == 1 ? 128 : 40;
    RandomCall c(1);
    c.q = noise({1, 1, Tq, D}, generator);
    c.k = noise({1, 1, T, D}, generator);
    c.v = noise({1, 1, T, 24 + n}, generator);
    for (std::int64_t i = 0; i < Tq; ++i) c.q.span<float>()[static_cast<std::size_t>(i * D)] = 4.0F;
    for (std::int64_t j = 0; j < T; ++j)
      c.k.span<float>()[static_cast<std::size_t>(j * D)] =
          100.0F * static_cast<float>(j) / static_cast<float>(T) - 20.0F;
    c.in = {c.q.view<float, 4>(), c.k.view<float, 4>(), c.v.view<float, 4>(), {}};
    c.in.options.causal = n % 3 == 1;
    if (n == 4) c.in.options.window_left = 333;
    c.sight = n % 2 == 0 ? Sight{} : Sight::everything();
    const testing_support::Bf16Call half(c);
    const Result expected = run(focus_reference, c.in, c.sight);
    for (const kernels::Table* table : kernels::tables()) {
      SCOPED_TRACE("case " + std::to_string(n) + " on " + std::string(table->name));
      kernels::use(table->name);
      const Result found = half.run(focus, c.sight);
      expect_near_bf16(c, found, expected);
      if (HasFatalFailure()) return kernels::use("auto");
    }
  }
  kernels::use("auto");
}

// Past the strip in L2 the weights are computed twice, and keys come in many blocks.
TEST(Focus, EqualsTheReferenceOnALongText) {
  std::mt19937 generator(5);
  RandomCall c(1);
  c.q = noise({1, 1, 70, 32}, generator);
  c.k = noise({1, 1, 4000, 32}, generator);
  c.v = noise({1, 1, 4000, 32}, generator);
  c.in = {c.q.view<float, 4>(), c.k.view<float, 4>(), c.v.view<float, 4>(), {}};
  c.sight = Sight::everything();
  const Result expected = run(focus_reference, c.in, c.sight);
  for (bool causal : {false, true}) {
    c.in.options.causal = causal;
    expect_same(c, run(focus, c.in, c.sight), run(focus_reference, c.in, c.sight));
  }
  EXPECT_EQ(expected.record.pooled_mean.shape(), (Shape{1, 1, 35, 64}));
}

// A few blocks of few rows share a long cache, split or not, in f32 and in bf16.
TEST(Focus, FewRowsBesideALongCacheEqualTheReference) {
  std::mt19937 generator(6);
  RandomCall c(1);
  for (const std::int64_t keys : {1030, 5000}) {
    for (const std::int64_t rows : {3, 5, 8}) {
      c.q = noise({1, 8, rows, 40}, generator);
      c.k = noise({1, 2, keys, 40}, generator);
      c.v = noise({1, 2, keys, 24}, generator);
      c.in = {c.q.view<float, 4>(), c.k.view<float, 4>(), c.v.view<float, 4>(), {}};
      c.in.options.causal = true;
      c.sight = Sight::everything();
      SCOPED_TRACE(std::to_string(rows) + " rows, " + std::to_string(keys) + " keys");
      expect_same(c, run(focus, c.in, c.sight), run(focus_reference, c.in, c.sight));
      const testing_support::Bf16Call half(c);
      const Result expected = run(focus_reference, c.in, c.sight);
      const Result found = half.run(focus, c.sight);
      const double t = 4.0 * score_error(c, expected);
      expect_near(found.out, expected.out, (t + 8e-3) * largest(c.v), "out");
      expect_near(found.record.column_mass, expected.record.column_mass, t * 8.0, "column_mass");
    }
  }
}

// Law 2: weights recomputed from q, k and lse sum to one, and are what the kernel used.
TEST(Focus, RecomputedRowsSumToOneAndMixToTheOutput) {
  std::mt19937 generator(3);
  const Tensor q = noise({1, 2, 90, 24}, generator);
  const Tensor k = noise({1, 1, 90, 24}, generator);
  const Tensor v = noise({1, 1, 90, 8}, generator);
  FocusInput in{q.view<float, 4>(), k.view<float, 4>(), v.view<float, 4>(), {}};
  in.options.causal = true;
  const Result r = run(focus, in, Sight::everything());
  std::vector<float> row(90);
  for (int h = 0; h < 2; ++h) {
    for (std::int64_t i = 0; i < 90; ++i) {
      r.record.row(0, h, i, row);
      EXPECT_NEAR(std::accumulate(row.begin(), row.end(), 0.0), 1.0, 2e-6);
      for (std::int64_t c = 0; c < 8; ++c) {
        double mixed = 0.0;
        for (std::int64_t j = 0; j < 90; ++j)
          mixed += double{row[static_cast<std::size_t>(j)]} * double{in.v(0, 0, j, c)};
        EXPECT_NEAR(mixed, (r.out.view<float, 4>()(0, h, i, c)), 1e-5);
      }
    }
  }
}

// Law 6, the exact half: the number of threads changes no bit of anything.
TEST(Focus, NumberOfThreadsChangesNoBit) {
  const int before = threads();
  for (unsigned seed = 0; seed < 40; ++seed) {
    const RandomCall c(seed);
    set_threads(1);
    const Result one = run(focus, c.in, c.sight);
    for (int n : {2, 5}) {
      set_threads(n);
      const Result many = run(focus, c.in, c.sight);
      const auto same = [](const Tensor& a, const Tensor& b) {
        return a.shape() == b.shape() &&
               (a.empty() || std::memcmp(a.raw(), b.raw(), a.bytes()) == 0);
      };
      EXPECT_TRUE(same(one.out, many.out) && same(one.lse, many.lse)) << seed;
      EXPECT_TRUE(same(one.record.entropy, many.record.entropy)) << seed;
      EXPECT_TRUE(same(one.record.column_mass, many.record.column_mass)) << seed;
      EXPECT_TRUE(same(one.record.pooled_mean, many.record.pooled_mean)) << seed;
      EXPECT_TRUE(same(one.record.top_keys, many.record.top_keys)) << seed;
    }
  }
  set_threads(before);
}

TEST(Focus, LookingChangesNoBitOfTheOutput) {
  for (unsigned seed = 0; seed < 60; ++seed) {
    const RandomCall c(seed);
    const Result seen = run(focus, c.in, Sight::everything());
    Tensor blind(DType::kF32, seen.out.shape());
    focus(c.in, {blind.view<float, 4>(), {}});
    EXPECT_EQ(std::memcmp(blind.raw(), seen.out.raw(), blind.bytes()), 0) << "seed " << seed;
  }
}

TEST(Focus, RowWithNoVisibleKeyIsZero) {
  std::mt19937 generator(1);
  const Tensor q = noise({1, 1, 5, 8}, generator);
  const Tensor k = noise({1, 1, 3, 8}, generator);
  const Tensor v = noise({1, 1, 3, 8}, generator);
  FocusInput in{q.view<float, 4>(), k.view<float, 4>(), v.view<float, 4>(), {}};
  in.options.causal = true;  // the first two rows see nothing
  for (const kernels::Table* table : kernels::tables()) {
    kernels::use(table->name);
    const Result r = run(focus, in, Sight::everything());
    for (std::int64_t i = 0; i < 2; ++i) {
      EXPECT_EQ((r.lse.view<float, 3>()(0, 0, i)), -std::numeric_limits<float>::infinity());
      EXPECT_EQ((r.record.argmax.view<std::int32_t, 3>()(0, 0, i)), -1);
      EXPECT_EQ((r.record.entropy.view<float, 3>()(0, 0, i)), 0.0F);
      for (std::int64_t c = 0; c < 8; ++c) EXPECT_EQ((r.out.view<float, 4>()(0, 0, i, c)), 0.0F);
    }
  }
  kernels::use("auto");
}

// A broken head must be seen to be broken.
TEST(Focus, NanInQueriesComesOut) {
  std::mt19937 generator(1);
  Tensor q = noise({1, 1, 30, 8}, generator);
  const Tensor k = noise({1, 1, 30, 8}, generator);
  const Tensor v = noise({1, 1, 30, 8}, generator);
  q.span<float>()[4 * 8] = std::numeric_limits<float>::quiet_NaN();
  const FocusInput in{q.view<float, 4>(), k.view<float, 4>(), v.view<float, 4>(), {}};
  for (const kernels::Table* table : kernels::tables()) {
    kernels::use(table->name);
    const Result r = run(focus, in, Sight::everything());
    EXPECT_TRUE(std::isnan(r.out.view<float, 4>()(0, 0, 4, 0))) << table->name;
    EXPECT_TRUE(std::isnan(r.lse.view<float, 3>()(0, 0, 4))) << table->name;
    EXPECT_FALSE(std::isnan(r.out.view<float, 4>()(0, 0, 5, 0))) << table->name;
  }
  kernels::use("auto");
}

TEST(Focus, ShapesThatDoNotFitAreNamed) {
  std::mt19937 generator(1);
  const Tensor q = noise({2, 4, 5, 8}, generator);
  const Tensor k = noise({2, 2, 5, 9}, generator);
  const Tensor v = noise({2, 2, 5, 8}, generator);
  Tensor out(DType::kF32, {2, 4, 5, 8});
  const FocusInput in{q.view<float, 4>(), k.view<float, 4>(), v.view<float, 4>(), {}};
  try {
    focus(in, {out.view<float, 4>(), {}});
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kShape);
    EXPECT_STREQ(e.what(), "[focus] expected k [2,2,5,8], found [2,2,5,9]");
  }
  FocusInput none{q.view<float, 4>(), v.view<float, 4>(), v.view<float, 4>(), {}};
  none.k.data = nullptr;
  EXPECT_THROW(focus(none, {out.view<float, 4>(), {}}), Error);
  const Tensor three = noise({2, 3, 5, 8}, generator);
  const FocusInput odd{q.view<float, 4>(), three.view<float, 4>(), three.view<float, 4>(), {}};
  EXPECT_THROW(focus(odd, {out.view<float, 4>(), {}}), Error);
  Sight sight;
  sight.heads = {4};
  FocusRecord record;
  const FocusInput good{q.view<float, 4>(), v.view<float, 4>(), v.view<float, 4>(), {}};
  EXPECT_THROW(focus(good, {out.view<float, 4>(), {}}, &sight, &record), Error);
}

TEST(Focus, AWindowPastEveryKeyIsNoWindow) {
  RandomCall c(3);
  c.in.options = {};
  const Result open = run(focus, c.in, c.sight);
  c.in.options.window_left = std::numeric_limits<std::int64_t>::max();
  c.in.options.window_right = std::numeric_limits<std::int64_t>::max();
  c.in.options.query_offset = 0;
  const Result wide = run(focus, c.in, c.sight);
  EXPECT_EQ(std::memcmp(open.out.raw(), wide.out.raw(), open.out.bytes()), 0);
  c.in.options.query_offset = std::numeric_limits<std::int64_t>::min();
  EXPECT_THROW(run(focus, c.in, c.sight), Error);
}

// Transformers masks by adding the lowest f32: a row of nothing else weighs all its keys alike.
TEST(Focus, RowsOfTheLowestScoreWeighAlike) {
  const Tensor zero = Tensor::zeros(DType::kF32, {1, 1, 3, 4});
  Tensor v(DType::kF32, {1, 1, 3, 1});
  for (std::size_t j = 0; j < 3; ++j) v.span<float>()[j] = static_cast<float>(j + 1);
  Tensor bias(DType::kF32, {1, 1, 1, 3});
  for (float& x : bias.span<float>()) x = std::numeric_limits<float>::lowest();
  FocusInput in{zero.view<float, 4>(), zero.view<float, 4>(), v.view<float, 4>(), {}};
  in.options.bias = bias.view<float, 4>();
  for (const kernels::Table* table : kernels::tables()) {
    kernels::use(table->name);
    const Result r = run(focus, in, Sight::everything());
    for (float x : r.out.span<float>()) EXPECT_NEAR(x, 2.0F, 1e-6) << table->name;
    for (float x : r.record.column_mass.span<float>()) EXPECT_NEAR(x, 1.0F, 1e-6) << table->name;
    for (float x : r.record.pooled_max.span<float>()) EXPECT_NEAR(x, 1.0 / 3, 1e-6) << table->name;
  }
  kernels::use("auto");
}

// Rows that see keys and rows that see none.
TEST(Focus, ASinkOfMinusInfinityIsNoSink) {
  std::mt19937 generator(1);
  RandomCall c(1);
  c.q = noise({1, 2, 40, 8}, generator);
  c.k = noise({1, 1, 33, 8}, generator);
  c.v = noise({1, 1, 33, 8}, generator);
  c.in = {c.q.view<float, 4>(), c.k.view<float, 4>(), c.v.view<float, 4>(), {}};
  c.in.options.causal = true;  // the first rows see nothing
  c.sinks = Tensor(DType::kF32, {2});
  for (float& x : c.sinks.span<float>()) x = -std::numeric_limits<float>::infinity();
  for (const kernels::Table* table : kernels::tables()) {
    SCOPED_TRACE(std::string(table->name));
    kernels::use(table->name);
    c.in.options.sinks = {};
    const Result without = run(focus, c.in, Sight::everything());
    c.in.options.sinks = std::as_const(c.sinks).view<float, 1>();
    expect_same(c, run(focus, c.in, Sight::everything()), without);
  }
  kernels::use("auto");
}

// Small beside the cap, scores hardly bend: none of their digits goes.
TEST(Focus, AWideSoftcapKeepsTheDigitsOfScores) {
  RandomCall c(4);
  c.in.options = {};
  for (const float cap : {50.0F, 1000.0F, 1.0e5F}) {
    c.in.options.softcap = cap;
    const Result expected = run(focus_reference, c.in, c.sight);
    for (const kernels::Table* table : kernels::tables().subspan(1)) {
      SCOPED_TRACE(std::string(table->name) + " capped at " + std::to_string(cap));
      kernels::use(table->name);
      expect_same(c, run(focus, c.in, c.sight), expected);
    }
  }
  kernels::use("auto");
}

// Options may point into the record that is being filled again.
TEST(Focus, ARecordCanBeFilledFromItsOwnOptions) {
  RandomCall c(1);
  c.mask = Tensor::zeros(DType::kU8, {c.in.q.shape[0], c.in.k.shape[2]});
  c.mask.span<std::uint8_t>()[0] = 1;
  c.in.options = {};
  c.in.options.key_mask = c.mask.view<std::uint8_t, 2>();
  Result r = run(focus, c.in, c.sight);
  const Tensor before = r.record.lse.clone();
  c.in.options = r.record.options;
  focus(c.in, {r.out.view<float, 4>(), r.lse.view<float, 3>()}, &c.sight, &r.record);
  EXPECT_EQ(std::memcmp(before.raw(), r.record.lse.raw(), before.bytes()), 0);
}

TEST(Focus, WrongPackingIsNamed) {
  RandomCall c(1);
  std::mt19937 generator(2);
  c.q = noise({1, 1, 9, 8}, generator);
  c.k = noise({1, 1, 9, 8}, generator);
  c.v = noise({1, 1, 9, 8}, generator);
  c.in = {c.q.view<float, 4>(), c.k.view<float, 4>(), c.v.view<float, 4>(), {}};
  const std::int32_t wrong[][3] = {{0, 10, 9}, {1, 4, 9}, {0, 4, 8}, {0, -2, 9}};
  for (const auto& cu : wrong) {
    c.in.options.cu_seqlens_q = View<const std::int32_t, 1>(cu, {3});
    c.in.options.cu_seqlens_k = c.in.options.cu_seqlens_q;
    EXPECT_THROW(run(focus, c.in, {}), Error);
  }
  const std::int32_t right[] = {0, 4, 9};
  c.in.options.cu_seqlens_q = View<const std::int32_t, 1>(right, {3});
  c.in.options.cu_seqlens_k = View<const std::int32_t, 1>(right, {2});
  EXPECT_THROW(run(focus, c.in, {}), Error);
  c.in.options.cu_seqlens_k = c.in.options.cu_seqlens_q;
  EXPECT_NO_THROW(run(focus, c.in, {}));
}

}  // namespace
}  // namespace headscope
