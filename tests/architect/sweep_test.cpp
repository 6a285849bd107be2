// Sweeps of tiny recipes: made, stopped and resumed, refused, summed up.
#include "architect/sweep.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "architect/chart.h"
#include "formats/json.h"
#include "formats/scratch.h"
#include "headscope/error.h"
#include "headscope/model.h"
#include "headscope/safetensors.h"
#include "train/recipe_change.h"
#include "train/texts.h"

namespace headscope::architect {
namespace {

namespace fs = std::filesystem;

constexpr const char* kRecipe = R"(name = "tiny"
objective = "causal"
[model]
model_type = "llama"
architectures = ["LlamaForCausalLM"]
hidden_size = 16
num_hidden_layers = 1
num_attention_heads = 4
num_key_value_heads = 4
intermediate_size = 24
max_position_embeddings = 64
rms_norm_eps = 1e-5
tie_word_embeddings = true
[tokenizer]
kind = "unigram"
size = 200
[data]
train = ["text.txt"]
valid = ["valid.txt"]
window = 16
[training]
batch_tokens = 128
steps = 12
learning_rate = 1e-2
[checkpoint]
steps = 5
valid_tokens = 200
)";

class Sweep : public ::testing::Test {
 protected:
  Sweep() {
    write_file(scratch_ / "text.txt", std::string_view(train::testing::sentences(300, 1)));
    write_file(scratch_ / "valid.txt", std::string_view(train::testing::sentences(60, 2)));
    write_file(scratch_ / "r.toml", std::string_view(kRecipe));
  }

  SweepOptions options(const std::string& folder) {
    SweepOptions out;
    out.recipe = scratch_ / "r.toml";
    out.folder = scratch_ / folder;
    out.cache = scratch_ / "cache";
    out.heads = {1, 4};
    out.seeds = 2;
    return out;
  }

  /// Makes all runs; `each` steps at a time when it is not 0, as a process that is stopped and begins again.
  std::vector<SweepRun> make(const SweepOptions& how, int each) {
    for (int tries = 0; tries < 200; ++tries) {
      std::vector<SweepRun> runs = plan_sweep(how);
      bool whole = true;
      for (std::size_t n = 0; n < runs.size() && whole; ++n) {
        if (runs[n].done) continue;
        int asked = 0;
        whole = make_run(how, runs, n, {}, [&] { return each > 0 && ++asked > each; });
      }
      if (whole) return runs;
    }
    ADD_FAILURE() << "expected an end";
    return {};
  }

