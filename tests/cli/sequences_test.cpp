// Verbs over models of notes, numbers and videos: trained for a moment, then asked.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

#include "cli/app.h"
#include "formats/scratch.h"
#include "headscope/media.h"
#include "headscope/model.h"
#include "headscope/safetensors.h"
#include "train/loop.h"

namespace headscope::cli {
namespace {

struct Outcome {
  int status = -1;
  std::string out, complaint;
};

Outcome run_words(const std::vector<std::string>& words) {
  Outcome out;
  out.status = cli::run(words, out.out, out.complaint);
  return out;
}

nlohmann::json json_of(std::vector<std::string> words) {
  words.push_back("--json");
  const Outcome done = run_words(words);
  EXPECT_EQ(done.status, 0) << done.complaint;
  return done.status == 0 ? nlohmann::json::parse(done.out) : nlohmann::json();
}

const std::string kLlama = R"(
model_type = "llama"
architectures = ["LlamaForCausalLM"]
hidden_size = 16
num_hidden_layers = 1
num_attention_heads = 2
num_key_value_heads = 2
intermediate_size = 24
max_position_embeddings = 96
rms_norm_eps = 1e-5
tie_word_embeddings = false
)";

class Sequences : public ::testing::Test {
 protected:
  std::string train(const std::string& recipe) {
    train::RunOptions options;
    options.folder = scratch_ / "model";
    (void)train::run_recipe(train::parse_recipe(recipe, scratch_ / "r.toml"), options);
    return options.folder.string();
  }
  // 20 steps of two voices.
  std::string tune() {
    Score score;
    score.voices = 2;
    score.steps_per_beat = 2;
    for (int s = 0; s < 20; ++s) {
      score.pitch.push_back(static_cast<std::int16_t>(67 + s / 2 % 5));
      score.pitch.push_back(static_cast<std::int16_t>(60 - s / 4));
    }
    write_file(scratch_ / "tune.mid", std::string_view(midi_bytes(tune_of(score))));
    return (scratch_ / "tune.mid").string();
  }
  std::string table() {
    std::string text = "day,wave,flat\n";
    for (int i = 0; i < 90; ++i)
      text += std::to_string(i) + ',' + std::to_string(std::sin(i * 0.785398163)) + ",5\n";
    write_file(scratch_ / "t.csv", std::string_view(text));
    return (scratch_ / "t.csv").string();
  }
  std::string notes_model() {
    (void)tune();
    return train("objective = \"tunes\"\n[model]" + kLlama + R"([code]
kind = "notes"
voices = ["high", "low"]
steps_per_beat = 2
[data]
train = ["tune.mid"]
window = 41
[training]
batch_tokens = 82
steps = 5
)");
  }
  std::string numbers_model() {
    (void)table();
    return train("objective = \"tables\"\n[model]" + kLlama + R"([code]
kind = "numbers"
bins = 20
low = -2.0
high = 2.0
centred = true
[data]
train = ["t.csv:wave"]
window = 60
horizon = 8
[training]
batch_tokens = 120
steps = 5
)");
  }
  std::string videos_model() {
    return train(R"(objective = "moving"
[model]
model_type = "videomae"
architectures = ["VideoMAEModel"]
hidden_size = 16
num_hidden_layers = 1
num_attention_heads = 2
intermediate_size = 16
image_size = 24
patch_size = 4
num_channels = 1
num_frames = 3
tubelet_size = 1
use_mean_pooling = false
[data]
step = 4
[training]
batch_tokens = 108
steps = 2
)");
  }

