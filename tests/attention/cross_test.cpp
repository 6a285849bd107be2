// Cross attention: queries of one sequence, keys and values of another, at once or remembered.
#include <gtest/gtest.h>

#include <cmath>

#include "attention/random_call.h"
#include "headscope/linear.h"

namespace headscope {
namespace {

using testing_support::noise;

struct Cross {
  std::int64_t H = 4, G = 2, D = 6, Dv = 5, C = 12, M = 10, B = 2, T = 5, Tk = 9;
  Tensor q, k, v, o, x, memory;
  Tensor mask = Tensor(DType::kU8, {2, 9});
  AttentionWeights weights;

  Cross() {
    std::mt19937 generator(3);
    q = noise({H * D, C}, generator);
    k = noise({G * D, M}, generator);
    v = noise({G * Dv, M}, generator);
    o = noise({C, H * Dv}, generator);
    x = noise({B, T, C}, generator);
    memory = noise({B, Tk, M}, generator);
    for (std::int64_t j = 0; j < Tk; ++j) {
      mask.view<std::uint8_t, 2>()(0, j) = 1;
      mask.view<std::uint8_t, 2>()(1, j) = j < 6 ? 1 : 0;
    }
    const auto map = [](const Tensor& w) { return std::make_shared<const Linear>(w.any()); };
    weights = {{map(q), map(k), map(v)}, map(o), H, G, D, Dv};
  }
  Tensor run(AttentionCall call) const {
    Tensor out(DType::kF32, {B, T, C});
    attention(weights, x.view<float, 3>(), out.view<float, 3>(), call);
    return out;
  }
  AttentionCall at_once() const {
    AttentionCall call;
    call.memory = memory.view<float, 3>();
    call.options.key_mask = mask.view<std::uint8_t, 2>();
    return call;
  }
  // Row i of sequence b in double.
  std::vector<double> expected(std::int64_t b, std::int64_t i) const {
    const auto dot = [](const Tensor& w, std::int64_t row, const float* from) {
      double sum = 0.0;
      for (std::int64_t c = 0; c < w.dim(1); ++c)
        sum += double{w.view<float, 2>()(row, c)} * double{from[c]};
      return sum;
    };
    std::vector<double> z;
    for (std::int64_t h = 0; h < H; ++h) {
      const std::int64_t g = h / (H / G);
      std::vector<double> found(static_cast<std::size_t>(Dv), 0.0);
      double sum = 0.0;
      for (std::int64_t j = 0; j < (b == 0 ? Tk : 6); ++j) {
        const float* from = &memory.view<float, 3>()(b, j, 0);
        double score = 0.0;
        for (std::int64_t d = 0; d < D; ++d)
          score += dot(q, h * D + d, &x.view<float, 3>()(b, i, 0)) * dot(k, g * D + d, from);
        const double w = std::exp(score / std::sqrt(static_cast<double>(D)));
        sum += w;
        for (std::int64_t d = 0; d < Dv; ++d)
          found[static_cast<std::size_t>(d)] += w * dot(v, g * Dv + d, from);
      }
      for (const double f : found) z.push_back(f / sum);
    }
    std::vector<double> out;
    for (std::int64_t c = 0; c < C; ++c) {
      double y = 0.0;
      for (std::size_t n = 0; n < z.size(); ++n)
        y += z[n] * double{o.view<float, 2>()(c, static_cast<std::int64_t>(n))};
      out.push_back(y);
    }
    return out;
  }
  void expect(const Tensor& out) const {
    for (std::int64_t b = 0; b < B; ++b) {
      for (std::int64_t i = 0; i < T; ++i) {
        const std::vector<double> want = expected(b, i);
        for (std::size_t n = 0; n < want.size(); ++n) {
          const float found = out.view<float, 3>()(b, i, static_cast<std::int64_t>(n));
          ASSERT_NEAR(found, want[n], 2e-4);
        }
      }
    }
  }
};

TEST(CrossAttention, KeysAndValuesComeFromAnotherSequence) {
  const Cross c;
  c.expect(c.run(c.at_once()));
}

TEST(CrossAttention, WhatIsRememberedIsTheSame) {
  const Cross c;
  KvCache first({{c.G, c.D, c.Dv, -1}}, 16);
  KvCache second({{c.G, c.D, c.Dv, -1}}, 16);
  const std::vector<KvCache*> caches{&first, &second};
  remember(c.weights, c.memory.view<float, 3>(), c.mask.view<std::uint8_t, 2>(), caches, 0);
  first.advance(9);
  second.advance(6);
  AttentionCall call;
  call.caches = caches;
  call.remembered = true;
  c.expect(c.run(call));
  EXPECT_EQ(first.length(), 9);
}

TEST(CrossAttention, ShapesThatDoNotFitAreRefused) {
  const Cross c;
  AttentionCall call = c.at_once();
  call.memory.shape[0] = 1;
  EXPECT_THROW((void)c.run(call), Error);
  call = c.at_once();
  AttentionWeights turned = c.weights;
  turned.rotary = Rotary::plain(Rotary::Style::kNeox, 4);
  Tensor out(DType::kF32, {c.B, c.T, c.C});
  EXPECT_THROW(attention(turned, c.x.view<float, 3>(), out.view<float, 3>(), call), Error);
}

}  // namespace
}  // namespace headscope
