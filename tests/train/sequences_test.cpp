// Tunes, tables and moving pictures as what models learn from.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>
#include <string>

#include "formats/scratch.h"
#include "headscope/error.h"
#include "headscope/forecast.h"
#include "headscope/media.h"
#include "headscope/model.h"
#include "headscope/safetensors.h"
#include "headscope/threads.h"
#include "media/moving.h"
#include "train/clips.h"
#include "train/loop.h"
#include "train/material.h"
#include "train/recipe.h"

namespace headscope::train {
namespace {

const std::string kLlama = R"(model_type = "llama"
architectures = ["LlamaForCausalLM"]
hidden_size = 32
num_hidden_layers = 2
num_attention_heads = 4
num_key_value_heads = 4
intermediate_size = 48
max_position_embeddings = 64
rms_norm_eps = 1e-5
tie_word_embeddings = false
)";

const std::string kTunes = "objective = \"tunes\"\n[model]\n" + kLlama + R"([code]
kind = "notes"
voices = ["high", "low"]
steps_per_beat = 2
lowest = 50
highest = 80
[data]
train = ["tunes.json"]
valid = ["tunes.json"]
test = ["tunes.json"]
window = 41
transpose = 3
[training]
batch_tokens = 164
steps = 12
learning_rate = 5e-3
[checkpoint]
steps = 5
valid_steps = 6
)";

// Tunes of two voices: the lower one a fifth below, steps from 16 on.
std::string tunes(int count, int first_steps) {
  std::string out = "[";
  for (int t = 0; t < count; ++t) {
    out += t > 0 ? ",[" : "[";
    for (int s = 0; s < first_steps + 5 * t; ++s) {
      const int pitch = 67 + (s / 2 + t) % 8;
      out += (s > 0 ? "," : "") +
             ("[" + std::to_string(pitch) + ".0," + std::to_string(pitch - 7) + "]");
    }
    out += "]";
  }
  return out + "]";
}

std::string all_tunes() {
  return "{\"train\":" + tunes(6, 16) + ",\"valid\":" + tunes(2, 30) + ",\"test\":" + tunes(3, 25) +
         "}";
}

void expect_same(const Batch& a, const Batch& b) {
  const auto same = [](const Tensor& x, const Tensor& y) {
    return x.bytes() == y.bytes() && std::equal(x.raw(), x.raw() + x.bytes(), y.raw());
  };
  EXPECT_TRUE(same(a.ids, b.ids) && same(a.labels, b.labels) && same(a.pixels, b.pixels) &&
              same(a.mask, b.mask));
}

std::string complaint(const std::string& recipe, const Scratch& scratch) {
  try {
    const Recipe parsed = parse_recipe(recipe, scratch / "r.toml");
    RunOptions options;
    options.folder = scratch / "never";
    (void)run_recipe(parsed, options);
  } catch (const Error& error) {
    return error.what();
  }
  return "none";
}

std::string with(std::string text, const std::string& from, const std::string& to) {
  text.replace(text.find(from), from.size(), to);
  return text;
}

TEST(Tunes, TokensAreThoseOfAFileAndLabelsAreTheNextOnes) {
  const Scratch scratch;
  write_file(scratch / "tunes.json", std::string_view(all_tunes()));
  const Recipe recipe = parse_recipe(kTunes, scratch / "r.toml");
  const Material material = tune_material(recipe, scratch.path());
  const SequenceCode code = SequenceCode::read(scratch / "media.json");
  ASSERT_TRUE(code.notes.has_value());
  std::set<int> firsts;
  for (std::uint64_t n = 0; n < 2 * material.train->pass(); ++n) {
    const Batch batch = material.train->batch(n);
    expect_same(batch, material.train->batch(n));
    const auto ids = batch.ids.span<std::int32_t>();
    const auto labels = batch.labels.span<std::int32_t>();
    const auto cu = batch.cu_seqlens.span<std::int32_t>();
    for (std::size_t s = 0; s + 1 < cu.size(); ++s) {
      const auto begin = static_cast<std::size_t>(cu[s]);
      const auto end = static_cast<std::size_t>(cu[s + 1]);
      ASSERT_LE(end - begin, 41U);
      EXPECT_EQ(ids[begin], code.notes->start);
      EXPECT_EQ((end - begin) % 2, 1U);
      for (std::size_t i = begin; i + 1 < end; ++i) EXPECT_EQ(labels[i], ids[i + 1]);
      // Transposed as a whole: the lower voice stays a fifth below.
      for (std::size_t i = begin + 1; i + 1 < end; i += 2) EXPECT_EQ(ids[i] - ids[i + 1], 7);
      firsts.insert(ids[begin + 1]);
      // The same notes in a MIDI file are the same tokens.
      const auto window = ids.subspan(begin, end - begin);
      const std::string midi = midi_bytes(tune_of(score_of(window, *code.notes)));
      const Score again =
          score_of(parse_midi(std::as_bytes(std::span(midi)), "tune.mid"), *code.notes);
      EXPECT_TRUE(std::ranges::equal(ids_of(again, *code.notes), window));
    }
  }
  EXPECT_GT(firsts.size(), 8U);  // eight pitches without transposition
}

