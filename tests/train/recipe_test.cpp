// Recipes are refused with the place of the error; schedules and curves.
#include "train/recipe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "formats/scratch.h"
#include "headscope/error.h"
#include "headscope/safetensors.h"
#include "train/plot.h"
#include "train/runs.h"

namespace headscope::train {
namespace {

constexpr const char* kGood = R"(name = "t"
objective = "masked-endings"
[model]
model_type = "modernbert"
architectures = ["ModernBertForMaskedLM"]
hidden_size = 32
num_hidden_layers = 4
num_attention_heads = 2
intermediate_size = 48
norm_eps = 1e-5
[data]
train = ["a.txt", "/b.txt"]
shares = [3, 1]
window = 32
[training]
batch_tokens = 640
tokens = 6400
schedule = "wsd"
warmup_steps = 2
)";

std::string with(std::string from, const std::string& to) {
  std::string text = kGood;
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

std::string complaint(const std::string& text) {
  try {
    (void)parse_recipe(text, "dir/r.toml");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kFormat);
    return error.what();
  }
  return "no error";
}

TEST(Recipe, SaysAllThatARunDependsOn) {
  const Recipe recipe = parse_recipe(kGood, "dir/r.toml");
  EXPECT_EQ(recipe.objective, Objective::kMaskedEndings);
  EXPECT_EQ(recipe.tokenizer.kind, Recipe::Words::kStems);
  EXPECT_EQ(recipe.data.train.at(0), "dir/a.txt");
  EXPECT_EQ(recipe.data.train.at(1), "/b.txt");
  EXPECT_DOUBLE_EQ(recipe.data.shares.at(0), 0.75);
  EXPECT_EQ(recipe.schedule.steps, 10);
  EXPECT_EQ(recipe.schedule.kind, Schedule::Kind::kStable);
  EXPECT_NE(recipe.config.find("\"hidden_size\": 32"), std::string::npos);
  EXPECT_NE(recipe.config.find("\"norm_eps\": 1e-05"), std::string::npos);
  EXPECT_EQ(parse_recipe(kGood, "dir/r.toml", "texts").data.train.at(0), "texts/a.txt");
}

TEST(Recipe, ErrorsSayWhereAndWhatWasExpected) {
  EXPECT_EQ(complaint(with("window = 32", "windw = 32")),
            "[dir/r.toml:14:1] expected window, found \"windw\"");
  EXPECT_EQ(
      complaint(with("window = 32", "window = \"32\"")),
      "[dir/r.toml:14:10] expected window to be a whole number from 4 to 1048576, found \"32\"");
  EXPECT_EQ(complaint(with("batch_tokens = 640", "batch_tokens = -1")),
            "[dir/r.toml:16:16] expected batch_tokens to be a whole number from 1 to 2147483647, "
            "found -1");
  EXPECT_EQ(
      complaint(with("\"wsd\"", "\"linear\"")),
      "[dir/r.toml:18:12] expected schedule to be one of constant, cosine, wsd, found \"linear\"");
  EXPECT_EQ(complaint(with("tokens = 6400", "tokens = 6400\nsteps = 3")),
            "[dir/r.toml:15:1] expected either steps or tokens in [training], found both");
  EXPECT_EQ(complaint(with("shares = [3, 1]", "shares = [3]")),
            "[dir/r.toml:13:10] expected a share for each of 2 files, found 1");
  EXPECT_EQ(complaint(with("model_type = \"modernbert\"\n", "")),
            "[dir/r.toml:3:1] expected model_type = \"modernbert\" or another family in [model], "
            "found no such key");
  EXPECT_NE(complaint("a = [1").find("[dir/r.toml:1:"), std::string::npos);
  EXPECT_NE(
      complaint(with("warmup_steps = 2", "warmup_steps = 200")).find("at most 10 warmup_steps"),
      std::string::npos);
  EXPECT_NE(complaint(with("[training]", "[hiding]\nmasked = 0.9\nreplaced = 0.3\n[training]"))
                .find("of at most 1"),
            std::string::npos);
  EXPECT_NE(complaint(with("[training]", "[hiding.english]\nverbs = 0.3\n[training]"))
                .find("found \"verbs\""),
            std::string::npos);
  EXPECT_NE(complaint(with("objective = \"masked-endings\"",
                           "objective = \"masked-endings\"\nnonsense = 1"))
                .find("found \"nonsense\""),
            std::string::npos);
}

// Of a misspelt key it is not said that the right one is missing.
TEST(Recipe, MisspeltKeysAreNamedBeforeMissingOnes) {
  EXPECT_EQ(complaint(with("tokens = 6400", "stepps = 60")),
            "[dir/r.toml:17:1] expected steps, found \"stepps\"");
  EXPECT_NE(complaint(with("[data]", "[dta]")).find("expected data, found \"dta\""),
            std::string::npos);
  EXPECT_NE(complaint(with("[data]", "[dta]")).find("[dir/r.toml:11:"), std::string::npos);
  EXPECT_NE(complaint(with("train = [", "trian = [")).find("expected train, found \"trian\""),
            std::string::npos);
  EXPECT_NE(complaint(with("objective =", "objektive =")).find("found \"objektive\""),
            std::string::npos);
  EXPECT_EQ(complaint(with("model_type =", "modeltype =")),
            "[dir/r.toml:4:1] expected model_type, found \"modeltype\"");
  EXPECT_NE(complaint(with("[training]", "[tokenizer]\nkind = \"file\"\nfle = \"a\"\n[training]"))
                .find("found \"fle\""),
            std::string::npos);
  EXPECT_NE(
      complaint(with("[training]", "[hiding]\nendings = 0.9\nstems = 0.9\nmaskd = 1.0\n[training]"))
          .find("found \"maskd\""),
      std::string::npos);
  EXPECT_NE(complaint(with("[training]", "[teaching]\ntres = [\"a\"]\n[training]"))
                .find("found \"tres\""),
            std::string::npos);
}

// [model] may hold keys that nobody reads; those that are nearly one that is read are slips.
TEST(Recipe, MisspeltKeysOfAModelAreNamed) {
  const std::string known = "num_attention_heads = 2";
  EXPECT_EQ(complaint(with(known, known + "\nglobal_rope_thet = 500.0")),
            "[dir/r.toml:9:1] expected global_rope_theta, found \"global_rope_thet\"");
  EXPECT_EQ(complaint(with("hidden_size = 32", "hiden_size = 32")),
            "[dir/r.toml:6:1] expected hidden_size, found \"hiden_size\"");
  EXPECT_NO_THROW(
      (void)parse_recipe(with(known, known + "\ntransformers_version = \"5\""), "dir/r.toml"));
  EXPECT_NO_THROW((void)parse_recipe(with(known, known + "\nnorm_epss = 1e-5"), "dir/r.toml"));
}

constexpr const char* kTables = R"(objective = "tables"
[model]
model_type = "llama"
architectures = ["LlamaForCausalLM"]
hidden_size = 16
num_hidden_layers = 1
num_attention_heads = 2
intermediate_size = 16
max_position_embeddings = 64
[code]
kind = "numbers"
bins = 32
[data]
made = 1.0
window = 30
[training]
batch_tokens = 256
steps = 2
)";

