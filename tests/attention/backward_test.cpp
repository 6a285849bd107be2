#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "attention/backward_call.h"
#include "attention/gradients.h"
#include "headscope/threads.h"
#include "kernels/backward_task.h"
#include "kernels/isa.h"

namespace headscope {
namespace {

using testing_support::BackwardCall;
using testing_support::Gradients;
using testing_support::gradients;
using testing_support::gradients_in_bf16;
using testing_support::noise;

double largest(std::span<const float> x) {
  double most = 0.0;
  for (float y : x) most = std::max(most, std::isfinite(y) ? std::abs(double{y}) : 0.0);
  return most;
}

// Bounds of the differences between two exact ways to compute the same gradients.
struct Bounds {
  double dq, dk, dv, dbias, dsinks;
};

// u is the rounding of one number; s the error of a score and of lse, which is that of a weight.
Bounds bounds(BackwardCall& c, double u) {
  const FocusInput& f = c.in.forward;
  const auto D = static_cast<double>(f.q.shape[3]);
  const double scale = double{f.options.scale.value_or(static_cast<float>(1.0 / std::sqrt(D)))};
  const double q = largest(c.q().span<float>());
  const double k = largest(c.k().span<float>());
  const double v = largest(c.v().span<float>());
  const double lse = largest({c.in.lse.data, static_cast<std::size_t>(c.in.lse.size())});
  // Weights of scores more than 40 below lse are nothing.
  const double s = 4.0 * u * (8.0 + lse + 40.0 + std::sqrt(D) * scale * q * k);
  const double dout = largest({c.in.dout.data, static_cast<std::size_t>(c.in.dout.size())});
  const double dw = std::sqrt(static_cast<double>(f.v.shape[3])) * dout * v + 4.0;
  const double rows = std::sqrt(static_cast<double>(f.q.shape[0] * f.q.shape[1] * f.q.shape[2]));
  return {
      s * dw * scale * k, s * dw * scale * q * rows, s * dout * rows, s * dw * rows, s * dw * rows};
}

void expect_near(const Tensor& found, const Tensor& expected, double tolerance, const char* what) {
  ASSERT_EQ(found.shape(), expected.shape()) << what;
  if (found.empty()) return;
  for (std::size_t n = 0; n < found.span<float>().size(); ++n) {
    ASSERT_NEAR(found.span<float>()[n], expected.span<float>()[n], tolerance)
        << what << " at " << n;
  }
}

void expect_same(const Gradients& found, const Gradients& expected, const Bounds& most) {
  expect_near(found.dq, expected.dq, most.dq, "dq");
  expect_near(found.dk, expected.dk, most.dk, "dk");
  expect_near(found.dv, expected.dv, most.dv, "dv");
  expect_near(found.dbias, expected.dbias, most.dbias, "dbias");
  expect_near(found.dsinks, expected.dsinks, most.dsinks, "dsinks");
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.bytes() == b.bytes() &&
         (a.bytes() == 0 || std::memcmp(a.raw(), b.raw(), a.bytes()) == 0);
}

// Property: whatever the shapes and options, every instruction set agrees with the double reference.
TEST(FocusBackward, EqualsTheReferenceOnRandomCalls) {
  const unsigned first = testing_support::first_seed(1);
  const unsigned end = first + testing_support::cases(600);
  for (unsigned seed = first; seed < end; ++seed) {
    BackwardCall c(seed);
    const Gradients expected = gradients(focus_backward_reference, c.in);
    const Bounds most = bounds(c, 6e-8);
    for (const kernels::Table* table : kernels::tables().subspan(1)) {
      SCOPED_TRACE("seed " + std::to_string(seed) + " on " + std::string(table->name));
      kernels::use(table->name);
      expect_same(gradients(focus_backward, c.in), expected, most);
      if (HasFatalFailure()) return kernels::use("auto");
    }
  }
  kernels::use("auto");
}

// bf16 in and out: the reference of the same rounded inputs differs by roundings of the results and, where products are
// of bf16, by those of weights and of their gradients.
TEST(FocusBackward, Bf16EqualsTheReferenceOnRandomCalls) {
  const unsigned first = testing_support::first_seed(5000);
  const unsigned end = first + testing_support::cases(300);
  for (unsigned seed = first; seed < end; ++seed) {
    BackwardCall c(seed);
    const Gradients expected = gradients_in_bf16(focus_backward_reference, c.in);
    const Bounds most = bounds(c, 1e-3);
    for (const kernels::Table* table : kernels::tables().subspan(1)) {
      const bool native = kernels::bf16_backward_table(*table) != nullptr;
      if (!native && table != kernels::tables().back()) continue;
      SCOPED_TRACE("seed " + std::to_string(seed) + " on " + std::string(table->name));
      kernels::use(table->name);
      expect_same(gradients_in_bf16(focus_backward, c.in), expected, most);
      if (HasFatalFailure()) return kernels::use("auto");
    }
  }
  kernels::use("auto");
}

// The reference itself: the slope of sum(out * dout) + sum(lse * dlse), from the definition in double.
TEST(FocusBackward, ReferenceIsTheSlopeOfTheDefinition) {
  std::mt19937 generator(7);
  for (unsigned seed = 900; seed < 1100; ++seed) {
    BackwardCall c(seed, 12);
    if (largest(c.q().span<float>()) > 6.0) continue;  // steep scores bend within a step
    const Gradients g = gradients(focus_backward_reference, c.in);
    const auto check = [&](Tensor& x, const Tensor& slope, const char* what, auto at) {
      if (x.empty()) return;
      const auto n = static_cast<std::size_t>(generator()) % x.span<float>().size();
      float& number = x.span<float>()[n];
      if (std::isinf(number)) return;
      constexpr float kStep = 1.0F / 128.0F;
      const float before = number;
      number = before + kStep;
      const double after = c.update();
      const double high = double{number};
      number = before - kStep;
      const double found = (after - c.update()) / (high - double{number});
      number = before;
      c.update();
      const double expected = slope.span<float>()[at(n)];
      EXPECT_NEAR(found, expected, 2e-3 * (1.0 + std::abs(expected)))
          << what << " " << n << " seed " << seed;
    };
    const auto same = [](std::size_t n) { return n; };
    // q lies as [B,T,H,D], its gradient as [B,H,T,D].
    const auto turned = [&](std::size_t n) {
      const auto at = [&](std::size_t axis) {
        return static_cast<std::size_t>(c.in.forward.q.shape[axis]);
      };
      const std::size_t d = n % at(3);
      const std::size_t h = n / at(3) % at(1);
      const std::size_t i = n / at(3) / at(1) % at(2);
      const std::size_t b = n / at(3) / at(1) / at(2);
      return ((b * at(1) + h) * at(2) + i) * at(3) + d;
    };
    check(c.q(), g.dq, "dq", turned);
    check(c.k(), g.dk, "dk", same);
    check(c.v(), g.dv, "dv", same);
    check(c.bias(), g.dbias, "dbias", same);
    check(c.sinks(), g.dsinks, "dsinks", same);
  }
}

TEST(FocusBackward, DoesNotDependOnTheNumberOfThreads) {
  for (unsigned seed : {1U, 2U, 3U, 4U, 5U, 6U}) {
    BackwardCall c(seed, 600);
    const int before = threads();
    set_threads(1);
    const Gradients one = gradients(focus_backward, c.in);
    for (int n : {2, 3}) {
      set_threads(n);
      const Gradients many = gradients(focus_backward, c.in);
      EXPECT_TRUE(same_bits(one.dq, many.dq) && same_bits(one.dk, many.dk) &&
                  same_bits(one.dv, many.dv) && same_bits(one.dbias, many.dbias) &&
                  same_bits(one.dsinks, many.dsinks))
          << "seed " << seed << " on " << n << " threads";
    }
    set_threads(before);
  }
}

// A plain call that a test bends.
struct Plain {
  Tensor q, k, v, out, lse, dout;
  FocusGradientInput in;

