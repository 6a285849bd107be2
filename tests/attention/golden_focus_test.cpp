// Every case of golden/attention, forward, on every instruction set of this machine.
#include <gtest/gtest.h>

#include <algorithm>

#include "attention/focus_case.h"
#include "golden/golden.h"
#include "headscope/threads.h"
#include "kernels/isa.h"

namespace headscope {
namespace {

using golden::error;
using golden::floats;
using golden::FocusCase;

struct Result {
  Tensor out;
  Tensor lse;
  FocusRecord record;
};

Result run(const FocusCase& c) {
  const FocusInput in = c.input();
  const auto [B, H, Tq, D] = in.q.shape;
  Result r{Tensor(DType::kF32, {B, H, Tq, in.v.shape[3]}), Tensor(DType::kF32, {B, H, Tq}), {}};
  Sight sight;
  sight.top_k = 8;
  sight.column_mass = true;
  sight.pooled_rows = sight.pooled_columns = 8;
  sight.keep_qk = true;
  focus(in, {r.out.view<float, 4>(), r.lse.view<float, 3>()}, &sight, &r.record);
  return r;
}

void expect_near(const FocusCase& c,
                 const char* name,
                 const Tensor& found,
                 double tolerance,
                 double norm = 0.0) {
  EXPECT_LE(error(found.span<float>(), floats(c.tensor(name)), norm), tolerance) << name;
}

// Keys may differ where weights are equal to rounding; weights may not.
void expect_top(const FocusCase& c, const Result& r, double tolerance) {
  const auto keys = c.view<std::int32_t, 4>("top_keys");
  const auto weights = c.view<float, 4>("top_weights");
  const auto found_keys = r.record.top_keys.view<std::int32_t, 4>();
  const auto found = r.record.top_weights.view<float, 4>();
  for (std::int64_t b = 0; b < keys.shape[0]; ++b) {
    for (std::int64_t h = 0; h < keys.shape[1]; ++h) {
      for (std::int64_t i = 0; i < keys.shape[2]; ++i) {
        for (std::int64_t n = 0; n < keys.shape[3]; ++n) {
          const float w = weights(b, h, i, n);
          ASSERT_NEAR(found(b, h, i, n), w, tolerance) << b << " " << h << " " << i << " " << n;
          const bool tied =
              (n > 0 && weights(b, h, i, n - 1) - w <= 2 * tolerance) ||
              (n + 1 < keys.shape[3] && w - weights(b, h, i, n + 1) <= 2 * tolerance) ||
              n + 1 == keys.shape[3];
          const bool none = keys(b, h, i, n) < 0;
          if (none || (!tied && w > 1e-30F)) {
            ASSERT_EQ(found_keys(b, h, i, n), keys(b, h, i, n))
                << b << " " << h << " " << i << " " << n;
          }
        }
      }
    }
  }
}

void expect_argmax(const FocusCase& c, const Result& r, double tolerance) {
  const auto expected = c.view<std::int32_t, 3>("argmax");
  const auto top = c.view<float, 4>("top_weights");
  const auto found = r.record.argmax.view<std::int32_t, 3>();
  for (std::int64_t b = 0; b < expected.shape[0]; ++b) {
    for (std::int64_t h = 0; h < expected.shape[1]; ++h) {
      for (std::int64_t i = 0; i < expected.shape[2]; ++i) {
        const float gap = top(b, h, i, 0) - top(b, h, i, 1);
        // Equal scores are equal to the last bit where keys are equal: then the lower key must win.
        if (gap > 2 * tolerance || expected(b, h, i) < 0) {
          ASSERT_EQ(found(b, h, i), expected(b, h, i)) << b << " " << h << " " << i;
        }
      }
    }
  }
}

// Law 2: rows sum to what the reference's rows sum to, and equal the reference map where it is
// stored.
void expect_rows(const FocusCase& c, const Result& r, double tolerance) {
  if (!c.has("weights")) return;
  const auto weights = c.view<float, 4>("weights");
  std::vector<float> row(static_cast<std::size_t>(weights.shape[3]));
  for (std::int64_t b = 0; b < weights.shape[0]; ++b) {
    for (std::int64_t h = 0; h < weights.shape[1]; ++h) {
      for (std::int64_t i = 0; i < weights.shape[2]; ++i) {
        r.record.row(b, static_cast<int>(h), i, row);
        for (std::int64_t j = 0; j < weights.shape[3]; ++j) {
          ASSERT_NEAR(row[static_cast<std::size_t>(j)], weights(b, h, i, j), tolerance);
          if (weights(b, h, i, j) == 0.0F) {
            ASSERT_LE(row[static_cast<std::size_t>(j)], 1e-30F);
          }
        }
      }
    }
  }
}

void check_case(const FocusCase& c) {
  const Result r = run(c);
  const double t = c.tolerance();
  double largest_v = 0.0;
  for (float v : floats(c.tensor("v"))) largest_v = std::max(largest_v, std::abs(double{v}));
  const double keys = static_cast<double>(c.tensor("k").shape[2]);
  const double rows = static_cast<double>(c.tensor("q").shape[2]);
  expect_near(c, "out", r.out, t, largest_v);
  // A dot product of D terms carries sqrt(D) roundings, and lse carries those of its largest score.
  const double lse_error =
      6e-8 * std::max(4.0, std::sqrt(static_cast<double>(c.tensor("q").shape[3])));
  const double score = std::max(1.0, c.largest_score());
  expect_near(c, "lse", r.lse, lse_error, score);
  expect_near(c, "entropy", r.record.entropy, 4 * t, std::log(keys) + 1.0);
  expect_near(c, "max_weight", r.record.max_weight, t, 1.0);
  const double reach = std::max(rows, keys);
  expect_near(c, "distance_mean", r.record.distance_mean, 4 * t, reach);
  expect_near(c, "distance_var", r.record.distance_var, 4 * t, reach * reach);
  expect_near(c, "first_mass", r.record.first_mass, t, 1.0);
  expect_near(c, "self_mass", r.record.self_mass, t, 1.0);
  expect_near(c, "previous_mass", r.record.previous_mass, t, 1.0);
  expect_near(c, "column_mass", r.record.column_mass, t, std::sqrt(rows) * 4);
  expect_near(c, "pooled_mean", r.record.pooled_mean, t, 1.0);
  expect_near(c, "pooled_max", r.record.pooled_max, t, 1.0);
  expect_top(c, r, t);
  expect_argmax(c, r, t);
  expect_rows(c, r, t + lse_error * score);
}

TEST(GoldenFocus, EveryCaseOnEveryInstructionSet) {
  HEADSCOPE_REQUIRE_GOLDEN("attention");
  int ran = 0;
  for (const kernels::Table* table : kernels::tables()) {
    kernels::use(table->name);
    SCOPED_TRACE(std::string(table->name));
    for (const auto& file : golden::files("attention", ".safetensors")) {
      const FocusCase c(file);
      SCOPED_TRACE(file.stem().string());
      check_case(c);
      ++ran;
    }
  }
  kernels::use("auto");
  EXPECT_GT(ran, 0);
}

// In bf16 the inputs are exact, so lse is too; out is rounded once, and on some paths the weights are.
TEST(GoldenFocus, EveryCaseInBf16) {
  HEADSCOPE_REQUIRE_GOLDEN("attention");
  for (const kernels::Table* table : kernels::tables()) {
    kernels::use(table->name);
    SCOPED_TRACE(std::string(table->name));
    for (const auto& file : golden::files("attention", ".safetensors")) {
      const FocusCase c(file);
      SCOPED_TRACE(file.stem().string());
      const FocusInput wide = c.input();
      const auto half = [](const View<const float, 4>& from) {
        Tensor to(DType::kBF16, Shape(from.shape.begin(), from.shape.end()));
        for (std::int64_t n = 0; n < from.size(); ++n)
          to.span<bf16>()[static_cast<std::size_t>(n)] = to_bf16(from.data[n]);
        return to;
      };
      const Tensor q = half(wide.q);
      const Tensor k = half(wide.k);
      const Tensor v = half(wide.v);
      Tensor out(DType::kBF16, c.tensor("out").shape);
      focus({q.view<bf16, 4>(), k.view<bf16, 4>(), v.view<bf16, 4>(), wide.options},
            {out.view<bf16, 4>(), {}});
      // Rotated numbers are not exact in bf16: their rounding bends the scores as well.
      const double rotated = c.has("q_rotated") ? 4.0 * c.largest_score() : 0.0;
      const Tensor found = Tensor::f32_from(out.any());
      EXPECT_LE(golden::error(found.span<float>(), golden::floats(c.tensor("out"))),
                4e-3 * (4.0 + rotated) + 16.0 * c.tolerance());
    }
  }
  kernels::use("auto");
}

}  // namespace
}  // namespace headscope