std::string tables_with(std::string_view line, std::string_view instead) {
  std::string text = kTables;
  return text.replace(text.find(line), line.size(), instead);
}

// What is foretold is a part of the window, also where nothing says how much.
TEST(Recipe, TheUsualHorizonFitsAShortWindow) {
  EXPECT_EQ(parse_recipe(kTables, "dir/r.toml").data.horizon, 15);
  EXPECT_EQ(parse_recipe(tables_with("window = 30", "window = 4"), "dir/r.toml").data.horizon, 2);
  EXPECT_EQ(parse_recipe(tables_with("window = 30", "window = 64"), "dir/r.toml").data.horizon, 32);
  EXPECT_NE(complaint(tables_with("window = 30", "window = 30\nhorizon = 29"))
                .find("horizon to be a whole number from 1 to 28"),
            std::string::npos);
}

TEST(Recipe, ACodeWhoseIdsCollideIsRefusedWithItsLine) {
  EXPECT_EQ(
      complaint(tables_with("bins = 32", "bins = 32\nmissing = 5000")),
      "[dir/r.toml:13:11] expected missing to be an id below first = 3, found 5000 (in [code])");
  EXPECT_EQ(complaint(tables_with("bins = 32", "bins = 32\nstart = 500")),
            "[dir/r.toml:13:9] expected start to be an id below first = 3, found 500 (in [code])");
  const std::string same = complaint(tables_with("bins = 32", "bins = 32\nmissing = 1"));
  EXPECT_NE(same.find("expected missing to be another id than start and end, found 1"),
            std::string::npos)
      << same;
}

