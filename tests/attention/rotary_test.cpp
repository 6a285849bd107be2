// Rotary turns on every instruction set of this machine, against angles in long double.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "attention/random_call.h"
#include "attention/turned.h"
#include "headscope/threads.h"
#include "kernels/heads.h"

namespace headscope {
namespace {

using namespace testing_support;
using Style = Rotary::Style;

// A random call of `rotate`, reproducible from its seed.
struct RandomTurn {
  Tensor x, positions;
  Rotary rotary;
  double base;
  Turn turn;

  explicit RandomTurn(unsigned seed) {
    std::mt19937 generator(seed);
    const auto pick = [&](std::int64_t low, std::int64_t high) {
      return std::uniform_int_distribution<std::int64_t>(low, high)(generator);
    };
    const std::int64_t B = pick(1, 3);
    const std::int64_t T = pick(1, pick(0, 3) == 0 ? 150 : 9);
    const std::int64_t D = pick(2, 140);
    x = noise({B, pick(1, 4), T, D}, generator);
    constexpr double kBases[] = {10000.0, 1e5, 5e5, 1e6, 2.0, 1.0};
    base = kBases[pick(0, 5)];
    rotary = Rotary::plain(pick(0, 1) == 0 ? Style::kNeox : Style::kGptj, 2 * pick(1, D / 2), base);
    if (pick(0, 3) == 0) rotary.factor = 1.25;
    turn = pick(0, 2) == 0 ? Turn::kBack : Turn::kForth;
    positions = Tensor(DType::kI64, {pick(0, 1) == 0 ? 1 : B, T});
    // Runs that go on, start anew and jump.
    std::int64_t p = pick(0, 200000);
    for (std::int64_t& at : positions.span<std::int64_t>()) {
      at = p++;
      if (pick(0, 15) == 0) p = pick(0, 1) == 0 ? 0 : pick(-300, 1 << 20);
    }
  }
};

TEST(Rotary, RandomTurnsEqualAnglesInLongDouble) {
  const unsigned first = 20260;
  RecordProperty("seed", static_cast<int>(first));
  on_every_table([&] {
    for (unsigned seed = first; seed < first + 400; ++seed) {
      RandomTurn call(seed);
      const Tensor before = call.x.clone();
      const View<const std::int64_t, 2> positions = call.positions.view<std::int64_t, 2>();
      rotate(call.rotary, call.x.view<float, 4>(), positions, call.turn);
      expect_turned(before.view<float, 4>(),
                    call.x.view<float, 4>(),
                    call.rotary,
                    call.base,
                    positions,
                    call.turn);
      if (testing::Test::HasFatalFailure()) FAIL() << "seed " << seed;
    }
  });
}

// Heads (1, 0) turn into (cos, sin): they must be the f32 next to the true ones, wherever a run begins.
TEST(Rotary, CosAndSinAreExactToRoundingFarOut) {
  const std::int64_t T = 200;
  const std::int64_t half = 32;
  const Rotary rotary = Rotary::plain(Style::kNeox, 2 * half);
  for (const std::int64_t first : {0L, 4000L, 131072L - 150, 1048576L, (1L << 27) - 200}) {
    Tensor x = Tensor::zeros(DType::kF32, {1, 1, T, 2 * half});
    for (std::int64_t t = 0; t < T; ++t) {
      for (std::int64_t m = 0; m < half; ++m) x.view<float, 4>()(0, 0, t, m) = 1.0F;
    }
    const Tensor positions = counting(first, T);
    rotate(rotary, x.view<float, 4>(), positions.view<std::int64_t, 2>());
    for (std::int64_t t = 0; t < T; ++t) {
      for (std::int64_t m = 0; m < half; ++m) {
        const long double angle =
            static_cast<long double>(first + t) *
            std::pow(10000.0L, -2.0L * static_cast<long double>(m) / (2.0L * half));
        // Half a unit of f32, and what doubles at an angle of this size and after 64 steps leave.
        const double slack = 0x1p-25 + 4e-16 * static_cast<double>(first + t + 64);
        EXPECT_NEAR(
            double{(x.view<float, 4>()(0, 0, t, m))}, static_cast<double>(std::cos(angle)), slack);
        EXPECT_NEAR(double{(x.view<float, 4>()(0, 0, t, half + m))},
                    static_cast<double>(std::sin(angle)),
                    slack);
      }
    }
  }
}

TEST(Rotary, BackUndoesForth) {
  on_every_table([] {
    for (const Style style : {Style::kNeox, Style::kGptj}) {
      std::mt19937 generator(5);
      Tensor x = noise({2, 3, 70, 48}, generator);
      const Tensor before = x.clone();
      const Rotary rotary = Rotary::plain(style, 38);
      const Tensor positions = counting(1000, 70);
      rotate(rotary, x.view<float, 4>(), positions.view<std::int64_t, 2>());
      EXPECT_NE(std::memcmp(x.raw(), before.raw(), x.bytes()), 0);
      rotate(rotary, x.view<float, 4>(), positions.view<std::int64_t, 2>(), Turn::kBack);
      const auto found = x.span<float>();
      for (std::size_t i = 0; i < found.size(); ++i)
        ASSERT_NEAR(found[i], before.span<float>()[i], 4 * kTurnError * 5.0);
    }
  });
}

TEST(Rotary, ScoresDependOnTheDistanceOnly) {
  std::mt19937 generator(6);
  const Tensor q = noise({1, 1, 1, 64}, generator);
  const Tensor k = noise({1, 1, 1, 64}, generator);
  const auto score = [&](std::int64_t i, std::int64_t j) {
    Tensor a = q.clone();
    Tensor b = k.clone();
    const Rotary rotary = Rotary::plain(Style::kNeox, 64, 5e5);
    const Tensor at_i = counting(i, 1);
    const Tensor at_j = counting(j, 1);
    rotate(rotary, a.view<float, 4>(), at_i.view<std::int64_t, 2>());
    rotate(rotary, b.view<float, 4>(), at_j.view<std::int64_t, 2>());
    double sum = 0.0;
    for (std::size_t d = 0; d < 64; ++d)
      sum += double{a.span<float>()[d]} * double{b.span<float>()[d]};
    return sum;
  };
  for (const std::int64_t shift : {1L, 4096L, 131072L})
    EXPECT_NEAR(score(17, 3), score(17 + shift, 3 + shift), 64 * 4 * kTurnError);
  EXPECT_GT(std::abs(score(17, 3) - score(17, 4)), 1e-3);
}

TEST(Rotary, ThreadsDoNotChangeABit) {
  std::mt19937 generator(7);
  const Tensor x = noise({2, 3, 300, 32}, generator);
  const Tensor positions = counting(77, 300);
  const auto run = [&](int n) {
    const int before = threads();
    set_threads(n);
    Tensor y = x.clone();
    rotate(Rotary::plain(Style::kGptj, 32), y.view<float, 4>(), positions.view<std::int64_t, 2>());
    set_threads(before);
    return y;
  };
  const Tensor one = run(1);
  const Tensor four = run(4);
  EXPECT_EQ(std::memcmp(one.raw(), four.raw(), one.bytes()), 0);
}

TEST(Rotary, FactsThatMakeNoSenseAreRefused) {
  for (const std::int64_t width : {-2L, 0L, 7L, 1L << 40})
    EXPECT_EQ(code_of([&] { Rotary::plain(Style::kNeox, width); }), ErrorCode::kRange) << width;
  for (const double base : {0.0, -1.0, std::nan(""), HUGE_VAL})
    EXPECT_EQ(code_of([&] { Rotary::plain(Style::kNeox, 8, base); }), ErrorCode::kRange) << base;
}

TEST(Rotary, ABadCallIsRefusedBeforeAnyWrite) {
  std::mt19937 generator(8);
  Tensor x = noise({2, 3, 5, 8}, generator);
  const Tensor before = x.clone();
  const Rotary good = Rotary::plain(Style::kNeox, 8);
  const auto run = [&](const Rotary& r, const Tensor& p, View<float, 4> heads) {
    return code_of([&] { rotate(r, heads, p.view<std::int64_t, 2>()); });
  };
  const auto heads = x.view<float, 4>();
  EXPECT_EQ(run(Rotary::plain(Style::kNeox, 10), counting(0, 5), heads), ErrorCode::kShape);
  EXPECT_EQ(run(good, counting(0, 4), heads), ErrorCode::kShape);
  EXPECT_EQ(run(good, Tensor::zeros(DType::kI64, {3, 5}), heads), ErrorCode::kShape);
  EXPECT_EQ(run({Style::kNeox, {}, 1.0}, counting(0, 5), heads), ErrorCode::kShape);
  EXPECT_EQ(run({Style::kNeox, {1.0, HUGE_VAL}, 1.0}, counting(0, 5), heads), ErrorCode::kRange);
  EXPECT_EQ(run({Style::kNeox, {1.0}, std::nan("")}, counting(0, 5), heads), ErrorCode::kRange);
  EXPECT_EQ(run(good, counting(std::numeric_limits<std::int64_t>::max() - 4, 5), heads),
            ErrorCode::kRange);
  const View<float, 4> across(heads.data, {2, 3, 4, 8}, {120, 40, 1, 4});
  EXPECT_EQ(run(good, counting(0, 4), across), ErrorCode::kShape);
  EXPECT_EQ(code_of([&] { rotate(good, heads, {}); }), ErrorCode::kShape);
  EXPECT_EQ(std::memcmp(x.raw(), before.raw(), x.bytes()), 0);
}

TEST(Heads, EveryTableBringsItsOwnBodies) {
  const auto scalar = kernels::head_bodies("scalar");
  for (const kernels::Table* table : kernels::tables()) {
    const auto bodies = kernels::head_bodies(table->name);
    EXPECT_EQ(bodies.turn == scalar.turn, table->name == "scalar") << table->name;
    EXPECT_EQ(bodies.rms_norm == scalar.rms_norm, table->name == "scalar") << table->name;
  }
}

}  // namespace
}  // namespace headscope
