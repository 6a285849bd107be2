// Regrouping is exact where groups are one group in disguise, and circuits are what all pairs of words give.
#include "doctor/regroup.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <map>
#include <random>
#include <set>

#include "doctor/circuits.h"
#include "doctor/heal.h"
#include "doctor/merge_groups.h"
#include "doctor/prune.h"
#include "doctor/random_texts.h"
#include "formats/scratch.h"
#include "headscope/safetensors.h"
#include "headscope/train.h"
#include "models/tiny_decoder.h"
#include "train/tiny.h"

namespace headscope::doctor {
namespace {

// A Llama of one group, written as two: the second group's keys are the first's turned by a right angle and three times
// as long, its values the first's in reverse order and doubled; queries and output of its heads undo that.
class Disguised {
 public:
  explicit Disguised(bool biased) {
    std::string config = train::testing::config_of(biased ? "llama_tied_biased" : "llama");
    const std::string two = R"("num_key_value_heads": 2)";
    config.replace(config.find(two), two.size(), R"("num_key_value_heads": 1)");
    train::Trainee plain = train::Trainee::fresh(config, 11);
    std::mt19937 random(5);
    for (train::Parameter& p : plain.parameters()) {
      if (!p.decays) {  // biases and norms that do something
        for (float& x : p.value.span<float>()) x += static_cast<float>(random() % 100) / 400.0F;
      }
    }
    plain.save(scratch_ / "one");
    const Safetensors file = Safetensors::open(scratch_ / "one");
    std::map<std::string, AnyView, std::less<>> views(file.tensors().begin(), file.tensors().end());
    std::vector<Tensor> made;
    for (auto& [name, view] : views) {
      const auto ends = [&, whole = std::string_view(name)](std::string_view part) {
        return whole.find(part) != whole.npos;
      };
      const std::int64_t D = biased ? 16 : 8;
      if (ends("k_proj"))
        made.push_back(doubled(view, D, 3.0F, true));
      else if (ends("v_proj"))
        made.push_back(doubled(view, D, 2.0F, false));
      else if (ends("q_proj"))
        made.push_back(turned_queries(view, D));
      else if (ends("o_proj.weight"))
        made.push_back(turned_output(view, D));
      else
        continue;
      view = made.back().any();
    }
    std::filesystem::create_directories(scratch_ / "two");
    write_safetensors(scratch_ / "two" / "model.safetensors", views);
    config.replace(config.find(R"("num_key_value_heads": 1)"), two.size(), two);
    write_file(scratch_ / "two" / "config.json", std::string_view(config));
  }

  [[nodiscard]] std::filesystem::path operator/(const char* name) const { return scratch_ / name; }

 private:
  static std::int64_t columns(const AnyView& v) { return v.shape.size() == 2 ? v.shape[1] : 1; }

  // Rows of one group, then those of the second.
  static Tensor doubled(const AnyView& v, std::int64_t D, float scale, bool turn) {
    const Tensor one = Tensor::f32_from(v);
    Shape shape = v.shape;
    shape[0] *= 2;
    Tensor out(DType::kF32, shape);
    const std::int64_t C = columns(v);
    std::copy_n(one.span<float>().begin(), one.size(), out.span<float>().begin());
    for (std::int64_t d = 0; d < D; ++d) {
      // i (a + ib) = -b + ia, of pairs (f, f + D/2)
      const std::int64_t from = turn ? (d < D / 2 ? d + D / 2 : d - D / 2) : D - 1 - d;
      const float factor = turn && d < D / 2 ? -scale : scale;
      for (std::int64_t c = 0; c < C; ++c)
        out.span<float>()[static_cast<std::size_t>((D + d) * C + c)] =
            factor * one.span<float>()[static_cast<std::size_t>(from * C + c)];
    }
    return out;
  }

  static Tensor turned_queries(const AnyView& v, std::int64_t D) {
    Tensor out = Tensor::f32_from(v);
    const Tensor one = out.clone();
    const std::int64_t C = columns(v);
    for (std::int64_t h = 2; h < 4; ++h) {
      for (std::int64_t d = 0; d < D; ++d) {
        const std::int64_t from = d < D / 2 ? d + D / 2 : d - D / 2;
        for (std::int64_t c = 0; c < C; ++c)
          out.span<float>()[static_cast<std::size_t>((h * D + d) * C + c)] =
              (d < D / 2 ? -1.0F : 1.0F) / 3.0F *
              one.span<float>()[static_cast<std::size_t>((h * D + from) * C + c)];
      }
    }
    return out;
  }