  std::string complaint(const SweepOptions& how) {
    try {
      (void)plan_sweep(how);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }

  Scratch scratch_;
};

TEST_F(Sweep, StoppedAndResumedItIsEqualToTheBit) {
  const std::vector<SweepRun> at_once = make(options("a"), 0);
  const std::vector<SweepRun> in_parts = make(options("b"), 3);
  ASSERT_EQ(at_once.size(), 4U);
  ASSERT_EQ(in_parts.size(), 4U);
  for (std::size_t n = 0; n < at_once.size(); ++n) {
    EXPECT_EQ(at_once[n].key, in_parts[n].key);
    EXPECT_EQ(at_once[n].loss, in_parts[n].loss);
    EXPECT_EQ(at_once[n].tokens, in_parts[n].tokens);
    const Safetensors one = Safetensors::open(scratch_ / "a" / at_once[n].key);
    const Safetensors two = Safetensors::open(scratch_ / "b" / at_once[n].key);
    for (const auto& [name, view] : one.tensors()) {
      const AnyView& other = two.at(name);
      ASSERT_EQ(view.bytes(), other.bytes());
      EXPECT_TRUE(std::equal(view.data, view.data + view.bytes(), other.data)) << name;
    }
  }
  // Runs are told apart by heads and seeds, and all lie in one record.
  EXPECT_NE(at_once[0].loss, at_once[1].loss);
  EXPECT_NE(at_once[0].loss, at_once[2].loss);
  const train::RunStore store(scratch_ / "a" / "runs.sqlite", true);
  EXPECT_EQ(store.runs().size(), 4U);
  EXPECT_EQ(Model::load((scratch_ / "a" / "h1-g1-w16-s1").string()).heads(), 1);
}

TEST_F(Sweep, DoneRunsAreReadAndNotMadeAgain) {
  (void)make(options("a"), 0);
  SweepOptions more = options("a");
  more.heads = {4, 2};
  const std::vector<SweepRun> runs = plan_sweep(more);
  ASSERT_EQ(runs.size(), 4U);
  EXPECT_TRUE(runs[0].done);   // h4 s1
  EXPECT_FALSE(runs[1].done);  // h2 s1
  EXPECT_GT(runs[0].loss, 0.0);
  EXPECT_GT(runs[0].parameters, 0);
  const std::vector<SweepGroup> groups = groups_of(runs);
  ASSERT_EQ(groups.size(), 1U);
  EXPECT_EQ(groups[0].heads, 4);
  EXPECT_EQ(groups[0].seeds, 2U);
  EXPECT_LT(groups[0].loss.low, groups[0].loss.mean);
  EXPECT_NEAR(groups[0].loss.mean, (runs[0].loss + runs[2].loss) / 2.0, 1e-12);
}

TEST_F(Sweep, WidthsAndGroupsArePartOfTheModel) {
  SweepOptions how = options("a");
  how.heads = {4};
  how.groups = {1, 2};
  how.widths = {16, 32};
  how.seeds = 1;
  const std::vector<SweepRun> runs = plan_sweep(how);
  ASSERT_EQ(runs.size(), 4U);
  EXPECT_EQ(runs[3].key, "h4-g2-w32-s1");
  const json::Value config = json::parse(runs[3].recipe.config, "config");
  EXPECT_EQ(config["hidden_size"], 32);
  EXPECT_EQ(config["num_key_value_heads"], 2);
  EXPECT_EQ(config["intermediate_size"], 48);
}

TEST_F(Sweep, ImpossibleOnesAreRefusedInOneLine) {
  SweepOptions how = options("a");
  how.heads = {4, 3};
  EXPECT_NE(complaint(how).find("divide 16 numbers, found 3"), std::string::npos) << complaint(how);
  EXPECT_FALSE(fs::exists(how.folder));
  how = options("a");
  how.groups = {3};
  EXPECT_NE(complaint(how).find("[groups]"), std::string::npos);
  how = options("a");
  how.heads = {4};
  how.seeds = 1;
  (void)make(how, 0);
  how.tokens = 4096;
  EXPECT_NE(complaint(how).find("found another recipe.toml"), std::string::npos) << complaint(how);
}

TEST_F(Sweep, WhatCouldNotBeginTakesAnotherRecipe) {
  SweepOptions how = options("a");
  std::string recipe = kRecipe;
  recipe.replace(recipe.find("size = 200"), 10, "size = 32");  // fewer than there are letters
  write_file(scratch_ / "r.toml", std::string_view(recipe));
  std::vector<SweepRun> runs = plan_sweep(how);
  EXPECT_THROW((void)make_run(how, runs, 0, {}, {}), Error);
  write_file(scratch_ / "r.toml", std::string_view(kRecipe));
  EXPECT_EQ(make(how, 0).size(), 4U);
  EXPECT_NE(read_file(how.folder / "recipe.toml").find("size = 200"), std::string::npos);
}

TEST_F(Sweep, ARecipeThatIsSomebodysStays) {
  const SweepOptions how = options("a");
  fs::create_directories(how.folder);
  const std::string own = "# mine\n" + std::string(kRecipe);
  write_file(how.folder / "recipe.toml", std::string_view(own));
  EXPECT_NE(complaint(how).find("found another recipe.toml"), std::string::npos);
  SweepOptions itself = how;  // the very recipe that is named lies in the folder
  itself.recipe = how.folder / "recipe.toml";
  EXPECT_NE(complaint(itself).find("found another recipe.toml"), std::string::npos);
  EXPECT_EQ(read_file(how.folder / "recipe.toml"), own);
}

TEST_F(Sweep, ScoresLieInTheRecord) {
  SweepOptions how = options("a");
  how.heads = {2};
  how.seeds = 1;
  std::vector<SweepRun> runs = make(how, 0);
  keep_scores(how, runs[0], {{"obj at_head", 0.5, 0.25, 60, "0.1"}});
  const std::vector<SweepRun> again = plan_sweep(how);
  ASSERT_EQ(again[0].scores.size(), 1U);
  EXPECT_EQ(again[0].scores[0].head, "0.1");
  EXPECT_EQ(groups_of(again)[0].scores[0].value.mean, 0.5);
}

TEST(Spreads, AreStudents) {
  const Spread s = spread({1.0, 2.0, 3.0});
  EXPECT_DOUBLE_EQ(s.mean, 2.0);
  EXPECT_NEAR(s.high - s.mean, 4.303 / std::sqrt(3.0), 1e-3);
  EXPECT_EQ(spread({7.0}).low, 7.0);
  std::vector<double> many(40, 0.0);
  for (std::size_t i = 0; i < many.size(); i += 2) many[i] = 1.0;
  // t of 39 degrees: 2.0227.
  EXPECT_NEAR(spread(many).high - 0.5, 2.0227 * 0.50637 / std::sqrt(40.0), 1e-4);
}

TEST(RecipeChange, ChangesWhatIsAskedForAndNoMore) {
  const std::string text =
      train::changed(kRecipe, {.name = "x", .config = {}, .seed = 7, .tokens = 640});
  const train::Recipe was = train::parse_recipe(kRecipe, "r.toml");
  const train::Recipe is = train::parse_recipe(text, "r.toml");
  EXPECT_EQ(is.name, "x");
  EXPECT_EQ(is.training.seed, 7U);
  EXPECT_EQ(is.schedule.steps, 5);
  EXPECT_EQ(json::parse(is.config, "a"), json::parse(was.config, "b"));
  EXPECT_EQ(is.schedule.learning_rate, was.schedule.learning_rate);
  EXPECT_EQ(train::changed(text, {}), text);
}

TEST(Charts, AreWellFormedAndEscaped) {
  Panel panel;
  panel.title = "a < b";
  panel.lines = {{"one", {{0.0, 1.0, 0.5, 1.5, "8"}, {1.0, 2.0, 2.0, 2.0, "16"}}}};
  const std::string svg = chart_svg(std::vector{panel, Panel()});
  EXPECT_NE(svg.find("a &lt; b"), std::string::npos);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  EXPECT_EQ(std::count(svg.begin(), svg.end(), '<'), std::count(svg.begin(), svg.end(), '>'));
  const std::string page = chart_page("t", "en", svg, {{"h"}, {"<x>"}}, "note");
  EXPECT_NE(page.find("&lt;x&gt;"), std::string::npos);
}

TEST(Charts, DrawTheBaseOfALineUnderItsName) {
  Panel panel;
  panel.lines = {{"obj", {{0.0, 18.0, 18.0, 18.0, "8"}}}};
  const auto bases = [&] {
    const std::string svg = chart_svg(std::vector{panel});
    EXPECT_EQ(svg.find("nan"), std::string::npos);
    return svg.find("<path class=\"base\"") != std::string::npos &&
           svg.find(">base, obj<") != std::string::npos;
  };
  EXPECT_FALSE(bases());
  panel.lines.front().base = 33.0;
  panel.lines.front().base_name = "base, obj";
  EXPECT_TRUE(bases());
  panel.bars = true;
  EXPECT_TRUE(bases());
}

}  // namespace
}  // namespace headscope::architect