TEST(Tunes, ATestForetellsEveryNoteOnce) {
  const Scratch scratch;
  write_file(scratch / "tunes.json", std::string_view(all_tunes()));
  const Material material = tune_material(parse_recipe(kTunes, scratch / "r.toml"), scratch.path());
  std::int64_t labels = 0;
  for (std::uint64_t n = 0; n < material.test->pass(); ++n) {
    const Batch batch = material.test->batch(n);
    for (const std::int32_t label : batch.labels.span<std::int32_t>()) labels += label >= 0 ? 1 : 0;
  }
  EXPECT_EQ(labels, 2 * (25 + 30 + 35));
}

TEST(Tunes, ARunLearnsAndGoesOnAndIsTestedAtItsEnd) {
  const Scratch scratch;
  write_file(scratch / "tunes.json", std::string_view(all_tunes()));
  const Recipe recipe = parse_recipe(kTunes, scratch / "r.toml");
  RunOptions options;
  options.folder = scratch / "whole";
  const RunResult whole = run_recipe(recipe, options);
  ASSERT_TRUE(whole.test.has_value());
  EXPECT_LT(whole.test->loss, std::log(34.0));  // better than any token alike
  options.folder = scratch / "parts";
  int asked = 0;
  options.stop = [&] { return ++asked > 7; };
  EXPECT_TRUE(run_recipe(recipe, options).stopped);
  options.stop = nullptr;
  options.resume = true;
  set_threads(3);
  const RunResult parts = run_recipe(recipe, options);
  set_threads(1);
  EXPECT_EQ(parts.test->loss, whole.test->loss);
  EXPECT_EQ(read_file(scratch / "parts" / "model.safetensors"),
            read_file(scratch / "whole" / "model.safetensors"));
  EXPECT_EQ(Model::load((scratch / "whole").string()).vocabulary(), 34);
}

TEST(Tunes, WhatDoesNotFitIsSaidInOneLine) {
  const Scratch scratch;
  write_file(scratch / "tunes.json", std::string_view(all_tunes()));
  EXPECT_NE(complaint(with(kTunes, "highest = 80", "highest = 70"), scratch).find("pitches 50..70"),
            std::string::npos);
  EXPECT_NE(complaint(with(kTunes, "window = 41", "window = 4"), scratch).find("two steps"),
            std::string::npos);
  EXPECT_NE(complaint(with(kTunes, "kind = \"notes\"", "kind = \"bytes\""), scratch).find("notes"),
            std::string::npos);
  EXPECT_NE(complaint(with(kTunes, "\"tunes\"", "\"causal\""), scratch).find("[code]"),
            std::string::npos);
  write_file(scratch / "tunes.json", std::string_view(R"({"train": [[[60, 61, 62]]]})"));
  EXPECT_NE(complaint(kTunes, scratch).find("at most 2"), std::string::npos);
  write_file(scratch / "tunes.json", std::string_view(R"({"train": [[[60.5, 61]]]})"));
  EXPECT_NE(complaint(kTunes, scratch).find("whole pitches"), std::string::npos);
  write_file(scratch / "tunes.json", std::string_view(R"({"train": []})"));
  EXPECT_NE(complaint(kTunes, scratch).find("found none"), std::string::npos);
}

const std::string kTables = "objective = \"tables\"\n[model]\n" + kLlama + R"([code]
kind = "numbers"
bins = 24
low = -3.0
high = 3.0
centred = true
[data]
train = ["t.csv:wave"]
held = 0.25
made = 0.5
window = 60
horizon = 12
[training]
batch_tokens = 480
steps = 120
learning_rate = 1e-2
)";

// A wave of 8 rows over 160, and another column.
std::string wave() {
  std::string out = "day,wave,other\n";
  for (int i = 0; i < 160; ++i)
    out += std::to_string(i) + ',' + std::to_string(500.0 + 20.0 * std::sin(i * 0.785398163)) +
           ',' + std::to_string(i % 3) + '\n';
  return out;
}