  static Tensor turned_output(const AnyView& v, std::int64_t D) {
    Tensor out = Tensor::f32_from(v);
    const Tensor one = out.clone();
    for (std::int64_t c = 0; c < v.shape[0]; ++c) {
      for (std::int64_t h = 2; h < 4; ++h) {
        for (std::int64_t d = 0; d < D; ++d)
          out.view<float, 2>()(c, h * D + d) = one.view<float, 2>()(c, h * D + D - 1 - d) / 2.0F;
      }
    }
    return out;
  }

  Scratch scratch_;
};

TEST(Regroup, FindsTheOneGroupBehindTwo) {
  const std::vector<Tokens> texts = testing::random_texts(3, 30);
  for (const bool biased : {false, true}) {
    const Disguised disguised(biased);
    const Model model = Model::load((disguised / "two").string());
    ASSERT_EQ(model.attention(0).groups, 2);
    const Regrouped found = regroup(model, texts, 1, Merging::kFitted, disguised / "fitted");
    EXPECT_EQ(found.before, 2);
    EXPECT_NEAR(found.values_kept, 1.0, 1e-6);
    EXPECT_NEAR(found.keys_kept, 1.0, 1e-6);
    EXPECT_NEAR(found.loss_after, found.loss_before, 2e-5);
    const Model smaller = Model::load((disguised / "fitted").string());
    EXPECT_EQ(smaller.attention(1).groups, 1);
    const headscope::Run want = model.run(texts[0]);
    const headscope::Run is = smaller.run(texts[0]);
    for (std::size_t i = 0; i < want.logits.span<float>().size(); ++i)
      EXPECT_NEAR(is.logits.span<float>()[i], want.logits.span<float>()[i], 2e-4F);
    // The mean does not see through the disguise.
    const Regrouped mean = regroup(model, texts, 1, Merging::kMean, disguised / "mean");
    EXPECT_LT(mean.keys_kept, 0.9);
    EXPECT_GT(std::abs(mean.loss_after - mean.loss_before), 1e-3);
  }
}

// Heads 0 and 1 of two groups, and 2 and 3, written as groups of their own in the order 0, 2, 1, 3: neighbours are not
// what belongs together.
class Shuffled {
 public:
  Shuffled() {
    std::string config = train::testing::config_of("llama");
    train::Trainee::fresh(config, 11).save(scratch_ / "two");
    const Safetensors file = Safetensors::open(scratch_ / "two");
    std::map<std::string, AnyView, std::less<>> views(file.tensors().begin(), file.tensors().end());
    std::deque<Tensor> made;
    for (auto& [name, view] : views) {
      const bool keys = name.find("k_proj") != name.npos || name.find("v_proj") != name.npos;
      if (keys)
        made.push_back(rows_of(view, {0, 1, 0, 1}));
      else if (name.find("q_proj") != name.npos)
        made.push_back(rows_of(view, {0, 2, 1, 3}));
      else if (name.find("o_proj") != name.npos)
        made.push_back(columns_of(view, {0, 2, 1, 3}));
      else
        continue;
      view = made.back().any();
    }
    std::filesystem::create_directories(scratch_ / "four");
    write_safetensors(scratch_ / "four" / "model.safetensors", views);
    const std::string two = R"("num_key_value_heads": 2)";
    config.replace(config.find(two), two.size(), R"("num_key_value_heads": 4)");
    write_file(scratch_ / "four" / "config.json", std::string_view(config));
    write_file(scratch_ / "four" / "roles.json", std::string_view("[]"));
  }
  [[nodiscard]] std::filesystem::path operator/(const char* name) const { return scratch_ / name; }