  Plain(std::int64_t Tq, std::int64_t Tk, std::int64_t D, float gain = 1.0F) {
    std::mt19937 generator(3);
    q = noise({1, 2, Tq, D}, generator, gain);
    k = noise({1, 1, Tk, D}, generator, gain);
    v = noise({1, 1, Tk, D}, generator);
    dout = noise({1, 2, Tq, D}, generator);
    out = Tensor::zeros(DType::kF32, {1, 2, Tq, D});
    lse = Tensor::zeros(DType::kF32, {1, 2, Tq});
    in.forward = {q.view<float, 4>(), k.view<float, 4>(), v.view<float, 4>(), {}};
    in.dout = std::as_const(dout).view<float, 4>();
    in.out = std::as_const(out).view<float, 4>();
    in.lse = std::as_const(lse).view<float, 3>();
  }
  void forward() { focus(in.forward, {out.view<float, 4>(), lse.view<float, 3>()}); }
};

TEST(FocusBackward, RowsWithoutVisibleKeysGiveZeros) {
  Plain p(70, 90, 24);
  Tensor mask = Tensor::zeros(DType::kU8, {1, 90});
  p.in.forward.options.key_mask = std::as_const(mask).view<std::uint8_t, 2>();
  for (float& x : p.lse.span<float>()) x = -std::numeric_limits<float>::infinity();
  const Gradients g = gradients(focus_backward, p.in);
  for (const Tensor* t : {&g.dq, &g.dk, &g.dv}) EXPECT_EQ(largest(t->span<float>()), 0.0);
}

TEST(FocusBackward, HugeScoresGiveNoNaN) {
  Plain p(65, 65, 64, 60.0F);  // scores of about +-1e4
  p.forward();
  EXPECT_GT(largest(p.lse.span<float>()), 5e3);
  const Gradients g = gradients(focus_backward, p.in);
  for (const Tensor* t : {&g.dq, &g.dk, &g.dv}) {
    for (float x : t->span<float>()) ASSERT_TRUE(std::isfinite(x));
  }
}

TEST(FocusBackward, EmptyAxesGiveZeros) {
  Plain no_keys(5, 0, 8);
  for (float& x : no_keys.lse.span<float>()) x = -std::numeric_limits<float>::infinity();
  EXPECT_EQ(largest(gradients(focus_backward, no_keys.in).dq.span<float>()), 0.0);
  Plain no_rows(0, 5, 8);
  const Gradients g = gradients(focus_backward, no_rows.in);
  EXPECT_EQ(largest(g.dk.span<float>()), 0.0);
  EXPECT_EQ(largest(g.dv.span<float>()), 0.0);
}

TEST(FocusBackward, EveryTableHasBodies) {
  for (const kernels::Table* table : kernels::tables()) {
    const kernels::BackwardTable& bodies = kernels::backward_table(*table);
    EXPECT_EQ(bodies.name == "scalar", table->name == "scalar");
    kernels::Table variant = *table;  // another forward body of the same family
    const std::string name = std::string(table->name) + "+more";
    variant.name = name;
    if (table->name != "scalar") {
      EXPECT_EQ(kernels::backward_table(variant).name, bodies.name);
    }
    // Tables whose forward products are of bf16 have such a backward pass, others must not take one.
    const bool of_bf16 = table->name.ends_with("avx512bf16") || table->name.ends_with("amx");
    EXPECT_EQ(kernels::bf16_backward_table(*table) != nullptr, of_bf16) << table->name;
  }
}

// Each bends one thing of a call that is right.
void expect_error(ErrorCode code, const char* what, auto bend) {
  Plain p(6, 6, 4);
  p.forward();
  Tensor dq(DType::kF32, {1, 2, 6, 4}), dk(DType::kF32, {1, 1, 6, 4}),
      dv(DType::kF32, {1, 1, 6, 4});
  FocusGradient out{dq.view<float, 4>(), dk.view<float, 4>(), dv.view<float, 4>(), {}, {}};
  EXPECT_NO_THROW(focus_backward(p.in, out)) << what;
  bend(p.in, out);
  try {
    focus_backward(p.in, out);
    ADD_FAILURE() << what << ": no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), code) << what;
    EXPECT_NE(std::string(e.what()).find("expected"), std::string::npos) << e.what();
  }
}

TEST(FocusBackward, WrongShapesAreErrors) {
  using In = FocusGradientInput;
  using Out = FocusGradient;
  float room[64] = {};
  expect_error(ErrorCode::kShape, "no dq", [](In&, Out& o) { o.dq.data = nullptr; });
  expect_error(ErrorCode::kShape, "dk", [](In&, Out& o) { o.dk.shape[2] = 7; });
  expect_error(ErrorCode::kShape, "dv", [](In&, Out& o) { o.dv.shape[1] = 2; });
  expect_error(ErrorCode::kShape, "dv stride", [](In&, Out& o) { o.dv.stride[3] = 2; });
  expect_error(ErrorCode::kShape, "lse", [](In& i, Out&) { i.lse.shape[2] = 5; });
  expect_error(ErrorCode::kShape, "no lse", [](In& i, Out&) { i.lse.data = nullptr; });
  expect_error(ErrorCode::kShape, "out", [](In& i, Out&) { i.out.shape[3] = 5; });
  expect_error(ErrorCode::kShape, "dout", [](In& i, Out&) { i.dout.shape[0] = 2; });
  expect_error(ErrorCode::kShape, "dlse", [&](In& i, Out&) { i.dlse = {room, {1, 1, 6}}; });
  expect_error(ErrorCode::kShape, "heads", [](In& i, Out&) { i.forward.k.shape[1] = 3; });
  expect_error(
      ErrorCode::kRange, "window", [](In& i, Out&) { i.forward.options.window_left = -2; });
  expect_error(ErrorCode::kUsage, "dbias", [&](In&, Out& o) { o.dbias = {room, {1, 1, 6, 6}}; });
  expect_error(ErrorCode::kUsage, "dsinks", [&](In&, Out& o) { o.dsinks = {room, {2}}; });
  expect_error(ErrorCode::kShape, "dsinks", [&](In& i, Out& o) {
    i.forward.options.sinks = {room, {2}};
    o.dsinks = {room, {1}};
  });
}

}  // namespace
}  // namespace headscope