TEST(Tables, TheHeldRowsAreForetoldOnceFromWhatWasBefore) {
  const Scratch scratch;
  write_file(scratch / "t.csv", std::string_view(wave()));
  const Recipe recipe = parse_recipe(with(kTables, "made = 0.5", "made = 0.0"), scratch / "r.toml");
  const Material material = table_material(recipe, scratch.path());
  ASSERT_EQ(material.valid->pass(), 4U);  // 40 rows, 12 at a time
  std::int64_t labels = 0;
  for (std::uint64_t n = 0; n < 4; ++n) {
    const Batch batch = material.valid->batch(n);
    const auto all = batch.labels.span<std::int32_t>();
    labels += std::count_if(all.begin(), all.end(), [](std::int32_t l) { return l >= 0; });
    EXPECT_TRUE(std::all_of(all.begin(), all.begin() + 47, [](std::int32_t l) { return l < 0; }));
  }
  EXPECT_EQ(labels, 40);
  for (std::uint64_t n = 0; n < 8; ++n) {
    const Batch batch = material.train->batch(n);
    expect_same(batch, material.train->batch(n));
    for (const std::int32_t id : batch.ids.span<std::int32_t>()) EXPECT_LT(id, 27);
  }
}

TEST(Tables, ARunLearnsAWaveThatARealForecastContinues) {
  const Scratch scratch;
  write_file(scratch / "t.csv", std::string_view(wave()));
  RunOptions options;
  options.folder = scratch / "run";
  const Recipe recipe = parse_recipe(with(kTables, "made = 0.5", "made = 0.0"), scratch / "r.toml");
  const RunResult result = run_recipe(recipe, options);
  ASSERT_FALSE(result.state.valid.empty());
  EXPECT_LT(result.state.valid.back().loss, 1.0);  // ln 24 is 3.2
  const Model model = Model::load((scratch / "run").string());
  const SequenceCode code = SequenceCode::read(scratch / "run" / "media.json");
  const Table table = read_csv(scratch / "t.csv");
  const std::span<const double> values = table.columns[1].values;
  EXPECT_EQ(period_of(values), 8);
  const Forecast next = forecast(model, *code.numbers, values.first(148), {.rows = 12});
  EXPECT_LT(mean_error(next.middle, values.last(12)), 5.0);
  EXPECT_LE(next.low[5], next.middle[5]);
  EXPECT_LE(next.middle[5], next.high[5]);
  EXPECT_THROW((void)forecast(model, *code.numbers, values, {.rows = 60}), Error);
  EXPECT_THROW((void)forecast(model, *code.numbers, values.first(1), {.rows = 2}), Error);
}

TEST(Tables, WhatDoesNotFitIsSaidInOneLine) {
  const Scratch scratch;
  write_file(scratch / "t.csv", std::string_view(wave()));
  EXPECT_NE(complaint(with(kTables, "t.csv:wave", "t.csv:waves"), scratch).find("waves"),
            std::string::npos);
  EXPECT_NE(complaint(with(kTables, "horizon = 12", "horizon = 59"), scratch).find("horizon"),
            std::string::npos);
  EXPECT_NE(complaint(with(kTables, "made = 0.5", "made = 1.0"), scratch).find("made = 1"),
            std::string::npos);
  write_file(scratch / "t.csv", std::string_view("day,wave\n1,2\n2,3\n"));
  EXPECT_NE(complaint(kTables, scratch).find("rows to learn from"), std::string::npos);
}

TEST(Tables, MadeSeriesAreNumbersOfManyKinds) {
  std::set<std::int64_t> periods;
  std::vector<double> series(200);
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    make_series(series, seed);
    for (const double x : series) ASSERT_TRUE(std::isfinite(x)) << seed;
    periods.insert(period_of(series));
    std::vector<double> again(200);
    make_series(again, seed);
    EXPECT_EQ(series, again);
  }
  EXPECT_GT(periods.size(), 20U);
}

TEST(Forecasts, BaselineIsOnePeriodAgo) {
  const std::vector<double> known = {1, 2, 3, std::nan(""), 5, 6};
  EXPECT_EQ(one_period_ago(known, 2, 5), (std::vector<double>{5, 6, 5, 6, 5}));
  EXPECT_EQ(one_period_ago(known, 3, 3), (std::vector<double>{6, 5, 6}));
  EXPECT_EQ(one_period_ago(known, 100, 2), (std::vector<double>{1, 2}));
  EXPECT_THROW((void)one_period_ago({}, 1, 1), Error);
  EXPECT_DOUBLE_EQ(mean_error(std::vector<double>{1, std::nan(""), 3}, known), 0.0);
  std::vector<double> line;
  for (int i = 0; i < 50; ++i) line.push_back(3.0 * i);
  EXPECT_EQ(period_of(line), 1);
}