 private:
  static constexpr std::int64_t kWidth = 8;
  static Tensor rows_of(const AnyView& v, const std::vector<std::int64_t>& from) {
    const Tensor one = Tensor::f32_from(v);
    const std::int64_t C = v.shape[1];
    Tensor out(DType::kF32, {static_cast<std::int64_t>(from.size()) * kWidth, C});
    for (std::size_t h = 0; h < from.size(); ++h)
      std::copy_n(one.span<float>().begin() + from[h] * kWidth * C,
                  kWidth * C,
                  out.span<float>().begin() + static_cast<std::int64_t>(h) * kWidth * C);
    return out;
  }
  static Tensor columns_of(const AnyView& v, const std::vector<std::int64_t>& from) {
    const Tensor one = Tensor::f32_from(v);
    Tensor out = one.clone();
    for (std::int64_t c = 0; c < v.shape[0]; ++c) {
      for (std::int64_t n = 0; n < v.shape[1]; ++n)
        out.view<float, 2>()(c, n) = one.view<float, 2>()(
            c, from[static_cast<std::size_t>(n / kWidth)] * kWidth + n % kWidth);
    }
    return out;
  }
  Scratch scratch_;
};

TEST(Regroup, MergesWhatBelongsTogetherNotNeighbours) {
  const std::vector<Tokens> texts = testing::random_texts(3, 30);
  const Shuffled shuffled;
  const Model model = Model::load((shuffled / "four").string());
  ASSERT_EQ(model.attention(0).groups, 4);
  for (const Merging how : {Merging::kMean, Merging::kFitted}) {
    const auto folder = shuffled / (how == Merging::kMean ? "mean" : "fitted");
    const Regrouped found = regroup(model, texts, 2, how, folder);
    EXPECT_NEAR(found.values_kept, 1.0, 1e-6);
    EXPECT_NEAR(found.keys_kept, 1.0, 1e-6);
    EXPECT_NEAR(found.loss_after, found.loss_before, 2e-5);
    EXPECT_TRUE(found.moved());
    EXPECT_EQ(found.order.front(), (std::vector<std::int64_t>{0, 2, 1, 3}));
    EXPECT_FALSE(std::filesystem::exists(folder / "roles.json"));  // they were of other heads
    const headscope::Run want = model.run(texts[0]);
    const headscope::Run is = Model::load(folder.string()).run(texts[0]);
    for (std::size_t i = 0; i < want.logits.span<float>().size(); ++i)
      EXPECT_NEAR(is.logits.span<float>()[i], want.logits.span<float>()[i], 2e-4F);
  }
}

TEST(Regroup, ArrangesSetsThatWereShuffled) {
  std::mt19937 random(4);
  for (const auto& [n, size] :
       {std::pair{4, 2}, std::pair{12, 3}, std::pair{12, 4}, std::pair{16, 2}}) {
    std::vector<std::int64_t> set(static_cast<std::size_t>(n));
    for (std::size_t i = 0; i < set.size(); ++i) set[i] = static_cast<std::int64_t>(i) % (n / size);
    std::shuffle(set.begin(), set.end(), random);
    Matrix apart(n, n);
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t j = 0; j <= i; ++j)
        apart(i, j) = apart(j, i) =
            set[static_cast<std::size_t>(i)] == set[static_cast<std::size_t>(j)]
                ? 0.1
                : 1.0 + static_cast<double>(random() % 100) / 1000.0;
    }
    const std::vector<std::int64_t> found = arrange(apart, size);
    for (std::size_t i = 0; i < found.size(); ++i)
      EXPECT_EQ(set[static_cast<std::size_t>(found[i])],
                set[static_cast<std::size_t>(
                    found[i / static_cast<std::size_t>(size) * static_cast<std::size_t>(size)])])
          << n << ' ' << size;
    std::vector<std::int64_t> all = found;
    std::sort(all.begin(), all.end());
    for (std::size_t i = 0; i < all.size(); ++i) EXPECT_EQ(all[i], static_cast<std::int64_t>(i));
  }
}

TEST(Regroup, FitsKeepAtLeastWhatMeansKeep) {
  const Scratch scratch;
  const test::TinyDecoder folder;
  const Model model = folder.load();
  const std::vector<Tokens> texts = testing::random_texts(3, 30);
  const Regrouped fitted = regroup(model, texts, 1, Merging::kFitted, scratch / "fitted");
  const Regrouped mean = regroup(model, texts, 1, Merging::kMean, scratch / "mean");
  EXPECT_GT(fitted.keys_kept, mean.keys_kept);
  EXPECT_GT(fitted.values_kept, mean.values_kept);
  EXPECT_LT(fitted.keys_kept, 1.0);
  EXPECT_EQ(fitted.loss_before, mean.loss_before);
}

TEST(Regroup, RefusesWhatDoesNotDivideAndLeavesNothingBehind) {
  const Scratch scratch;
  const test::TinyDecoder folder;
  const Model model = folder.load();
  const std::vector<Tokens> texts = testing::random_texts(3, 30);
  for (const std::int64_t groups : {0, 2, 3, 4})
    EXPECT_THROW((void)regroup(model, texts, groups, Merging::kMean, scratch / "x"), Error);
  EXPECT_THROW((void)regroup(model, {}, 1, Merging::kMean, scratch / "x"), Error);
  train::Trainee::fresh(train::testing::config_of("gpt2"), 5).save(scratch / "gpt2");
  const Model fused = Model::load((scratch / "gpt2").string());
  EXPECT_THROW((void)regroup(fused, texts, 1, Merging::kMean, scratch / "x"), Error);
  EXPECT_EQ(scratch.files(), 1);  // gpt2
}