// Of keys that are both written, the line of the one that must change.
TEST(Recipe, ACodeWhoseIdsAreBothWrittenIsRefusedWithTheRightLine) {
  EXPECT_EQ(complaint(tables_with("bins = 32", "bins = 32\nfirst = 3\nmissing = 3")),
            "[dir/r.toml:14:11] expected missing to be an id below first = 3, found 3 (in [code])");
  EXPECT_EQ(complaint(tables_with("bins = 32", "bins = 32\nstart = 0\nmissing = 0")),
            "[dir/r.toml:14:11] expected missing to be another id than start and end, found 0 (in "
            "[code])");
}

// A [code] is read whole: what nobody reads is a slip, however short.
TEST(Recipe, UnknownKeysOfACodeAreRefused) {
  EXPECT_EQ(complaint(tables_with("bins = 32", "bin = 32")),
            "[dir/r.toml:12:1] expected bins, found \"bin\"");
  EXPECT_EQ(complaint(tables_with("bins = 32", "bins = 32\nfrist = 3")),
            "[dir/r.toml:13:1] expected first, found \"frist\"");
  const std::string other = complaint(tables_with("bins = 32", "bins = 32\nnonsense = true"));
  EXPECT_TRUE(other.starts_with("[dir/r.toml:13:1] expected one of bins, ")) << other;
  // Three edits make x, and anything as short, of end.
  const std::string brief = complaint(tables_with("bins = 32", "bins = 32\nx = 1"));
  EXPECT_TRUE(brief.starts_with("[dir/r.toml:13:1] expected one of bins, ")) << brief;
  std::string many = "bins = 32";
  for (int i = 0; i < 2000; ++i) many += "\nk" + std::to_string(i) + " = 1";
  EXPECT_NE(complaint(tables_with("bins = 32", many)).find("expected at most 1000 keys in a table"),
            std::string::npos);
}

TEST(Recipe, AVocabularyThatIsTooSmallForItsTokenizerIsRefusedWithItsLine) {
  const std::string known = "num_attention_heads = 2";
  EXPECT_NE(complaint(with(known, known + "\nvocab_size = 100"))
                .find("[dir/r.toml:9:14] expected vocab_size"),
            std::string::npos);
}

TEST(Recipe, TheFolderNamesARecipeThatHasNoName) {
  EXPECT_EQ(parse_recipe(kTables, "/some/tides/recipe.toml").name, "tides");
  const std::string here = std::filesystem::current_path().filename().string();
  EXPECT_EQ(parse_recipe(kTables, "recipe.toml").name, here);
  EXPECT_EQ(parse_recipe(kTables, "./recipe.toml").name, here);
  EXPECT_EQ(parse_recipe(kTables, "deeper/../recipe.toml").name, here);
}

// Nobody who writes a recipe has a config.json.
TEST(Recipe, AModelThatCannotBeIsRefusedWithItsLine) {
  EXPECT_EQ(complaint(with("num_attention_heads = 2", "num_attention_heads = 7")),
            "[dir/r.toml:8:23] expected 7 heads to divide the width 32 (in [model])");
  const std::string family = complaint(with("\"modernbert\"", "\"gpt9\""));
  EXPECT_TRUE(family.starts_with("[dir/r.toml:4:14] expected model_type to be one of bert, gpt2,"))
      << family;
  EXPECT_EQ(family.find("mixtral"), std::string::npos) << family;
  EXPECT_EQ(family.find("videomae"), std::string::npos) << family;
  const std::string none = complaint(with("hidden_size = 32", "hidden_size = 0"));
  EXPECT_TRUE(none.starts_with("[dir/r.toml:6:15] expected ")) << none;
  const std::string wide = complaint(with("hidden_size = 32", "hidden_size = 1000000"));
  EXPECT_TRUE(wide.starts_with("[dir/r.toml:")) << wide;
  EXPECT_TRUE(wide.ends_with(" (in [model])")) << wide;
  // Found by building the network, and not by reading the config alone.
  const std::string head = complaint(with("\"ModernBertForMaskedLM\"", "\"ModernBertForPoetry\""));
  EXPECT_NE(head.find("found \"ModernBertForPoetry\" (in [model])"), std::string::npos) << head;
  const std::string heads = complaint(
      with("[training]", "[teaching]\ntrees = [\"a\"]\nheads = {\"3.2\" = \"obj\"}\n[training]"));
  EXPECT_NE(heads.find("found 3.2 (in [teaching])"), std::string::npos) << heads;
}