TEST(Tables, TheLargestDoublesHaveAPeriodAndErrors) {
  std::vector<double> wave;
  for (int i = 0; i < 60; ++i) wave.push_back((i % 3 - 1) * 1e308);
  EXPECT_EQ(period_of(wave), 3);
  const std::vector<double> last(wave.size(), 1e308);
  EXPECT_DOUBLE_EQ(mean_error(last, wave), 1e308);
  EXPECT_DOUBLE_EQ(mean_error(std::vector<double>{0.0, 0.0}, std::vector<double>{0.0, 0.0}), 0.0);
}

const std::string kMoving = R"(objective = "moving"
[model]
model_type = "videomae"
architectures = ["VideoMAEModel"]
hidden_size = 32
num_hidden_layers = 1
num_attention_heads = 4
intermediate_size = 32
image_size = 24
patch_size = 4
num_channels = 1
num_frames = 3
tubelet_size = 1
use_mean_pooling = false
[data]
step = 4
[training]
batch_tokens = 432
steps = 40
learning_rate = 5e-3
[checkpoint]
valid_tokens = 864
)";

TEST(Moving, ThingsMoveAsTheySay) {
  media::MovingOptions options;
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    const media::Moving moving = media::moving_pictures(options, seed);
    const auto grey = std::as_const(moving.grey).view<std::uint8_t, 3>();
    for (std::int64_t f = 1; f < options.frames; ++f) {
      for (std::int64_t y = 0; y < options.height; ++y) {
        for (std::int64_t x = 0; x < options.width; ++x) {
          const int thing = moving.seen(f, y, x);
          const bool still = thing < 0 && moving.seen(f - 1, y, x) < 0;
          if (still) {
            ASSERT_EQ(grey(f, y, x), grey(f - 1, y, x));
          }
          if (thing < 0) continue;
          const auto& motion = moving.things[static_cast<std::size_t>(thing)];
          ASSERT_TRUE(motion.down != 0 || motion.right != 0);
          if (moving.seen(f - 1, y - motion.down, x - motion.right) == thing) {
            ASSERT_EQ(grey(f, y, x), grey(f - 1, y - motion.down, x - motion.right));
          }
        }
      }
    }
  }
  options.width = 16;  // no room to move three steps
  EXPECT_THROW((void)media::moving_pictures(options, 1), Error);
}

TEST(Moving, TargetsAreThePatchesAndRunsLearn) {
  const Scratch scratch;
  const Recipe recipe = parse_recipe(kMoving, scratch / "r.toml");
  const Material material = moving_material(recipe, scratch.path());
  ASSERT_EQ(material.picture_rows, 3 * 36);
  const Batch batch = material.train->batch(3);
  expect_same(batch, material.train->batch(3));
  const auto pixels = batch.pixels.view<float, 5>();
  const auto targets = batch.targets.view<float, 2>();
  for (std::int64_t p = 0; p < 4 * 108; ++p) {
    for (std::int64_t k = 0; k < 16; ++k) {
      const std::int64_t in = p % 108;
      ASSERT_EQ(targets(p, k),
                pixels(p / 108, in / 36, 0, in / 6 % 6 * 4 + k / 4, in % 6 * 4 + k % 4));
    }
  }
  RunOptions options;
  options.folder = scratch / "run";
  const RunResult result = run_recipe(recipe, options);
  EXPECT_LT(result.state.valid.back().loss, 0.4);  // grey by chance has a mean square of a third
  const Model model = Model::load((scratch / "run").string());
  EXPECT_EQ(model.frames(), 3);
  EXPECT_NE(complaint(with(kMoving, "num_channels = 1", "num_channels = 3"), scratch)
                .find("num_channels 1"),
            std::string::npos);
  EXPECT_NE(
      complaint(with(kMoving, "image_size = 24", "image_size = 16"), scratch).find("even steps"),
      std::string::npos);
}