TEST(Heal, LowersTheLossAndLeavesGoneHeadsSilent) {
  const Scratch scratch;
  const test::TinyDecoder folder;
  const Model model = folder.load();
  const std::vector<Tokens> texts = testing::random_texts(3, 30);
  const Curve curve = prune_curve(model, texts, Instead::kZero, {.points = 2});
  const std::size_t gone = 3;
  write_pruned(model, curve, gone, Instead::kZero, scratch / "smaller");
  std::vector<std::int32_t> ids;
  for (const Tokens& text : texts)
    ids.insert(
        ids.end(), text.ids.span<std::int32_t>().begin(), text.ids.span<std::int32_t>().end());
  const auto loss = [&] {
    const Model now = Model::load((scratch / "smaller").string());
    return judge(Baseline(now, copy_of(texts[0])), Judge());
  };
  const double before = loss();
  HealOptions options;
  options.steps = 30;
  options.tokens = 90;
  options.length = 30;
  options.learning_rate = 1e-2;
  heal(scratch / "smaller", ids, options);
  EXPECT_LT(loss(), before - 0.5);
  const Model healed = Model::load((scratch / "smaller").string());
  for (std::size_t i = 0; i < curve.order.size(); ++i) {
    const HeadId id = curve.order[i];
    const Tensor weight = healed.output_weight(id.layer);
    const std::int64_t Dv = healed.attention(id.layer).value_width;
    double sum = 0.0;
    for (std::int64_t c = 0; c < weight.dim(0); ++c) {
      for (std::int64_t d = 0; d < Dv; ++d)
        sum += std::abs(double{weight.view<float, 2>()(c, id.head * Dv + d)});
    }
    EXPECT_EQ(sum == 0.0, i < gone) << id.name();
  }
  EXPECT_THROW(heal(scratch / "smaller", std::span(ids).first(1), options), Error);
}

TEST(Circuits, StrongestProductsAreThoseOfAllPairs) {
  std::mt19937 random(9);
  std::normal_distribution<float> normal;
  const auto rows_of = [&](std::int64_t n) {
    Tensor t(DType::kF32, {n, 5});
    for (std::int64_t i = 0; i < n; ++i) {
      const float length = std::exp(0.5F * normal(random));
      for (std::int64_t d = 0; d < 5; ++d) t.view<float, 2>()(i, d) = length * normal(random);
    }
    return t;
  };
  for (const auto& [n, m] : {std::pair{3, 2}, std::pair{300, 4500}, std::pair{900, 300}}) {
    const Tensor a = rows_of(n), b = rows_of(m);
    const std::size_t most = 7;
    const auto found = strongest_products(a, b, most);
    std::vector<WordPair> all;
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t j = 0; j < m; ++j) {
        double sum = 0.0;
        for (std::int64_t d = 0; d < 5; ++d)
          sum += double{a.view<float, 2>()(i, d)} * double{b.view<float, 2>()(j, d)};
        all.push_back({static_cast<std::int32_t>(i), static_cast<std::int32_t>(j), sum});
      }
    }
    const auto enough = std::min(all.size(), std::size_t{5000});
    std::partial_sort(all.begin(),
                      all.begin() + static_cast<std::ptrdiff_t>(enough),
                      all.end(),
                      [](const WordPair& x, const WordPair& y) { return x.score > y.score; });
    all.resize(enough);
    std::set<std::int32_t> from, to;
    std::vector<WordPair> want;
    for (const WordPair& pair : all) {
      if (want.size() == most || from.contains(pair.from) || to.contains(pair.to)) continue;
      from.insert(pair.from), to.insert(pair.to);
      want.push_back(pair);
    }
    ASSERT_EQ(found.size(), std::min(most, static_cast<std::size_t>(std::min(n, m))));
    ASSERT_EQ(want.size(), found.size());
    for (std::size_t i = 0; i < want.size(); ++i) {
      EXPECT_EQ(found[i].from, want[i].from) << n << ' ' << i;
      EXPECT_EQ(found[i].to, want[i].to) << n << ' ' << i;
      EXPECT_NEAR(found[i].score, want[i].score, 1e-4);
    }
  }
}