constexpr const char* kSeries = R"(objective = "tables"
[model]
model_type = "llama"
architectures = ["LlamaForCausalLM"]
hidden_size = 32
num_hidden_layers = 1
num_attention_heads = 2
intermediate_size = 48
max_position_embeddings = 64
[code]
kind = "numbers"
bins = 24
low = -3.0
high = 3.0
[data]
train = ["t.csv"]
window = 60
[training]
batch_tokens = 480
steps = 12
)";

TEST(Recipe, ACodeThatCannotBeIsRefusedWithItsLine) {
  const auto changed = [](const std::string& from, const std::string& to) {
    std::string text = kSeries;
    return complaint(text.replace(text.find(from), from.size(), to));
  };
  EXPECT_EQ(changed("batch_tokens", "batch_tokens"), "no error");
  EXPECT_EQ(changed("low = -3.0", "low = 7"),
            "[dir/r.toml:13:7] expected low to be less than high, found 7 and 3 (in [code])");
  EXPECT_EQ(changed("bins = 24", "bins = 16777217"),
            "[dir/r.toml:12:8] expected bins from 2 to 16777216, found 16777217 (in [code])");
  EXPECT_EQ(changed("bins = 24", "bins = -1"),
            "[dir/r.toml:12:8] expected bins from 2 to 16777216, found -1 (in [code])");
  EXPECT_NE(changed("\"numbers\"", "\"notes\"").find("expected kind = \"numbers\""),
            std::string::npos);
  EXPECT_EQ(changed("[code]", "vocab_size = 9\n[code]"),
            "[dir/r.toml:10:14] expected vocab_size of at least 27, as many as there are tokens, "
            "found 9 (in [model])");
}

TEST(Recipe, WindowsFitThePositionsOfTheModel) {
  std::string text = kSeries;
  EXPECT_EQ(complaint(text.replace(text.find("window = 60"), 11, "window = 65")),
            "[dir/r.toml:17:10] expected a window of at most 64 tokens, all the positions of "
            "[model], found 65");
  text = with("norm_eps", "max_position_embeddings = 48\nnorm_eps");
  EXPECT_EQ(complaint(text), "no error");
  const std::string gaps = text + "[hiding]\ngaps = 0.2\n";
  EXPECT_EQ(complaint(gaps),
            "[dir/r.toml:15:10] expected a window of at most 24 tokens, for gaps half the "
            "positions of [model], found 32");
  text = with("norm_eps", "max_position_embeddings = 31\nnorm_eps");
  EXPECT_NE(complaint(text).find("at most 31 tokens"), std::string::npos);
}

TEST(Recipe, TheObjectiveOfARecordIsKnown) {
  EXPECT_EQ(objective_in(kGood), Objective::kMaskedEndings);
  EXPECT_EQ(objective_in("objective = \"moving\"\nanything = 1"), Objective::kMoving);
  EXPECT_EQ(objective_in("text"), std::nullopt);
  EXPECT_EQ(objective_in("objective = 3"), std::nullopt);
}

TEST(Recipe, SaysWhatHeadsAreTaught) {
  const std::string teaching =
      "[teaching]\ntrees = [\"a.conllu\"]\nheads = { \"3.1\" = \"nsubj>iobj\", \"2.0\" = "
      "[\"obj back\", \"iobj\"] }\n[training]";
  const Recipe recipe = parse_recipe(with("[training]", teaching), "dir/r.toml");
  ASSERT_EQ(recipe.teaching.heads.size(), 3U);
  EXPECT_EQ(recipe.teaching.trees.at(0), "dir/a.conllu");
  for (const TaughtHead& head : recipe.teaching.heads) {
    EXPECT_EQ(head.layer, head.relation == "nsubj>iobj" ? 3 : 2);
    EXPECT_EQ(head.back, head.relation == "obj");
  }
  const auto taught = [](const std::string& text) {
    return complaint(with("[training]", "[teaching]\n" + text + "\n[training]"));
  };
  EXPECT_NE(taught("trees = [\"a\"]").find("heads = "), std::string::npos);
  EXPECT_NE(taught("heads = {\"1.0\" = \"obj\"}").find("trees = "), std::string::npos);
  EXPECT_NE(taught("trees = [\"a\"]\nheads = {\"1-0\" = \"obj\"}").find("expected a head and a"),
            std::string::npos);
  for (const char* relation : {"", " back", "nsubj>", "a>b>c", "obj  back"}) {
    EXPECT_NE(taught(std::string("trees = [\"a\"]\nheads = {\"1.0\" = \"") + relation + "\"}")
                  .find("expected a "),
              std::string::npos)
        << relation;
  }
  EXPECT_NE(taught("trees = [\"a\"]\nheads = {\"1.0\" = [\"obj\", \"obj\"]}").find("once"),
            std::string::npos);
  EXPECT_NE(taught("trees = [\"a\"]\nheads = {}").find("found none"), std::string::npos);
  EXPECT_NE(taught("trees = [\"a\"]\nheads = {\"1.0\" = 3}").find("expected a head and a"),
            std::string::npos);
}

