// What split does to q and k where they lie: rotary turns and QK-norm, on every instruction set of
// this machine.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "attention/random_call.h"
#include "attention/turned.h"
#include "headscope/linear.h"

namespace headscope {
namespace {

using namespace testing_support;
using Style = Rotary::Style;

// Projected rows of a layer with H heads on G, and what split makes of them.
struct Projected {
  std::int64_t B = 2, T = 70, H = 6, G = 3, D = 24, Dv = 10;
  AttentionWeights weights;
  Tensor qkv;

  Projected() {
    std::mt19937 generator(9);
    weights.heads = H;
    weights.groups = G;
    weights.width = D;
    weights.value_width = Dv;
    qkv = noise({B, T, (H + G) * D + G * Dv}, generator);
  }
  Slices plain() {
    AttentionWeights w = weights;
    w.norm = {};
    w.rotary = {};
    return split(w, qkv.view<float, 3>());
  }
  ErrorCode error(const AttentionCall& call = {}) const {
    Tensor rows = qkv.clone();
    return code_of([&] { split(weights, rows.view<float, 3>(), call); });
  }
};

void expect_same(const View<const float, 4>& found, const View<const float, 4>& expected) {
  ASSERT_EQ(found.shape, expected.shape);
  for (std::int64_t b = 0; b < found.shape[0]; ++b) {
    for (std::int64_t h = 0; h < found.shape[1]; ++h) {
      for (std::int64_t t = 0; t < found.shape[2]; ++t) {
        for (std::int64_t d = 0; d < found.shape[3]; ++d)
          ASSERT_EQ(found(b, h, t, d), expected(b, h, t, d)) << b << h << " " << t << " " << d;
      }
    }
  }
}

void expect_split_turns(Projected& p, const AttentionCall& call, const Tensor& positions) {
  const Slices before = p.plain();
  Tensor rows = p.qkv.clone();
  const Slices after = split(p.weights, rows.view<float, 3>(), call);
  const View<const std::int64_t, 2> at = positions.view<std::int64_t, 2>();
  expect_turned(before.q, after.q, p.weights.rotary, 10000.0, at, Turn::kForth);
  expect_turned(before.k, after.k, p.weights.rotary, 10000.0, at, Turn::kForth);
  expect_same(after.v, before.v);
}

TEST(Split, TurnsQueriesAndKeysWhereTheyLie) {
  on_every_table([] {
    Projected p;
    p.weights.rotary = Rotary::plain(Style::kNeox, 20);
    expect_split_turns(p, {}, counting(0, p.T));
    AttentionCall later;
    later.first_position = 5000;
    p.weights.rotary = Rotary::plain(Style::kGptj, 24);
    expect_split_turns(p, later, counting(5000, p.T));
  });
}

TEST(Split, PositionsMayDifferInABatch) {
  Projected p;
  p.weights.rotary = Rotary::plain(Style::kNeox, 24);
  Tensor positions(DType::kI64, {p.B, p.T});
  for (std::int64_t i = 0; i < p.B * p.T; ++i)
    positions.span<std::int64_t>()[static_cast<std::size_t>(i)] = 3 * i % 101;
  AttentionCall call;
  call.positions = positions.view<std::int64_t, 2>();
  expect_split_turns(p, call, positions);
}

TEST(Split, PackedSequencesStartAnew) {
  Projected p;
  p.weights.rotary = Rotary::plain(Style::kNeox, 24);
  Tensor cu(DType::kI32, {4});
  const std::int32_t starts[] = {0, 13, 13, 70};
  std::memcpy(cu.raw(), starts, sizeof starts);
  AttentionCall call;
  call.options.cu_seqlens_q = cu.view<std::int32_t, 1>();
  Tensor positions(DType::kI64, {1, p.T});
  for (std::int64_t t = 0; t < p.T; ++t)
    positions.span<std::int64_t>()[static_cast<std::size_t>(t)] = t < 13 ? t : t - 13;
  expect_split_turns(p, call, positions);
}

// Numbers that focus will refuse must not make split write beyond its positions.
TEST(Split, WildSequenceStartsDoNotLeadAstray) {
  Projected p;
  p.weights.rotary = Rotary::plain(Style::kNeox, 24);
  Tensor cu(DType::kI32, {4});
  const std::int32_t starts[] = {-5, 1000000, 3, -2147483647};
  std::memcpy(cu.raw(), starts, sizeof starts);
  AttentionCall call;
  call.options.cu_seqlens_q = cu.view<std::int32_t, 1>();
  Tensor rows = p.qkv.clone();
  const Slices s = split(p.weights, rows.view<float, 3>(), call);
  EXPECT_EQ(s.q.shape[2], p.T);
  call.options.cu_seqlens_q = {};
  call.first_position = std::numeric_limits<std::int64_t>::max();
  EXPECT_EQ(p.error(call), ErrorCode::kRange);
}

// Token by token, as with a cache, turns like all at once.
TEST(Split, ACallGoesOnWhereAnotherEnded) {
  Projected p;
  p.weights.rotary = Rotary::plain(Style::kNeox, 24);
  Tensor all = p.qkv.clone();
  const Slices whole = split(p.weights, all.view<float, 3>());
  const std::int64_t N = p.qkv.dim(2);
  for (std::int64_t t = 0; t < p.T; ++t) {
    Tensor one(DType::kF32, {1, 1, N});
    std::memcpy(one.raw(), p.qkv.span<float>().data() + t * N, one.bytes());
    AttentionCall call;
    call.first_position = t;
    const Slices s = split(p.weights, one.view<float, 3>(), call);
    for (std::int64_t h = 0; h < p.H; ++h) {
      for (std::int64_t d = 0; d < p.D; ++d)
        ASSERT_NEAR(s.q(0, h, 0, d), whole.q(0, h, t, d), 5.0 * kTurnError);
    }
  }
}

// The norm of numbers [first, first + n) of a head row in double.
struct NormCase {
  HeadNorm::Kind kind;
  HeadNorm::Over over;
  bool weight_each;  // one weight for each number of all heads
  bool weighted;
};

void expect_normed(const View<const float, 4>& before,
                   const View<const float, 4>& after,
                   const NormCase& c,
                   float eps,
                   const View<const float, 1>& weight,
                   const View<const float, 1>& bias) {
  const auto [B, H, T, D] = before.shape;
  const std::int64_t together = c.over == HeadNorm::Over::kHead ? 1 : H;
  const auto n = static_cast<double>(together * D);
  for (std::int64_t h = 0; h < H; ++h) {
    const std::int64_t first = h / together * together;
    for (std::int64_t t = 0; t < T; ++t) {
      double mean = 0.0;
      double var = 0.0;
      for (std::int64_t i = 0; i < together * D; ++i)
        mean += double{before(B - 1, first + i / D, t, i % D)} / n;
      if (c.kind == HeadNorm::Kind::kRms) mean = 0.0;
      for (std::int64_t i = 0; i < together * D; ++i) {
        const double z = double{before(B - 1, first + i / D, t, i % D)} - mean;
        var += z * z / n;
      }
      for (std::int64_t d = 0; d < D; ++d) {
        double y = (double{before(B - 1, h, t, d)} - mean) / std::sqrt(var + double{eps});
        const std::int64_t at = (h * D + d) % std::max<std::int64_t>(1, weight.shape[0]);
        if (weight.data != nullptr) y *= double{weight(at)};
        if (bias.data != nullptr) y += double{bias(at)};
        ASSERT_NEAR(double{after(B - 1, h, t, d)}, y, 2e-6 * (1.0 + std::abs(y))) << h << " " << d;
      }
    }
  }
}

void check_norm(const NormCase& c) {
  Projected p;
  std::mt19937 generator(10);
  const bool each = c.weight_each || c.over == HeadNorm::Over::kAllHeads;
  const Tensor qw = noise({each ? p.H * p.D : p.D}, generator);
  const Tensor kw = noise({each ? p.G * p.D : p.D}, generator);
  HeadNorm& norm = p.weights.norm;
  norm = {c.kind, c.over, 1e-2F, {}, {}, {}, {}};
  if (c.weighted) {
    norm.q_weight = qw.view<float, 1>();
    norm.k_weight = kw.view<float, 1>();
  }
  if (c.weighted && c.kind == HeadNorm::Kind::kLayer) norm.q_bias = norm.q_weight;
  Tensor rows = p.qkv.clone();
  const Slices after = split(p.weights, rows.view<float, 3>());
  const Slices before = p.plain();
  expect_normed(before.q, after.q, c, norm.eps, norm.q_weight, norm.q_bias);
  expect_normed(before.k, after.k, c, norm.eps, norm.k_weight, norm.k_bias);
  expect_same(after.v, before.v);
}

TEST(Split, NormsQueriesAndKeysLikeTheFormula) {
  on_every_table([] {
    for (const auto kind : {HeadNorm::Kind::kRms, HeadNorm::Kind::kLayer}) {
      for (const auto over : {HeadNorm::Over::kHead, HeadNorm::Over::kAllHeads}) {
        for (const bool each : {false, true}) {
          for (const bool weighted : {false, true}) check_norm({kind, over, each, weighted});
        }
      }
    }
  });
}

TEST(Split, NormComesBeforeTheTurn) {
  Projected p;
  std::mt19937 generator(11);
  const Tensor weight = noise({p.D}, generator);
  p.weights.norm.kind = HeadNorm::Kind::kRms;
  p.weights.norm.q_weight = p.weights.norm.k_weight = weight.view<float, 1>();
  Tensor rows = p.qkv.clone();
  const Slices normed = split(p.weights, rows.view<float, 3>());
  AttentionWeights both = p.weights;
  both.rotary = Rotary::plain(Style::kNeox, 24);
  Tensor other = p.qkv.clone();
  const Slices turned = split(both, other.view<float, 3>());
  const Tensor positions = counting(0, p.T);
  const View<const std::int64_t, 2> at = positions.view<std::int64_t, 2>();
  expect_turned(normed.q, turned.q, both.rotary, 10000.0, at, Turn::kForth);
  expect_turned(normed.k, turned.k, both.rotary, 10000.0, at, Turn::kForth);
}

TEST(Split, FactsThatDoNotFitAreRefused) {
  Projected p;
  p.weights.rotary = Rotary::plain(Style::kNeox, 26);
  EXPECT_EQ(p.error(), ErrorCode::kShape);
  p.weights.rotary = Rotary::plain(Style::kNeox, 24);
  const Tensor short_positions = counting(0, 69);
  AttentionCall call;
  call.positions = short_positions.view<std::int64_t, 2>();
  EXPECT_EQ(p.error(call), ErrorCode::kShape);
  const Tensor weight = Tensor::zeros(DType::kF32, {23});
  p.weights.norm.kind = HeadNorm::Kind::kRms;
  p.weights.norm.k_weight = weight.view<float, 1>();
  EXPECT_EQ(p.error(), ErrorCode::kShape);
  const Tensor bias = Tensor::zeros(DType::kF32, {24});
  p.weights.norm.k_weight = {};
  p.weights.norm.q_bias = bias.view<float, 1>();
  EXPECT_EQ(p.error(), ErrorCode::kUsage);
  p.weights.norm.q_bias = {};
  p.weights.norm.eps = std::nanf("");
  EXPECT_EQ(p.error(), ErrorCode::kRange);
  p.weights.norm = {};
  p.weights.heads = 7;
  EXPECT_EQ(p.error(), ErrorCode::kShape);
}

// The trace and the record keep q and k as focus saw them, and nothing else of the five steps moves.
TEST(Attention, TraceHoldsTurnedQueriesAndKeys) {
  const std::int64_t H = 4, G = 2, D = 8, C = 12, B = 2, T = 9;
  std::mt19937 generator(12);
  const Tensor qkv = noise({(H + 2 * G) * D, C}, generator);
  const Tensor o = noise({C, H * D}, generator);
  const Tensor x = noise({B, T, C}, generator);
  AttentionWeights w{{std::make_shared<const Linear>(qkv.any(), AnyView{})},
                     std::make_shared<const Linear>(o.any(), AnyView{}),
                     H,
                     G,
                     D,
                     D};
  const auto run = [&](AttentionTrace& trace, FocusRecord& record) {
    Sight sight;
    sight.keep_qk = true;
    Tensor out(DType::kF32, {B, T, C});
    AttentionCall call;
    call.sight = &sight;
    call.record = &record;
    call.trace = &trace;
    call.first_position = 30;
    attention(w, x.view<float, 3>(), out.view<float, 3>(), call);
  };
  AttentionTrace plain;
  AttentionTrace turned;
  FocusRecord record;
  run(plain, record);
  w.rotary = Rotary::plain(Style::kGptj, 6, 100.0);
  run(turned, record);
  const Tensor positions = counting(30, T);
  const View<const std::int64_t, 2> at = positions.view<std::int64_t, 2>();
  const AttentionTrace& p = plain;
  const AttentionTrace& t = turned;
  expect_turned(p.q.view<float, 4>(), t.q.view<float, 4>(), w.rotary, 100.0, at, Turn::kForth);
  expect_turned(p.k.view<float, 4>(), t.k.view<float, 4>(), w.rotary, 100.0, at, Turn::kForth);
  EXPECT_EQ(std::memcmp(p.v.raw(), t.v.raw(), p.v.bytes()), 0);
  EXPECT_NE(std::memcmp(p.z.raw(), t.z.raw(), p.z.bytes()), 0);
}

}  // namespace
}  // namespace headscope