// A column that every row likes best is taken once; the rows behind are then worth what is left to them.
TEST(Circuits, AWordThatAllPreferIsTakenOnce) {
  Tensor a(DType::kF32, {600, 2}), b(DType::kF32, {600, 2});
  for (std::int64_t i = 0; i < 600; ++i) {
    a.view<float, 2>()(i, 0) = 10.0F;
    a.view<float, 2>()(i, 1) = static_cast<float>(i);
    b.view<float, 2>()(i, 0) = i == 300 ? 1000.0F : 0.0F;
    b.view<float, 2>()(i, 1) = 1.0F;
  }
  const auto found = strongest_products(a, b, 4);
  ASSERT_EQ(found.size(), 4U);
  EXPECT_EQ(found[0].to, 300);
  for (std::size_t i = 0; i < found.size(); ++i) {
    EXPECT_EQ(found[i].from, 599 - static_cast<std::int32_t>(i));
    EXPECT_NEAR(found[i].score, (i == 0 ? 10000.0 : 0.0) + 599.0 - static_cast<double>(i), 1e-2);
    if (i == 0) continue;
    EXPECT_EQ(found[i].to, static_cast<std::int32_t>(i) - 1);  // of equals the lower ones
  }
}

TEST(Circuits, SayWhyNothingIsWritten) {
  const Model planted = Model::load(std::string(HEADSCOPE_BINARY_DIR) + "/models/planted");
  const Circuits found = circuits(planted, {0, 3}, {.words = 300, .most = 12});
  EXPECT_TRUE(found.writes.empty());
  EXPECT_EQ(found.silence, Circuits::Silence::kNoWords);
  EXPECT_FALSE(found.rotary);
  std::set<std::int32_t> from, to;
  for (const WordPair& pair : found.seeks) {
    EXPECT_TRUE(from.insert(pair.from).second);
    EXPECT_TRUE(to.insert(pair.to).second);
  }
  EXPECT_EQ(found.seeks.size(), 12U);
  // Between its layers and the words stands a dense layer with GELU.
  const Model tale = Model::load(HEADSCOPE_SOURCE_DIR "/models/tale");
  const Circuits masked = circuits(tale, {3, 7}, {.words = 300, .most = 3});
  EXPECT_TRUE(masked.writes.empty());
  EXPECT_EQ(masked.silence, Circuits::Silence::kNotLinear);
  EXPECT_TRUE(masked.rotary);
}

// A pair's score is what focus scores two words that stand alone.
TEST(Circuits, SeekingIsTheScoreOfTwoWords) {
  const Model model = Model::load(std::string(HEADSCOPE_BINARY_DIR) + "/models/planted");
  for (int h = 0; h < 8; ++h) {
    const Circuits found = circuits(model, {0, h}, {.most = 5});
    EXPECT_GT(found.words, 10);
    ASSERT_FALSE(found.seeks.empty()) << h;
    for (std::size_t i = 1; i < found.seeks.size(); ++i)
      EXPECT_GE(found.seeks[i - 1].score, found.seeks[i].score);
    const auto alone = [&](std::int32_t id) {
      Tokens t;
      t.ids = Tensor(DType::kI32, {1, 1});
      t.ids.span<std::int32_t>()[0] = id;
      RunOptions options;
      options.trace_layers = {0};
      return std::move(model.run(t, options).traces.front());
    };
    const WordPair& pair = found.seeks.front();
    const AttentionTrace from = alone(pair.from), to = alone(pair.to);
    const AttentionWeights& w = model.attention(0);
    double sum = 0.0;
    for (std::int64_t d = 0; d < w.width; ++d)
      sum += double{from.q.view<float, 4>()(0, h, 0, d)} *
             double{to.k.view<float, 4>()(0, h / (w.heads / w.groups), 0, d)};
    const double scale = static_cast<double>(
        from.options.scale.value_or(1.0F / std::sqrt(static_cast<float>(w.width))));
    EXPECT_NEAR(pair.score, scale * sum, 1e-3 * std::max(1.0, std::abs(pair.score))) << h;
  }
}

TEST(Links, AreTheStrongestWeightsOfTheHead) {
  const Model model = Model::load(std::string(HEADSCOPE_BINARY_DIR) + "/models/planted");
  std::vector<Tokens> texts;
  texts.push_back(model.tokens("The old king gave the young prince a sharp sword."));
  const Links found = strongest_links(model, {0, 0}, texts, 5);  // looks at the token before
  ASSERT_EQ(found.strongest.size(), 5U);
  for (const Link& link : found.strongest) {
    EXPECT_EQ(link.key, link.row - 1);
    EXPECT_GT(link.key, 0);
    EXPECT_GT(link.weight, 0.9);
  }
  // The third head rests on the first token, which is left out.
  const Links resting = strongest_links(model, {0, 2}, texts, 5);
  EXPECT_GT(resting.first_mass, 0.9);
  for (const Link& link : resting.strongest) EXPECT_LT(link.weight, 0.1);
}

}  // namespace
}  // namespace headscope::doctor