TEST(Recipe, ThoseThatShipCanBeRead) {
  const Recipe tale = load_recipe(std::string(HEADSCOPE_SOURCE_DIR) + "/models/tale/recipe.toml");
  EXPECT_EQ(tale.name, "tale");
  EXPECT_EQ(tale.objective, Objective::kMaskedEndings);
  for (const char* file : {"tale/english",
                           "tale/small",
                           "tale-taught/base",
                           "tale-taught/recipe",
                           "chorale/recipe",
                           "series/recipe",
                           "glimpse/recipe",
                           "motion/recipe"}) {
    const std::string path = std::string(HEADSCOPE_SOURCE_DIR) + "/models/" + file + ".toml";
    EXPECT_NO_THROW((void)load_recipe(path)) << file;
  }
}

TEST(Schedule, GoesUpAndThenDown) {
  Schedule s{.kind = Schedule::Kind::kCosine,
             .steps = 101,
             .warmup = 11,
             .learning_rate = 2.0,
             .final_share = 0.1};
  EXPECT_DOUBLE_EQ(s.at(0), 2.0 / 11);
  EXPECT_DOUBLE_EQ(s.at(10), 2.0);
  EXPECT_DOUBLE_EQ(s.at(11), 2.0);
  EXPECT_NEAR(s.at(100), 0.2, 1e-12);
  EXPECT_NEAR(s.at(1000), 0.2, 1e-12);
  for (int i = 11; i < 100; ++i) EXPECT_GE(s.at(i), s.at(i + 1));
  s.kind = Schedule::Kind::kStable;
  s.decay_share = 0.2;
  EXPECT_DOUBLE_EQ(s.at(80), 2.0);
  EXPECT_LT(s.at(90), 2.0);
  EXPECT_NEAR(s.at(100), 0.2, 1e-12);
  s.kind = Schedule::Kind::kConstant;
  EXPECT_DOUBLE_EQ(s.at(100), 2.0);
}

std::vector<Point> falling(int n) {
  std::vector<Point> points;
  for (int i = 1; i <= n; ++i) points.push_back({i, 100LL * i, 1.0 + 8.0 / i, 0.5, 1e-3, 1.0});
  return points;
}

TEST(Plot, DrawsEveryCurveInsideOfItsFrame) {
  const std::vector<Curve> curves{{"a <b>", falling(2000), 0, false},
                                  {"valid", falling(5), 0, true}};
  const std::string svg = loss_svg(curves, "tokens", "loss");
  EXPECT_NE(svg.find("a &lt;b&gt;"), std::string::npos);
  std::size_t lines = 0;
  for (std::size_t at = 0; (at = svg.find("<polyline points=\"", at)) != std::string::npos;
       ++lines) {
    at += 18;
    const std::string points = svg.substr(at, svg.find('"', at) - at);
    for (std::size_t i = 0; i < points.size();) {
      std::size_t used = 0;
      const double x = std::stod(points.substr(i), &used);
      i += used + 1;
      const double y = std::stod(points.substr(i), &used);
      i += used + 1;
      EXPECT_TRUE(x >= 0.0 && x <= 760.0 && y >= 0.0 && y <= 420.0) << x << ' ' << y;
    }
  }
  EXPECT_EQ(lines, 2U);
  const std::string text = loss_text(curves, "tokens read", 60, 10);
  EXPECT_NE(text.find("9.000 |"), std::string::npos);
  // The axis below has its name in the middle, of whatever letters, and ends under the last column.
  for (const std::string name : {"tokens read", "прочитано токенов"}) {
    const std::string named = loss_text(curves, name, 60, 10);
    const std::size_t at = named.rfind("        0 ");
    ASSERT_NE(at, std::string::npos);
    const std::string axis = named.substr(at);
    EXPECT_NE(axis.find(' ' + name + ' '), std::string::npos) << axis;
    EXPECT_TRUE(axis.ends_with("200 k\n")) << axis;
    const auto inside = [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) == 0x80U; };
    EXPECT_EQ(std::ssize(axis) - 1 - std::count_if(axis.begin(), axis.end(), inside), 59) << axis;
  }
  EXPECT_EQ(loss_text(curves, std::string(80, 'x'), 60, 10).find('x'), std::string::npos);
  EXPECT_NE(text.find("200 k"), std::string::npos);
  EXPECT_NE(text.find('o'), std::string::npos);
  EXPECT_GT(std::count(text.begin(), text.end(), 'o'), 3);
  EXPECT_EQ(loss_text({}, "tokens", 60, 10), "");
  EXPECT_EQ(loss_text({{"nan", {{1, 1, std::nan(""), 0, 0, 0}}}}, "tokens", 60, 10), "");
  EXPECT_NE(loss_text({{"flat", {{1, 1, 2.0, 0, 0, 0}}}}, "tokens", 60, 10), "");
}

