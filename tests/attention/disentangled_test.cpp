// Disentangled attention against sums in double.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "attention/random_call.h"
#include "headscope/linear.h"

namespace headscope {
namespace {

using testing_support::noise;

std::shared_ptr<const Linear> share(const Tensor& weight) {
  return std::make_shared<const Linear>(weight.any());
}

TEST(Disentangled, DistancesNearAreExactAndFarOnesShareRows) {
  DisentangledPositions p;
  p.span = p.buckets = 8;
  p.furthest = 64;
  // Up to buckets/2 = 4 every distance is its own; then ceil(3 ln(d/4) / ln(63/4)) + 4.
  const std::pair<std::int64_t, std::int64_t> expected[] = {
      {0, 8}, {1, 9}, {-1, 7}, {4, 12}, {5, 13}, {10, 13}, {11, 14}, {-11, 2}, {25, 14}, {26, 15}, {63, 15},
      {-63, 1}, {64, 15}, {-64, 0}, {100000, 15}, {-100000, 0}};
  for (const auto& [distance, row] : expected) EXPECT_EQ(p.row(distance), row) << distance;
  p.buckets = 0;  // every distance is its own up to the span
  EXPECT_EQ(p.row(7), 15);
  EXPECT_EQ(p.row(9), 15);
  EXPECT_EQ(p.row(-8), 0);
  EXPECT_EQ(p.row(-9), 0);
}

TEST(Disentangled, ScoresAreTheSumOfThreeProducts) {
  const std::int64_t H = 3, D = 5, C = 12, T = 11, B = 2, span = 4;
  for (const int terms : {1, 2, 3}) {
    std::mt19937 generator(7);
    const Tensor qkv = noise({3 * H * D, C}, generator, 0.7F);
    const Tensor out_weight = noise({C, H * D}, generator);
    const Tensor x = noise({B, T, C}, generator);
    auto p = std::make_shared<DisentangledPositions>();
    p->span = p->buckets = span;
    p->furthest = 16;
    std::vector<Tensor> keys, queries;
    for (std::int64_t h = 0; h < H; ++h) {
      keys.push_back(noise({2 * span, D}, generator));
      queries.push_back(noise({2 * span, D}, generator));
      if ((terms & 1) != 0) p->keys.push_back(share(keys.back()));
      if ((terms & 2) != 0) p->queries.push_back(share(queries.back()));
    }
    AttentionWeights w{{share(qkv)}, share(out_weight), H, H, D, D};
    w.disentangled = p;
    Tensor out(DType::kF32, {B, T, C});
    AttentionCall call;
    call.options.scale = 0.3F;
    std::vector<std::uint8_t> mask(static_cast<std::size_t>(B * T), 1);
    mask.back() = 0;
    call.options.key_mask = {mask.data(), {B, T}};
    Sight sight = Sight::everything();
    FocusRecord record;
    AttentionTrace trace;
    call.sight = &sight;
    call.record = &record;
    call.trace = &trace;
    attention(w, x.view<float, 3>(), out.view<float, 3>(), call);
    const auto q = trace.q.view<float, 4>();
    const auto k = trace.k.view<float, 4>();
    std::vector<float> found(static_cast<std::size_t>(T));
    for (std::int64_t b = 0; b < B; ++b) {
      for (std::int64_t h = 0; h < H; ++h) {
        for (std::int64_t i = 0; i < T; ++i) {
          std::vector<double> e;
          double sum = 0.0;
          for (std::int64_t j = 0; j < T; ++j) {
            double score = 0.0;
            const std::int64_t r = p->row(i - j);
            for (std::int64_t d = 0; d < D; ++d) {
              score += double{q(b, h, i, d)} * double{k(b, h, j, d)};
              if ((terms & 1) != 0)
                score += double{q(b, h, i, d)} * double{keys[static_cast<std::size_t>(h)].view<float, 2>()(r, d)};
              if ((terms & 2) != 0)
                score +=
                    double{k(b, h, j, d)} * double{queries[static_cast<std::size_t>(h)].view<float, 2>()(r, d)};
            }
            e.push_back(mask[static_cast<std::size_t>(b * T + j)] == 0 ? 0.0 : std::exp(0.3 * score));
            sum += e.back();
          }
          record.row(b, static_cast<int>(h), i, found);
          for (std::int64_t j = 0; j < T; ++j)
            ASSERT_NEAR(found[static_cast<std::size_t>(j)], e[static_cast<std::size_t>(j)] / sum, 1e-5);
        }
      }
    }
  }
}

TEST(Disentangled, CrossAttentionAndCachesAreRefused) {
  std::mt19937 generator(3);
  const Tensor qkv = noise({12, 4}, generator);
  const Tensor qw = noise({4, 4}, generator), kw = noise({4, 4}, generator), vw = noise({4, 4}, generator);
  const Tensor x = noise({1, 3, 4}, generator);
  AttentionWeights w{{share(qw), share(kw), share(vw)}, share(qw), 1, 1, 4, 4};
  auto p = std::make_shared<DisentangledPositions>();
  p->span = 2;
  w.disentangled = p;
  Tensor out(DType::kF32, {1, 3, 4});
  AttentionCall call;
  call.memory = x.view<float, 3>();
  EXPECT_THROW(attention(w, x.view<float, 3>(), out.view<float, 3>(), call), Error);
}

}  // namespace
}  // namespace headscope
