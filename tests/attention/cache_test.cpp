#include "headscope/cache.h"

#include <gtest/gtest.h>

#include <random>

#include "attention/random_call.h"

namespace headscope {
namespace {

// [G,T,D] whose numbers tell their group, position and column.
Tensor rows(std::int64_t G, std::int64_t first, std::int64_t T, std::int64_t D) {
  Tensor t(DType::kF32, {G, T, D});
  for (std::int64_t g = 0; g < G; ++g) {
    for (std::int64_t i = 0; i < T; ++i) {
      for (std::int64_t d = 0; d < D; ++d)
        t.view<float, 3>()(g, i, d) = static_cast<float>(g * 4096 + (first + i) * 8 + d);
    }
  }
  return t;
}

void grow(KvCache& cache, std::int64_t T) {
  for (std::size_t n = 0; n < cache.layers().size(); ++n) {
    const KvCache::Layer& l = cache.layers()[n];
    const Tensor k = rows(l.groups, cache.length(), T, l.width);
    const Tensor v = rows(l.groups, cache.length(), T, l.value_width);
    cache.append(n, k.view<float, 3>(), v.view<float, 3>());
  }
}

// The last keys that row `cache.length() - T` and those after it may see are there, in their places.
void expect_kept(const KvCache& cache, std::int64_t length, std::int64_t T) {
  for (std::size_t n = 0; n < cache.layers().size(); ++n) {
    const KvCache::Layer& l = cache.layers()[n];
    const auto keys = cache.keys<float>(n);
    const auto values = cache.values<float>(n);
    const std::int64_t first = cache.first(n);
    ASSERT_EQ(keys.shape[1], length - first);
    if (l.window < 0)
      ASSERT_EQ(first, 0);
    else
      ASSERT_LE(first, std::max<std::int64_t>(0, length - T - l.window));
    for (std::int64_t g = 0; g < l.groups; ++g) {
      for (std::int64_t j = first; j < length; ++j) {
        ASSERT_EQ(keys(g, j - first, 0), static_cast<float>(g * 4096 + j * 8)) << j;
        ASSERT_EQ(values(g, j - first, 0), static_cast<float>(g * 4096 + j * 8)) << j;
      }
    }
  }
}

TEST(KvCache, KeepsWhatRowsMaySeeInAnyBlocks) {
  std::mt19937 random(5);
  for (int round = 0; round < 40; ++round) {
    KvCache cache({{2, 4, 3, -1}, {1, 8, 8, 5}, {3, 2, 6, 0}, {1, 1, 1, 40}}, 120);
    while (cache.length() < 110) {
      const auto T = std::min<std::int64_t>(1 + static_cast<std::int64_t>(random() % 20),
                                            120 - cache.length());
      grow(cache, T);
      expect_kept(cache, cache.length() + T, T);
      cache.advance(T);
    }
  }
}

TEST(KvCache, AnAppendThatIsNotTakenIsReplaced) {
  KvCache cache({{1, 4, 4, 3}}, 40);
  grow(cache, 10);
  grow(cache, 4);
  expect_kept(cache, 4, 4);
  cache.advance(4);
  EXPECT_EQ(cache.length(), 4);
  EXPECT_THROW(cache.advance(2), Error);
}

TEST(KvCache, GoesBackAsFarAsItsWindowsAllow) {
  KvCache cache({{1, 4, 4, 6}, {1, 4, 4, -1}}, 200);
  while (cache.length() < 100) {
    grow(cache, 1);
    cache.advance(1);
  }
  const std::int64_t least = cache.first(0) + 6;
  EXPECT_THROW(cache.truncate(least - 1), Error);
  EXPECT_THROW(cache.truncate(101), Error);
  cache.truncate(least);
  grow(cache, 1);
  expect_kept(cache, least + 1, 1);
  cache.truncate(0);
  EXPECT_EQ(cache.first(0), 0);
  EXPECT_EQ(cache.bytes(), 0U);
}

TEST(KvCache, FullAndFalseSizesAreRefused) {
  KvCache cache({{1, 4, 4, -1}}, 4);
  grow(cache, 3);
  cache.advance(3);
  try {
    grow(cache, 3);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kInput);
    EXPECT_STREQ(e.what(), "[cache] expected at most 4 tokens, found 6: 2 too many");
  }
  EXPECT_THROW(KvCache({{1, 4, 4, -1}}, 0), Error);
  EXPECT_THROW(KvCache({{0, 4, 4, -1}}, 4), Error);
  EXPECT_THROW(KvCache({{1, 4, 4, -2}}, 4), Error);
  EXPECT_THROW(KvCache({{1, 4, 4, -1}}, 4, DType::kF16), Error);
  EXPECT_THROW((void)cache.keys<bf16>(0), Error);
}

// Whatever a window has dropped: a prefix counts keys from position 0.
TEST(KvCache, APrefixStaysWhereItIs) {
  constexpr std::int64_t kAll = 16;
  constexpr std::int64_t kRows = 4;
  std::mt19937 random(8);
  const Tensor q = testing_support::noise({1, 1, kRows, 4}, random);
  const Tensor k = testing_support::noise({1, kAll, 4}, random);
  const Tensor v = testing_support::noise({1, kAll, 4}, random);
  KvCache cache({{1, 4, 4, 3}}, 40);
  for (std::int64_t at = 0; at < kAll;) {
    const std::int64_t T = at < kAll - kRows ? 1 : kRows;
    const auto rows = [&](const Tensor& x) {
      return View<const float, 3>(&x.view<float, 3>()(0, at, 0), {1, T, 4});
    };
    cache.append(0, rows(k), rows(v));
    at += T;
    if (at < kAll) cache.advance(T);
  }
  ASSERT_GT(cache.first(0), 0);
  AttentionCall call;
  call.options.causal = true;
  call.options.window_left = 3;
  call.options.prefix = kAll - 2;
  Tensor whole(DType::kF32, {1, 1, kRows, 4});
  const auto all = [](const Tensor& x) {
    return View<const float, 4>(x.span<float>().data(), {1, 1, kAll, 4});
  };
  focus(FocusInput{q.view<float, 4>(), all(k), all(v), call.options}, {whole.view<float, 4>(), {}});
  KvCache* const caches[] = {&cache};
  call.caches = caches;
  Tensor found(DType::kF32, {1, 1, kRows, 4});
  focus(Slices{q.view<float, 4>(), {}, {}, {}}, {found.view<float, 4>(), {}}, call);
  for (std::size_t n = 0; n < found.span<float>().size(); ++n)
    EXPECT_NEAR(found.span<float>()[n], whole.span<float>()[n], 1e-5) << n;
}

TEST(KvCache, Bf16RoundsOnce) {
  KvCache cache({{1, 1, 1, -1}}, 4, DType::kBF16);
  Tensor k(DType::kF32, {1, 1, 1});
  k.span<float>()[0] = 1.00390625F;  // halfway between two neighbours: the even one
  cache.append(0, k.view<float, 3>(), k.view<float, 3>());
  EXPECT_EQ(to_f32(cache.keys<bf16>(0)(0, 0, 0)), 1.0F);
}

}  // namespace
}  // namespace headscope