  Scratch scratch_;
};

TEST_F(Sequences, ATuneGoesOnInWholeStepsBehindWhatWasGiven) {
  const std::string model = notes_model();
  const std::string out = (scratch_ / "longer.mid").string();
  const auto json = json_of({"run", model, tune(), "-n", "16", "--seed", "3", "-o", out});
  EXPECT_EQ(json["known_steps"], 20);
  EXPECT_EQ(json["ids"].size() % 2, 0U);
  EXPECT_EQ(json["steps"].get<std::size_t>() * 2, json["ids"].size());
  const NoteCode code = *SequenceCode::read(model + "/media.json").notes;
  const Score longer = score_of(read_midi(out), code);
  const Score given = score_of(read_midi(tune()), code);
  ASSERT_GE(longer.steps(), 20);
  EXPECT_TRUE(std::equal(given.pitch.begin(), given.pitch.end(), longer.pitch.begin()));
  // The same seed, the same music; the sum of two parts of a tune that is too long is not read.
  EXPECT_EQ(json, json_of({"run", model, tune(), "-n", "16", "--seed", "3"}));
  EXPECT_EQ(json_of({"run", model, tune(), "-n", "16", "--context", "40"})["read_steps"], 11);
  EXPECT_GT(json_of({"run", model, tune(), "--perplexity"})["nll"], 0.0);
  const Outcome text = run_words({"run", model, tune(), "--lang", "ru"});
  EXPECT_NE(text.out.find("долей 10"), std::string::npos) << text.out;
}

TEST_F(Sequences, ATableGetsItsNextRowsAndACheck) {
  const std::string model = numbers_model();
  const std::string out = (scratch_ / "next.csv").string();
  const auto json = json_of(
      {"run", model, table(), "-n", "5", "--column", "wave", "--column", "flat", "-o", out});
  ASSERT_EQ(json["columns"].size(), 2U);
  EXPECT_EQ(json["columns"][0]["period"], 8);
  EXPECT_EQ(json["columns"][0]["held"], 5);
  EXPECT_LT(json["columns"][0]["baseline"], 0.01);  // a true wave comes back
  EXPECT_EQ(json["columns"][0]["middle"].size(), 5U);
  const Table next = read_csv(out);
  EXPECT_EQ(next.rows.size(), 5U);
  EXPECT_EQ(next.columns.size(), 7U);
  EXPECT_NE(run_words({"run", model, table()}).out.find("check: the last 24 rows"),
            std::string::npos);
}

TEST_F(Sequences, WhatDoesNotFitIsSaid) {
  const std::string notes = notes_model();
  EXPECT_NE(run_words({"run", notes, table()}).complaint.find("MIDI"), std::string::npos);
  EXPECT_NE(run_words({"run", notes, (scratch_ / "none.mid").string()}).status, 0);
  EXPECT_NE(run_words({"run", notes, tune(), "--chat"}).complaint.find("--chat"),
            std::string::npos);
  EXPECT_NE(run_words({"doctor", "roles", notes}).complaint.find("--data"), std::string::npos);
  EXPECT_NE(run_words({"doctor", "roles", notes, "--data", tune(), "--html", scratch_ / "x.html"})
                .complaint.find("--html"),
            std::string::npos);
}

TEST_F(Sequences, TheDoctorTellsWhatHeadsOfTunesAndTablesPointAt) {
  const std::string notes = notes_model();
  const std::string roles = (scratch_ / "roles.json").string();
  auto json = json_of({"doctor", "roles", notes, "--data", tune(), "--roles", roles});
  EXPECT_EQ(json["measures"][0]["name"], "voice");
  EXPECT_EQ(json["measures"][0]["n"], 39);  // rows 1..40, but the second voice has none before it
  EXPECT_EQ(json["measures"][1]["heads"].size(), 2U);
  EXPECT_TRUE(nlohmann::json::parse(read_file(roles)).is_array());
  std::filesystem::remove_all(scratch_ / "model");
  const std::string numbers = numbers_model();
  json = json_of({"doctor", "roles", numbers, "--data", table(), "--column", "wave"});
  EXPECT_EQ(json["measures"][0]["name"], "period");
  EXPECT_NE(run_words({"doctor", "roles", numbers, "--data", table(), "--column", "flat"}).status,
            0);
}

TEST_F(Sequences, TheDoctorFollowsMovingThings) {
  const std::string name = videos_model();
  const auto json = json_of({"doctor", "roles", name, "--pieces", "3"});
  ASSERT_EQ(json["measures"].size(), 4U);
  EXPECT_EQ(json["measures"][0]["name"], "follow");
  EXPECT_GT(json["measures"][0]["n"], 20);
  const double baseline = json["measures"][0]["baseline"];
  EXPECT_GE(baseline, 0.125);  // the commonest of eight displacements
  EXPECT_EQ(json["measures"][1]["n"], 3 * 72);
  EXPECT_NEAR(json["measures"][1]["baseline"], 1.0 / 108, 1e-12);
  for (const auto& measure : json["measures"]) {
    for (const auto& head : measure["heads"]) {
      EXPECT_GE(head["score"], 0.0);
      EXPECT_LE(head["score"], 1.0);
    }
  }
}

}  // namespace
}  // namespace headscope::cli