// Of a patch that is foretold though shown, one half is grey and the other one is what the target says.
TEST(Moving, HalvesAreHidden) {
  const Scratch scratch;
  const Recipe recipe = parse_recipe(
      std::string(kMoving) + "[hiding]\npatches = 0.2\nhalves = 0.5\n", scratch / "r.toml");
  const Batch batch = moving_material(recipe, scratch.path()).train->batch(1);
  const auto pixels = batch.pixels.view<float, 5>();
  const auto targets = batch.targets.view<float, 2>();
  const auto mask = batch.mask.span<std::uint8_t>();
  std::array<int, 4> halves{};
  std::array<int, 3> kinds{};
  for (std::int64_t p = 0; p < 4 * 108; ++p) {
    const std::uint8_t kind = mask[static_cast<std::size_t>(p)];
    ASSERT_LE(kind, 2);
    ++kinds[kind];
    std::array<int, 4>
        same{};  // pixels of the upper, lower, left and right half that are the target's
    for (std::int64_t k = 0; k < 16; ++k) {
      const std::int64_t in = p % 108;
      const float shown = pixels(p / 108, in / 36, 0, in / 6 % 6 * 4 + k / 4, in % 6 * 4 + k % 4);
      if (shown == targets(p, k)) {
        ++same[k < 8 ? 0 : 1];
        ++same[k % 4 < 2 ? 2 : 3];
      } else {
        ASSERT_EQ(shown, 0.0F);
      }
    }
    const auto whole = std::ranges::count(same, 8);
    if (kind == 2) {
      ASSERT_EQ(whole, 1) << p;
      ++halves[static_cast<std::size_t>(std::ranges::find(same, 8) - same.begin())];
    } else {
      ASSERT_EQ(whole, 4) << p;
    }
  }
  EXPECT_NEAR(kinds[1], 0.2 * 432, 35);
  EXPECT_NEAR(kinds[2], 0.5 * 432, 45);
  for (const int n : halves) EXPECT_NEAR(n, kinds[2] / 4, 30);
  const std::string none = std::string(kMoving) + "[hiding]\npatches = 0.0\n";
  EXPECT_NE(complaint(none, scratch).find("patches + halves"), std::string::npos);
}

// A video in which every frame is one shade, 10 n: every cut is of frames equally far apart.
TEST(Moving, RealVideosAreCutOut) {
  const Scratch scratch;
  std::string y4m = "YUV4MPEG2 W40 H30 F25:1 Cmono\n";
  for (int n = 0; n < 20; ++n)
    y4m += "FRAME\n" + std::string(40 * 30, static_cast<char>(20 + 10 * n));
  write_file(scratch / "v.y4m", std::string_view(y4m));
  const Clips clips({scratch / "v.y4m"}, 24);
  std::set<int> apart;
  for (std::uint64_t chance = 0; chance < 60; ++chance) {
    std::vector<std::uint8_t> cut(3 * 24 * 24);
    clips.cut(chance, 3, cut.data());
    const int first = cut[0];
    const int step = cut[24 * 24] - first;
    apart.insert((step + 10) / 20);  // every other frame is taken
    for (std::size_t n = 0; n < cut.size(); ++n)
      ASSERT_NEAR(cut[n], first + static_cast<int>(n / (24 * 24)) * step, 1);
    std::vector<std::uint8_t> again(cut.size());
    clips.cut(chance, 3, again.data());
    ASSERT_EQ(cut, again);
  }
  EXPECT_EQ(apart, (std::set<int>{1, 2, 3, 4}));
  std::string recipe = with(kMoving, "step = 4", "step = 4\ntrain = [\"v.y4m\"]\nmade = 0.5");
  const Material material =
      moving_material(parse_recipe(recipe, scratch / "r.toml"), scratch.path());
  int flat = 0;
  for (std::uint64_t n = 0; n < 20; ++n) {
    const Batch batch = material.train->batch(n);
    const auto pixels = batch.pixels.view<float, 5>();
    for (std::int64_t s = 0; s < 4; ++s) {
      bool same = true;
      for (std::int64_t y = 0; y < 24; ++y) {
        for (std::int64_t x = 0; x < 24; ++x)
          same = same && pixels(s, 0, 0, y, x) == pixels(s, 0, 0, 0, 0);
      }
      flat += same ? 1 : 0;
    }
  }
  EXPECT_NEAR(flat, 40, 20);
  recipe = with(kMoving, "step = 4", "step = 4\ntrain = [\"v.y4m\"]\nmade = 1.0");
  EXPECT_NE(complaint(recipe, scratch).find("made = 1"), std::string::npos);
  write_file(scratch / "small.y4m",
             std::string_view("YUV4MPEG2 W8 H8 F25:1 Cmono\nFRAME\n" + std::string(64, 'x')));
  EXPECT_THROW(Clips({scratch / "small.y4m"}, 24), Error);
}

}  // namespace
}  // namespace headscope::train