TEST(Plot, RunsAndTheirCurvesAreToldApart) {
  std::vector<Curve> curves;
  std::set<std::string> marks;
  for (int run = 0; run < 8; ++run) {
    for (const bool valid : {false, true}) {
      curves.push_back({"run " + std::to_string(run), falling(6), run, valid});
      EXPECT_TRUE(marks.insert(mark_of(curves.back())).second) << run;
    }
  }
  const std::string text = loss_text({curves[2], curves[3]}, "tokens", 60, 10);
  EXPECT_NE(text.find('X'), std::string::npos) << text;
  const std::string svg = loss_svg(curves, "tokens", "loss");
  std::set<std::string> hues;
  for (int run = 0; run < 8; ++run) {
    const std::string key = ".c" + std::to_string(run) + " { color: ";
    const std::size_t at = svg.find(key);
    ASSERT_NE(at, std::string::npos) << run;
    EXPECT_TRUE(hues.insert(svg.substr(at + key.size(), 7)).second) << run;
  }
  EXPECT_NE(svg.find("class=\"c1 valid\""), std::string::npos);
  // Sixteen labels that want the same place: one below the other, above the numbers of the axis.
  const std::string label = "<text class=\"end\" x=\"";
  double before = 0.0;
  int labels = 0;
  for (std::size_t at = 0; (at = svg.find(label, at)) != std::string::npos; ++labels) {
    at += label.size();
    EXPECT_GT(std::stod(svg.substr(at)), 570.0);
    const double y = std::stod(svg.substr(svg.find("y=\"", at) + 3));
    EXPECT_GE(y, before + 12.0);
    EXPECT_LE(y, 372.0);
    before = y;
  }
  EXPECT_EQ(labels, 16);
}

TEST(RunStore, APointIsThereOnceHoweverOftenARunGoesOn) {
  Scratch scratch;
  RunStore store(scratch / "runs.sqlite");
  RunRecord record;
  record.name = "t";
  record.version = "1";
  record.recipe = "text";
  record.steps = 9;
  record.seed = ~std::uint64_t{0};
  RunState state;
  state.run = store.begin(record);
  state.train = falling(6);
  state.step = 6;
  store.write(state.run, "running", state);
  state.train.resize(4);  // killed; goes on from an earlier checkpoint
  state.step = 4;
  EXPECT_EQ(store.resume(record, state), state.run);
  state.train = falling(8);
  state.step = 8;
  store.write(state.run, "done", state);
  const RunStore reader(scratch / "runs.sqlite", true);
  EXPECT_EQ(reader.runs().size(), 1U);
  EXPECT_EQ(reader.runs()[0].status, "done");
  EXPECT_EQ(reader.runs()[0].seed, ~std::uint64_t{0});
  const std::vector<Point> points = reader.points(state.run, "train");
  ASSERT_EQ(points.size(), 8U);
  EXPECT_EQ(points[5].loss, falling(8)[5].loss);
  EXPECT_TRUE(reader.points(state.run, "valid").empty());
  state.run = 77;  // another file's number
  EXPECT_EQ(store.resume(record, state), 2);
  EXPECT_THROW(RunStore(scratch / "none.sqlite", true), Error);
  write_file(scratch / "not.sqlite", std::string_view(std::string(5000, 'x')));
  EXPECT_THROW(RunStore(scratch / "not.sqlite"), Error);
}

}  // namespace
}  // namespace headscope::train
