#include "headscope/sighting.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <random>

#include "formats/scratch.h"
#include "headscope/safetensors.h"

namespace headscope {
namespace {

// A causal layer of 4 heads on 2 over T tokens, recorded with everything.
Sighting record(std::int64_t T, unsigned seed = 4) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  const auto noise = [&](Shape shape) {
    Tensor t(DType::kF32, std::move(shape));
    for (float& x : t.span<float>()) x = normal(generator);
    return t;
  };
  const Tensor q = noise({1, 4, T, 16});
  const Tensor k = noise({1, 2, T, 16});
  const Tensor v = noise({1, 2, T, 16});
  Tensor mask(DType::kU8, {1, T});
  for (std::int64_t j = 0; j < T; ++j)
    mask.span<std::uint8_t>()[static_cast<std::size_t>(j)] = j % 7 == 3 ? 0 : 1;
  FocusInput in{q.view<float, 4>(), k.view<float, 4>(), v.view<float, 4>(), {}};
  in.options.causal = true;
  in.options.key_mask = mask.view<std::uint8_t, 2>();
  Tensor out(DType::kF32, {1, 4, T, 16});
  Sighting s;
  s.model = "made up";
  const Sight sight = Sight::everything();
  s.layers.resize(2);
  focus(in, {out.view<float, 4>(), {}}, &sight, &s.layers[0]);
  focus(in, {out.view<float, 4>(), {}}, &sight, &s.layers[1]);
  return s;
}

// Whole rows sum to 1; of a part nobody knows the sum, so that it is as good as lse, an f32 of at most 16 here.
constexpr float kOfLse = 16 * 0x1p-23F;

TEST(Sighting, TilesAreCutOutOfTheMap) {
  const Sighting s = record(600);
  const Tensor map = s.map(0, 3);
  const auto whole = map.view<float, 2>();
  for (std::int64_t y = 0; y < 3; ++y) {
    for (std::int64_t x = 0; x < 3; ++x) {
      const Tensor tile = s.tile(0, 3, 0, x, y);
      EXPECT_EQ(tile.shape(), (Shape{y == 2 ? 88 : 256, x == 2 ? 88 : 256}));
      const auto cells = tile.view<float, 2>();
      for (std::int64_t i = 0; i < cells.shape[0]; i += 7) {
        for (std::int64_t j = 0; j < cells.shape[1]; ++j)
          ASSERT_NEAR(cells(i, j), whole(y * 256 + i, x * 256 + j), kOfLse);
      }
    }
  }
}

TEST(Sighting, MipLevelsPoolByMeanAndByMax) {
  const Sighting s = record(600);
  const Tensor map = s.map(1, 0);
  const auto whole = map.view<float, 2>();
  for (int level : {1, 2, 5}) {
    const std::int64_t side = std::int64_t{1} << level;
    const Tensor mean = s.tile(1, 0, level, 0, 0, Pool::kMean);
    const Tensor max = s.tile(1, 0, level, 0, 0, Pool::kMax);
    const std::int64_t n = std::min<std::int64_t>(256, (600 + side - 1) / side);
    ASSERT_EQ(mean.shape(), (Shape{n, n}));
    for (std::int64_t r = 0; r < n; r += 5) {
      for (std::int64_t c = 0; c < n; ++c) {
        double sum = 0.0;
        float most = 0.0F;
        int cells = 0;
        for (std::int64_t i = r * side; i < std::min<std::int64_t>(600, (r + 1) * side); ++i) {
          for (std::int64_t j = c * side; j < std::min<std::int64_t>(600, (c + 1) * side);
               ++j, ++cells) {
            sum += double{whole(i, j)};
            most = std::max(most, whole(i, j));
          }
        }
        ASSERT_NEAR((mean.view<float, 2>()(r, c)), sum / cells, 1e-6);
        ASSERT_NEAR((max.view<float, 2>()(r, c)), most, kOfLse);
      }
    }
  }
}

TEST(Sighting, PooledMapOfTheKernelEqualsTheTileOfTheSameLevel) {
  const Sighting s = record(512);  // 64 x 64 blocks of 8 x 8: level 3
  const FocusRecord& r = s.layers[0];
  const auto mean = r.pooled_mean.view<float, 4>();
  const auto max = r.pooled_max.view<float, 4>();
  const Tensor tile = s.tile(0, 2, 3, 0, 0, Pool::kMean);
  const Tensor most = s.tile(0, 2, 3, 0, 0, Pool::kMax);
  for (std::int64_t i = 0; i < 64; ++i) {
    for (std::int64_t j = 0; j < 64; ++j) {
      ASSERT_NEAR(mean(0, 2, i, j), (tile.view<float, 2>()(i, j)), 1e-6);
      ASSERT_NEAR(max(0, 2, i, j), (most.view<float, 2>()(i, j)), 1e-5);
    }
  }
}

TEST(Sighting, WhatIsNotThereIsNamed) {
  const Sighting s = record(40);
  EXPECT_THROW((void)s.row(2, 0, 0), Error);
  EXPECT_THROW((void)s.row(0, 4, 0), Error);
  EXPECT_THROW((void)s.row(0, 0, 40), Error);
  EXPECT_THROW((void)s.tile(0, 0, 0, 1, 0), Error);
  EXPECT_THROW((void)s.tile(0, 0, -1, 0, 0), Error);
  EXPECT_THROW((void)s.tile(0, 0, 63, 0, 0), Error);
  EXPECT_THROW((void)s.word_map(0, 0), Error);  // no labels
}

TEST(Sighting, WordsJoinTheirPieces) {
  Sighting s = record(5);
  s.text = "кот мурлыкал";
  s.labels = {{"[CLS]", 0, 0, -1, true},
              {"кот", 0, 6, 0, false},
              {"мур", 7, 13, 1, false},
              {"##лыкал", 13, 23, 1, false},
              {"[SEP]", 0, 0, -1, true}};
  const auto words = s.words();
  ASSERT_EQ(words.size(), 4U);
  EXPECT_EQ(words[2].text, "мурлыкал");
  EXPECT_EQ(words[2].first, 2);
  EXPECT_EQ(words[2].last, 3);
  const Tensor map = s.word_map(0, 1);
  const Tensor tokens = s.map(0, 1);
  const auto w = map.view<float, 2>();
  const auto t = tokens.view<float, 2>();
  EXPECT_NEAR(w(2, 1), 0.5F * (t(2, 1) + t(3, 1)), 1e-6);  // a row is the mean over pieces
  EXPECT_NEAR(w(3, 2), t(4, 2) + t(4, 3), 1e-6);           // a column is their sum
}

TEST(SightFile, RoundTripKeepsEveryNumber) {
  const Scratch scratch;
  Sighting s = record(50);
  s.text = "a \"b\"\n";
  s.labels.assign(50, {"x", 0, 1, 0, false});
  s.save(scratch / "run.sight");
  const Sighting back = Sighting::load(scratch / "run.sight");
  EXPECT_EQ(back.text, s.text);
  EXPECT_EQ(back.model, s.model);
  ASSERT_EQ(back.labels.size(), 50U);
  ASSERT_EQ(back.layers.size(), 2U);
  const auto same = [](const Tensor& a, const Tensor& b) {
    return a.shape() == b.shape() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
  };
  const FocusRecord& a = s.layers[1];
  const FocusRecord& b = back.layers[1];
  EXPECT_TRUE(same(a.lse, b.lse) && same(a.entropy, b.entropy) && same(a.argmax, b.argmax));
  EXPECT_TRUE(same(a.top_keys, b.top_keys) && same(a.column_mass, b.column_mass) &&
              same(a.pooled_max, b.pooled_max));
  EXPECT_TRUE(same(s.map(1, 3), back.map(1, 3)));
}

// Rows of a packed batch see their own sequence, before and after a file; q and k may be bf16.
TEST(SightFile, PackedSequencesInBf16ComeBack) {
  std::mt19937 generator(9);
  std::normal_distribution<float> normal;
  const auto noise = [&](Shape shape) {
    Tensor t(DType::kBF16, std::move(shape));
    for (bf16& x : t.span<bf16>()) x = to_bf16(normal(generator));
    return t;
  };
  const Tensor q = noise({1, 2, 50, 16});
  const Tensor k = noise({1, 1, 50, 16});
  const Tensor v = noise({1, 1, 50, 16});
  Tensor cu(DType::kI32, {4});
  const std::int32_t starts[] = {0, 7, 7, 50};
  std::copy(std::begin(starts), std::end(starts), cu.span<std::int32_t>().begin());
  FocusInputOf<bf16> in{q.view<bf16, 4>(), k.view<bf16, 4>(), v.view<bf16, 4>(), {}};
  in.options.causal = true;
  in.options.cu_seqlens_q = cu.view<std::int32_t, 1>();
  in.options.cu_seqlens_k = cu.view<std::int32_t, 1>();
  Tensor out(DType::kBF16, {1, 2, 50, 16});
  Sighting s;
  const Sight sight = Sight::everything();
  s.layers.resize(1);
  focus(in, {out.view<bf16, 4>(), {}}, &sight, &s.layers[0]);
  const Scratch folder;
  s.save(folder / "packed.sight");
  const Sighting back = Sighting::load(folder / "packed.sight");
  EXPECT_EQ(back.layers[0].q.dtype(), DType::kBF16);
  std::vector<float> row(50);
  std::vector<float> again(50);
  for (std::int64_t i : {0, 6, 7, 20, 49}) {
    s.layers[0].row(0, 1, i, row);
    back.layers[0].row(0, 1, i, again);
    EXPECT_EQ(row, again);
    double sum = 0.0;
    for (std::int64_t j = 0; j < 50; ++j) {
      const bool own = i < 7 ? j <= i : j >= 7 && j <= i;
      if (!own) {
        EXPECT_EQ(row[static_cast<std::size_t>(j)], 0.0F) << i << " " << j;
      }
      sum += double{row[static_cast<std::size_t>(j)]};
    }
    EXPECT_NEAR(sum, 1.0, 2e-6);
  }
}

TEST(SightFile, EveryPrefixIsAnError) {
  const Scratch scratch;
  record(6).save(scratch / "run.sight");
  const std::string whole = read_file(scratch / "run.sight");
  for (std::size_t n = 0; n < whole.size(); n += n < 4200 ? 37 : 211) {
    write_file(scratch / "cut.sight", std::string_view(whole).substr(0, n));
    EXPECT_THROW((void)Sighting::load(scratch / "cut.sight"), Error) << n;
  }
}

TEST(SightFile, AnotherSafetensorsFileIsNotASight) {
  const Scratch scratch;
  write_safetensors(scratch / "plain.safetensors", {});
  EXPECT_THROW((void)Sighting::load(scratch / "plain.safetensors"), Error);
}

// A file of a few bytes must not make anybody ask for gigabytes.
TEST(SightFile, KeysWithoutWidthAreRefused) {
  const Scratch scratch;
  const Tensor lse = Tensor::zeros(DType::kF32, {1, 1, 1});
  const Tensor q = Tensor::zeros(DType::kF32, {1, 1, 1, 0});
  const Tensor k = Tensor::zeros(DType::kF32, {1, 1, std::int64_t{1} << 31, 0});
  write_safetensors(
      scratch / "big.sight",
      {{"0.lse", lse.any()}, {"0.q", q.any()}, {"0.k", k.any()}},
      {{"headscope.sight",
        R"({"version":1,"model":"m","text":"","labels":[],"layers":[{"batch":1,"query_heads":1,"groups":1,)"
        R"("rows":1,"keys":2147483648,"width":0,"heads":[0],"scale":1,"causal":false,"window_left":-1,)"
        R"("window_right":-1,"prefix":0,"softcap":0}]})"}});
  EXPECT_THROW((void)Sighting::load(scratch / "big.sight"), Error);
}

TEST(SightFile, TextThatIsNotUtf8IsSavedAndWrongLabelsAreNot) {
  const Scratch scratch;
  Sighting s = record(4);
  s.text = "ab\xff";
  s.labels.assign(4, {"\xd0", 0, 1, 0, false});
  s.save(scratch / "run.sight");
  EXPECT_EQ(Sighting::load(scratch / "run.sight").labels.size(), 4U);
  s.labels[2].end = 99;
  EXPECT_THROW(s.save(scratch / "wrong.sight"), Error);
  EXPECT_EQ(scratch.files(), 1);
}

Sighting in_a_picture(std::int64_t T) {
  Sighting s = record(T);
  s.scene.kind = Scene::Kind::kImage;
  s.scene.source = "p.png";
  s.scene.pictures = Tensor::zeros(DType::kU8, {1, 2, 3, 3});
  s.scene.pictures.span<std::uint8_t>()[5] = 7;
  for (std::int64_t n = 0; n < T; ++n) {
    Label label;
    label.text = "patch";
    label.special = n == 0;
    if (n > 0) {
      label.frame = 0;
      label.row = static_cast<int>((n - 1) / 3);
      label.column = static_cast<int>((n - 1) % 3);
    }
    s.labels.push_back(label);
  }
  return s;
}

TEST(Sighting, LightFallsWhereTheLabelsLie) {
  const Sighting s = in_a_picture(10);
  const Tensor row = s.row(1, 2, 9);
  const Tensor light = s.light(1, 2, 9);
  ASSERT_EQ(light.shape(), (Shape{1, 3, 3}));
  for (std::size_t n = 0; n < 9; ++n) EXPECT_EQ(light.span<float>()[n], row.span<float>()[n + 1]);
  const Tensor mean = s.light(1, 2);
  const Tensor map = s.map(1, 2);
  for (std::int64_t n = 0; n < 9; ++n) {
    double sum = 0.0;
    for (std::int64_t i = 0; i < 10; ++i) sum += double{map.view<float, 2>()(i, n + 1)} / 10;
    EXPECT_NEAR(mean.span<float>()[static_cast<std::size_t>(n)], sum, 1e-5);
  }
  EXPECT_THROW((void)record(10).light(0, 0), Error);
}

TEST(SightFile, KeepsTheScene) {
  const Scratch scratch;
  Sighting s = in_a_picture(10);
  s.scene.values = {1.5, std::nan("")};
  s.scene.names = {"a", "b"};
  s.layer_labels.resize(2);
  s.layer_labels[1] = s.labels;
  s.save(scratch / "x.sight");
  const Sighting back = Sighting::load(scratch / "x.sight");
  EXPECT_EQ(back.scene.kind, Scene::Kind::kImage);
  EXPECT_EQ(back.scene.source, "p.png");
  ASSERT_EQ(back.scene.pictures.shape(), (Shape{1, 2, 3, 3}));
  EXPECT_EQ(back.scene.pictures.span<std::uint8_t>()[5], 7);
  EXPECT_EQ(back.scene.values[0], 1.5);
  EXPECT_TRUE(std::isnan(back.scene.values[1]));
  EXPECT_EQ(back.scene.names, s.scene.names);
  EXPECT_EQ(back.labels[4].column, 0);
  EXPECT_EQ(back.labels[4].row, 1);
  EXPECT_EQ(back.layer_labels[1].size(), 10U);
  s.layer_labels[1].pop_back();
  EXPECT_THROW(s.save(scratch / "y.sight"), Error);
}

}  // namespace
}  // namespace headscope
