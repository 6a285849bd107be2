// golden/heads: what every head of a real model does on fixed texts, and what is lost without it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "golden/golden.h"
#include "headscope/model.h"
#include "headscope/safetensors.h"

namespace headscope {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr double kTolerance =
    2e-5;  // of the largest value of a measure: generous for f32 (README.md there)

struct Goldens {
  Safetensors file = Safetensors::open(golden::golden_dir() / "heads" / "minilm-l6.safetensors");
  json about = json::parse(read_file(golden::golden_dir() / "heads" / "minilm-l6.json"));
  Model model = Model::load((golden::models_dir() / "minilm-l6").string());

  [[nodiscard]] Tokens tokens(const std::string& text) const {
    Tokens t;
    const auto ids = file.at(text + "/input_ids").view<std::int32_t, 1>();
    t.ids = Tensor(DType::kI32, {1, ids.shape[0]});
    for (std::int64_t i = 0; i < ids.shape[0]; ++i) t.ids.view<std::int32_t, 2>()(0, i) = ids(i);
    return t;
  }
};

// Compares f(layer, head) with the golden [L,H] of the measure.
template <typename F>
void expect_measure(const Goldens& g, const std::string& name, F&& found) {
  if (g.file.find(name) == nullptr) return;
  const auto want = g.file.at(name).view<float, 2>();
  double largest = 0.0;
  for (std::int64_t n = 0; n < want.size(); ++n)
    largest = std::max(largest, std::abs(double{want.data[n]}));
  for (std::int64_t l = 0; l < want.shape[0]; ++l) {
    for (std::int64_t h = 0; h < want.shape[1]; ++h) {
      EXPECT_NEAR(found(l, h), want(l, h), kTolerance * largest) << name << " " << l << "." << h;
    }
  }
}

double mean(const View<const float, 3>& rows, std::int64_t h, std::int64_t from) {
  double sum = 0.0;
  for (std::int64_t i = from; i < rows.shape[2]; ++i) sum += double{rows(0, h, i)};
  return rows.shape[2] > from ? sum / static_cast<double>(rows.shape[2] - from) : 0.0;
}

void expect_statistics(const Goldens& g, const std::string& text, const Sighting& s) {
  const auto rows = [&](std::int64_t l, Tensor FocusRecord::*which) {
    return (s.layers[static_cast<std::size_t>(l)].*which).view<float, 3>();
  };
  const auto over_rows =
      [&](const char* name, const Tensor FocusRecord::*which, std::int64_t from) {
        expect_measure(g, text + "/" + name, [&](std::int64_t l, std::int64_t h) {
          return mean((s.layers[static_cast<std::size_t>(l)].*which).view<float, 3>(), h, from);
        });
      };
  over_rows("entropy", &FocusRecord::entropy, 0);
  over_rows("confidence", &FocusRecord::max_weight, 0);
  over_rows("distance_mean", &FocusRecord::distance_mean, 0);
  over_rows("distance_var_within", &FocusRecord::distance_var, 0);
  over_rows("first_mass", &FocusRecord::first_mass, 1);
  over_rows("previous_mass", &FocusRecord::previous_mass, 1);
  over_rows("self_mass", &FocusRecord::self_mass, 0);
  // Variance over rows and keys together: mean of variances plus variance of means.
  expect_measure(g, text + "/distance_var", [&](std::int64_t l, std::int64_t h) {
    const auto means = rows(l, &FocusRecord::distance_mean);
    const auto vars = rows(l, &FocusRecord::distance_var);
    const double all = mean(means, h, 0);
    double sum = 0.0;
    for (std::int64_t i = 0; i < means.shape[2]; ++i)
      sum += double{vars(0, h, i)} + std::pow(double{means(0, h, i)} - all, 2);
    return sum / static_cast<double>(means.shape[2]);
  });
  const auto weight_at = [&](std::int64_t l, std::int64_t h, std::int64_t i, std::int64_t j) {
    return double{s.row(static_cast<int>(l), static_cast<int>(h), i)
                      .span<float>()[static_cast<std::size_t>(j)]};
  };
  const auto T = static_cast<std::int64_t>(s.layers[0].rows);
  expect_measure(g, text + "/next_mass", [&](std::int64_t l, std::int64_t h) {
    double sum = 0.0;
    for (std::int64_t i = 0; i + 1 < T; ++i) sum += weight_at(l, h, i, i + 1);
    return sum / static_cast<double>(T - 1);
  });
  expect_measure(g, text + "/sep_mass", [&](std::int64_t l, std::int64_t h) {
    double sum = 0.0;
    for (std::int64_t i = 0; i < T; ++i) sum += weight_at(l, h, i, T - 1);
    return sum / static_cast<double>(T);
  });
}

void expect_argmax_and_columns(const Goldens& g, const std::string& text, const Sighting& s) {
  const auto argmax = g.file.at(text + "/argmax").view<std::int16_t, 3>();
  const auto mass = g.file.at(text + "/column_mass").view<float, 3>();
  for (std::int64_t l = 0; l < argmax.shape[0]; ++l) {
    const FocusRecord& record = s.layers[static_cast<std::size_t>(l)];
    for (std::int64_t h = 0; h < argmax.shape[1]; ++h) {
      for (std::int64_t i = 0; i < argmax.shape[2]; ++i) {
        const auto top = record.top_weights.view<float, 4>();
        const bool tied =
            top.shape[2] > 1 && argmax.shape[2] > 1 && top(0, h, i, 0) - top(0, h, i, 1) < 1e-5F;
        if (!tied) {
          EXPECT_EQ((record.argmax.view<std::int32_t, 3>()(0, h, i)), argmax(l, h, i))
              << l << "." << h << " row " << i;
        }
        EXPECT_NEAR((record.column_mass.view<float, 3>()(0, h, i)),
                    mass(l, h, i),
                    kTolerance * static_cast<double>(argmax.shape[2]));
      }
    }
  }
}

void expect_maps(const Goldens& g, const std::string& text, const Sighting& s) {
  if (g.file.find(text + "/maps") == nullptr) return;
  const auto maps = g.file.at(text + "/maps").view<f16, 4>();
  for (std::int64_t l = 0; l < maps.shape[0]; ++l) {
    for (std::int64_t h = 0; h < maps.shape[1]; ++h) {
      const Tensor map = s.map(static_cast<int>(l), static_cast<int>(h));
      for (std::int64_t n = 0; n < map.size(); ++n) {
        const float want = to_f32(maps[l][h].data[n]);
        ASSERT_NEAR(map.span<float>()[static_cast<std::size_t>(n)],
                    want,
                    5e-4 * want + 1e-5);  // f16 carries 5e-4
      }
    }
  }
}

// Largest difference over the largest value.
double error(const AnyView& want, std::span<const float> found) {
  double worst = 0.0;
  double largest = 0.0;
  const auto* values = reinterpret_cast<const float*>(want.data);
  for (std::size_t n = 0; n < found.size(); ++n) {
    worst = std::max(worst, std::abs(double{values[n]} - double{found[n]}));
    largest = std::max(largest, std::abs(double{values[n]}));
  }
  return worst / largest;
}

void expect_numbers(const Goldens& g, const std::string& text, const json& about, const Run& run) {
  const AnyView* hidden = g.file.find(text + "/hidden");
  for (std::size_t l = 0; hidden != nullptr && l < run.hidden_states.size(); ++l) {
    AnyView one = *hidden;
    one.shape.erase(one.shape.begin());
    one.data += l * one.bytes();
    EXPECT_LE(error(one, run.hidden_states[l].span<float>()), kTolerance) << "hidden " << l;
  }
  const Tensor embedding = mean_embedding(run.last_hidden_state, Tensor());
  EXPECT_LE(error(g.file.at(text + "/embedding"), embedding.span<float>()), kTolerance);
  if (g.file.find(text + "/lse") == nullptr) return;
  const FocusRecord& record = run.sighting.layers.at(about.at("lse_layer").get<std::size_t>());
  EXPECT_LE(error(g.file.at(text + "/lse"), record.lse.span<float>()), kTolerance);
  const auto top = about.at("top_head").get<std::vector<int>>();
  const auto weights = g.file.at(text + "/top_weights").view<float, 2>();
  const auto found =
      run.sighting.layers.at(static_cast<std::size_t>(top[0])).top_weights.view<float, 4>();
  for (std::int64_t i = 0; i < weights.shape[0]; ++i) {
    for (std::int64_t n = 0; n < weights.shape[1]; ++n)
      ASSERT_NEAR(found(0, top[1], i, n), weights(i, n), kTolerance);
  }
}

TEST(GoldenHeads, EveryTextOfMiniLm) {
  HEADSCOPE_REQUIRE_GOLDEN("heads");
  const Goldens g;
  for (const json& about : g.about.at("texts")) {
    const auto text = about.at("name").get<std::string>();
    SCOPED_TRACE(text);
    const Sight sight = Sight::everything();
    RunOptions options;
    options.sight = &sight;
    options.hidden_states = true;
    const headscope::Run run = g.model.run(g.tokens(text), options);
    expect_statistics(g, text, run.sighting);
    expect_argmax_and_columns(g, text, run.sighting);
    expect_maps(g, text, run.sighting);
    expect_numbers(g, text, about, run);
  }
}

TEST(GoldenHeads, TokensOfEveryText) {
  HEADSCOPE_REQUIRE_GOLDEN("heads");
  const Goldens g;
  for (const json& about : g.about.at("texts")) {
    SCOPED_TRACE(about.at("name").get<std::string>());
    const Encoding e = g.model.tokenizer().encode(about.at("text").get<std::string>());
    EXPECT_EQ(e.tokens, about.at("tokens").get<std::vector<std::string>>());
  }
}

// Every head silenced in turn: how far the sentence embedding moves.
TEST(GoldenHeads, AblationOfEveryHead) {
  HEADSCOPE_REQUIRE_GOLDEN("heads");
  const Goldens g;
  int ran = 0;
  for (const json& about : g.about.at("texts")) {
    const auto text = about.at("name").get<std::string>();
    if (g.file.find(text + "/zero_ablated_cosine") == nullptr) continue;
    SCOPED_TRACE(text);
    const Tokens tokens = g.tokens(text);
    const Tensor whole = mean_embedding(g.model.run(tokens).last_hidden_state, Tensor());
    expect_measure(g, text + "/zero_ablated_cosine", [&](std::int64_t l, std::int64_t h) {
      RunOptions options;
      options.edits.push_back({.layer = static_cast<int>(l),
                               .head = static_cast<int>(h),
                               .kind = Edit::Kind::kZero,
                               .factor = 1.0F,
                               .replacement = nullptr,
                               .rows = {}});
      const Tensor less = mean_embedding(g.model.run(tokens, options).last_hidden_state, Tensor());
      double cosine = 0.0;
      for (std::size_t c = 0; c < whole.span<float>().size(); ++c)
        cosine += double{whole.span<float>()[c]} * double{less.span<float>()[c]};
      ++ran;
      return cosine;
    });
  }
  EXPECT_GE(ran, g.model.layers() * g.model.heads());
}

// Law 1: the heads' shares and the bias sum up to the layer's output.
TEST(GoldenHeads, SharesSumToTheOutput) {
  HEADSCOPE_REQUIRE_GOLDEN("heads");
  const Goldens g;
  RunOptions options;
  for (int l = 0; l < g.model.layers(); ++l) options.trace_layers.push_back(l);
  const headscope::Run run = g.model.run(g.tokens("king"), options);
  for (int l = 0; l < g.model.layers(); ++l) {
    EXPECT_LE(contributions(g.model, l, run.traces[static_cast<std::size_t>(l)]).error, 2e-6)
        << "layer " << l;
  }
}

}  // namespace
}  // namespace headscope
