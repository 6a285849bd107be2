// Pictures with classes: IDX files, batches, a run that learns to tell bright from dark corners.
#include <gtest/gtest.h>
#include <zlib.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "formats/idx.h"
#include "formats/scratch.h"
#include "headscope/error.h"
#include "headscope/model.h"
#include "headscope/safetensors.h"
#include "headscope/train.h"
#include "train/loop.h"
#include "train/material.h"

namespace headscope::train {
namespace {

namespace fs = std::filesystem;

std::string idx(std::initializer_list<std::uint32_t> shape, const std::string& numbers) {
  std::string out{'\0', '\0', '\x08', static_cast<char>(shape.size())};
  for (const std::uint32_t n : shape) {
    for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(n >> shift & 0xFFU);
  }
  return out + numbers;
}

// Picture n is bright in its upper half when n is odd, else in its lower half.
void write_pictures(const fs::path& folder, std::uint32_t count) {
  std::string grey, classes;
  for (std::uint32_t n = 0; n < count; ++n) {
    for (std::uint32_t i = 0; i < 64; ++i)
      grey +=
          static_cast<char>((i < 32) == (n % 2 == 1) ? 200 + (n * 7 + i) % 50 : (n * 3 + i) % 60);
    classes += static_cast<char>(n % 2);
  }
  write_file(folder / "pictures", std::string_view(idx({count, 8, 8}, grey)));
  const std::string labels = idx({count}, classes);
  gzFile file = gzopen((folder / "classes.gz").c_str(), "wb");
  ASSERT_EQ(gzwrite(file, labels.data(), static_cast<unsigned>(labels.size())),
            static_cast<int>(labels.size()));
  gzclose(file);
}

constexpr const char* kRecipe = R"(objective = "pictures"
[model]
model_type = "vit"
architectures = ["ViTForImageClassification"]
hidden_size = 16
num_hidden_layers = 1
num_attention_heads = 2
intermediate_size = 16
image_size = 8
patch_size = 4
num_channels = 1
id2label = { 0 = "low", 1 = "high" }
[data]
train = ["pictures", "classes.gz"]
valid = ["pictures", "classes.gz"]
shift = 1
[training]
batch_tokens = 80
steps = 40
learning_rate = 1e-2
[checkpoint]
valid_steps = 1000
valid_tokens = 200
)";

std::string complaint(const fs::path& path) {
  try {
    (void)read_idx(path);
  } catch (const Error& error) {
    return error.what();
  }
  return "none";
}

TEST(Idx, ReadsBytesPackedOrNot) {
  const Scratch scratch;
  write_pictures(scratch.path(), 6);
  const Tensor pictures = read_idx(scratch / "pictures");
  EXPECT_EQ(pictures.shape(), (Shape{6, 8, 8}));
  EXPECT_EQ(pictures.span<std::uint8_t>()[64], 200 + 7);
  const Tensor classes = read_idx(scratch / "classes.gz");
  EXPECT_EQ(classes.shape(), (Shape{6}));
  EXPECT_EQ(classes.span<std::uint8_t>()[5], 1);
}

TEST(Idx, DamagedFilesAreRefusedInOneLine) {
  const Scratch scratch;
  const auto file = [&](const std::string& bytes) {
    write_file(scratch / "x", std::string_view(bytes));
    return complaint(scratch / "x");
  };
  const std::string whole = idx({2, 2}, "abcd");
  EXPECT_EQ(file(whole), "none");
  for (std::size_t n = 0; n < whole.size(); ++n) EXPECT_NE(file(whole.substr(0, n)), "none") << n;
  EXPECT_NE(file(whole + "e").find("found more"), std::string::npos);
  EXPECT_NE(file(idx({2, 0}, "")).find("length 0"), std::string::npos);
  // Four numbers of 2^31 each: said to be too many before any room is made.
  EXPECT_NE(file(idx({0x80000000U, 0x80000000U, 0x80000000U, 0x80000000U}, "ab")).find("at most"),
            std::string::npos);
  std::string floats = whole;
  floats[2] = '\x0D';
  EXPECT_NE(file(floats).find("type"), std::string::npos);
  EXPECT_NE(complaint(scratch / "nothing").find("cannot open"), std::string::npos);
}

TEST(Pictures, EachComesOnceAPassInAnotherOrder) {
  const Scratch scratch;
  write_pictures(scratch.path(), 32);
  const Recipe recipe = parse_recipe(kRecipe, scratch / "recipe.toml");
  const Material material = picture_material(recipe, scratch.path());
  ASSERT_EQ(material.picture_rows, 5);
  ASSERT_EQ(material.train->pass(), 2U);  // of 16 pictures each
  const Batch first = material.train->batch(0);
  EXPECT_EQ(first.pixels.shape(), (Shape{16, 1, 8, 8}));
  int odd = 0;
  for (std::uint64_t n = 0; n < 2; ++n) {
    const Batch batch = material.train->batch(n);
    for (const std::int32_t label : batch.labels.span<std::int32_t>()) odd += label;
  }
  EXPECT_EQ(odd, 16);
  const Batch again = material.train->batch(0);
  const Batch later = material.train->batch(2);
  bool same = true;
  for (std::size_t i = 0; i < 64; ++i) {
    EXPECT_EQ(first.pixels.span<float>()[i], again.pixels.span<float>()[i]);
    same = same && first.pixels.span<float>()[i] == later.pixels.span<float>()[i];
  }
  EXPECT_FALSE(same);
}

TEST(Pictures, InTheLastStepsTheyAreAsTheyAre) {
  const Scratch scratch;
  write_pictures(scratch.path(), 32);
  std::string text = kRecipe;
  text.replace(text.find("shift = 1"), 9, "shift = 2\nmirror = true\nstill = 0.25");
  const Recipe recipe = parse_recipe(text, scratch / "recipe.toml");  // of 40 steps
  const Material material = picture_material(recipe, scratch.path());
  const auto pictures_of = [](const Batch& batch) {
    std::set<std::vector<float>> out;
    const auto pixels = batch.pixels.span<float>();
    for (std::size_t i = 0; i < pixels.size(); i += 64)
      out.emplace(pixels.begin() + static_cast<std::ptrdiff_t>(i),
                  pixels.begin() + static_cast<std::ptrdiff_t>(i + 64));
    return out;
  };
  std::set<std::vector<float>> originals;
  for (std::uint64_t n = 0; n < material.valid->pass(); ++n)
    originals.merge(pictures_of(material.valid->batch(n)));
  const auto strange = [&](std::uint64_t n) {
    const auto seen = pictures_of(material.train->batch(n));
    return std::count_if(
        seen.begin(), seen.end(), [&](const auto& p) { return !originals.contains(p); });
  };
  EXPECT_GT(strange(29), 8);
  EXPECT_EQ(strange(30), 0);
  EXPECT_EQ(strange(39), 0);
}

// Before anything is learned, a patch is placed more like its neighbours than like any patch further away.
TEST(Pictures, FreshPositionsKnowTheirNeighbours) {
  const std::string config =
      R"({"model_type": "vit", "architectures": ["ViTModel"], "hidden_size": 32,
    "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "image_size": 20,
    "patch_size": 4, "num_channels": 1})";
  for (const std::uint64_t seed : {1U, 2U}) {
    const Trainee fresh = Trainee::fresh(config, seed);
    const auto found = std::ranges::find_if(fresh.parameters(), [](const Parameter& p) {
      return p.name.ends_with("position_embeddings");
    });
    ASSERT_NE(found, fresh.parameters().end());
    const auto table = std::as_const(found->value).view<float, 3>();
    const auto apart = [&](std::int64_t a, std::int64_t b) {
      double sum = 0.0;
      for (std::int64_t c = 0; c < 32; ++c)
        sum += std::pow(double{table(0, 1 + a, c)} - double{table(0, 1 + b, c)}, 2);
      return sum;
    };
    double furthest_neighbour = 0.0;
    double nearest_other = 1e9;
    for (std::int64_t a = 0; a < 25; ++a) {
      for (std::int64_t b = 0; b < a; ++b) {
        const std::int64_t steps = std::abs(a / 5 - b / 5) + std::abs(a % 5 - b % 5);
        if (steps == 1) furthest_neighbour = std::max(furthest_neighbour, apart(a, b));
        if (steps > 2) nearest_other = std::min(nearest_other, apart(a, b));
      }
    }
    EXPECT_LT(furthest_neighbour, nearest_other);
  }
}

TEST(Pictures, ARunLearnsAndItsModelSees) {
  const Scratch scratch;
  write_pictures(scratch.path(), 32);
  const Recipe recipe = parse_recipe(kRecipe, scratch / "recipe.toml");
  RunOptions options;
  options.folder = scratch / "run";
  const RunResult result = run_recipe(recipe, options);
  ASSERT_FALSE(result.state.valid.empty());
  EXPECT_EQ(result.state.valid.back().accuracy, 1.0);
  EXPECT_EQ(result.state.tokens, 40 * 16 * 5);
  const Model model = Model::load((scratch / "run").string());
  EXPECT_EQ(model.label(1), "high");
  // What the preprocessor makes of a file's pixels is what training saw.
  Tensor rgb(DType::kU8, {1, 8, 8, 3});
  for (std::size_t i = 0; i < 192; ++i)
    rgb.span<std::uint8_t>()[i] = i < 96 ? std::uint8_t{220} : std::uint8_t{20};
  const headscope::Run run = model.run(model.pixels(rgb.view<std::uint8_t, 4>()));
  EXPECT_GT(run.logits.span<float>()[1], run.logits.span<float>()[0]);
}

TEST(Pictures, WhatDoesNotFitTogetherIsRefused) {
  const Scratch scratch;
  write_pictures(scratch.path(), 4);
  const auto refused = [&](const std::string& from, const std::string& to) {
    std::string text = kRecipe;
    text.replace(text.find(from), from.size(), to);
    try {
      (void)picture_material(parse_recipe(text, scratch / "recipe.toml"), scratch.path());
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("none");
  };
  EXPECT_NE(refused("image_size = 8", "image_size = 16").find("image_size 8"), std::string::npos);
  EXPECT_NE(refused("num_channels = 1", "num_channels = 3").find("num_channels 1"),
            std::string::npos);
  EXPECT_NE(refused("\"classes.gz\"]\nvalid", "\"pictures\"]\nvalid").find("classes [N]"),
            std::string::npos);
  EXPECT_NE(
      refused("[\"pictures\", \"classes.gz\"]\nvalid", "[\"pictures\"]\nvalid").find("found 1"),
      std::string::npos);
  EXPECT_NE(refused("[data]", "[tokenizer]\nsize = 40\n[data]").find("no [tokenizer]"),
            std::string::npos);
}

}  // namespace
}  // namespace headscope::train
