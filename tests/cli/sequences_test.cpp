// Verbs over models of notes, numbers and videos: trained for a moment, then asked.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

#include "cli/app.h"
#include "cli/treebank.h"
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
  // Steps of two voices.
  std::string tune(int steps = 20) {
    Score score;
    score.voices = 2;
    score.steps_per_beat = 2;
    for (int s = 0; s < steps; ++s) {
      score.pitch.push_back(static_cast<std::int16_t>(67 + s / 2 % 5));
      score.pitch.push_back(static_cast<std::int16_t>(60 - s / 4 % 12));
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
  std::string file(const std::string& name, const std::string& bytes) {
    write_file(scratch_ / name, std::string_view(bytes));
    return (scratch_ / name).string();
  }
  std::string months(int rows) {
    std::string text = "month,wave\n";
    for (int i = 0; i < rows; ++i) {
      const int month = i % 12 + 1;
      text += std::to_string(1900 + i / 12) + (month < 10 ? "-0" : "-") + std::to_string(month) +
              ',' + std::to_string(std::sin(i * 0.785398163)) + '\n';
    }
    return file("months.csv", text);
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
  std::string numbers_recipe() {
    (void)table();
    return "objective = \"tables\"\n[model]" + kLlama + R"([code]
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
)";
  }
  std::string numbers_model() { return train(numbers_recipe()); }
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

TEST_F(Sequences, LossesOfTablesAreThoseOfNumbers) {
  const std::string recipe = file("r.toml", numbers_recipe());
  const auto trained = [&](const std::string& lang) {
    const Outcome done =
        run_words({"train", recipe, "-o", (scratch_ / ("run-" + lang)).string(), "--lang", lang});
    EXPECT_EQ(done.status, 0) << done.complaint;
    return done.out;
  };
  const std::string english = trained("en");
  EXPECT_NE(english.find(" nats a number ("), std::string::npos) << english;
  EXPECT_EQ(english.find("label"), std::string::npos) << english;
  const std::string russian = trained("ru");
  EXPECT_NE(russian.find(" ната на число ("), std::string::npos) << russian;
}

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
  EXPECT_NE(run_words({"run", model, table()}).out.find("foretold without seeing them: 24;"),
            std::string::npos);
}

TEST_F(Sequences, APieceThatTheModelEndsIsCalledSoAndGoesOnWhenAsked) {
  const std::string model = notes_model();
  // The likeliest token is made the end.
  const auto first = json_of({"run", model, tune(), "-n", "2", "--temperature", "0"})["ids"][0];
  auto code = nlohmann::json::parse(read_file(model + "/media.json"));
  code["end"] = first;
  write_file(model + "/media.json", std::string_view(code.dump()));
  const auto over = json_of({"run", model, tune(), "--temperature", "0"});
  EXPECT_EQ(over["steps"], 0);
  EXPECT_EQ(over["ended"], true);
  const Outcome said = run_words({"run", model, tune(), "--temperature", "0"});
  EXPECT_NE(said.out.find("ended the piece at once; nothing follows"), std::string::npos)
      << said.out;
  // Whole steps, and never the end.
  const auto asked = json_of({"run", model, tune(), "-n", "7", "--temperature", "0"});
  EXPECT_EQ(asked["ids"].size(), 8U);
  EXPECT_EQ(asked["steps"], 4);
  for (const auto& id : asked["ids"]) EXPECT_NE(id, first);
}

TEST_F(Sequences, RowsThatFollowAreNamedAsTheTableGoesOn) {
  const std::string model = numbers_model();
  const std::string out = (scratch_ / "next.csv").string();
  const auto json = json_of({"run", model, months(90), "-n", "8", "-o", out});
  EXPECT_EQ(json["names"][0], "1907-07");
  EXPECT_EQ(json["names"][7], "1908-02");
  EXPECT_EQ(read_csv(out).rows.back(), "1908-02");
  EXPECT_NE(run_words({"run", model, months(90)}).out.find("\n  1907-07  "), std::string::npos);
  const auto counted = json_of({"run", model, file("n.csv", "x\n1\n2\n1\n2\n1\n2\n"), "-n", "2"});
  EXPECT_EQ(counted["names"], (nlohmann::json{"+1", "+2"}));
  const Outcome none = run_words({"run", model, months(90), "-n", "0"});
  EXPECT_NE(none.complaint.find("-n a whole number from 1 to 48, found 0"), std::string::npos)
      << none.complaint;
}

TEST_F(Sequences, WhereNoPeriodIsFoundTheLastValueIsTheGuess) {
  const std::string model = numbers_model();
  // A line goes on as it was: five steps of training know nothing of it.
  std::string text = "day,line\n";
  for (int i = 0; i < 60; ++i) text += 'd' + std::to_string(i) + ',' + std::to_string(i) + ".5\n";
  const std::string line = file("line.csv", text);
  const auto json = json_of({"run", model, line, "-n", "2", "--seed", "1"});
  EXPECT_EQ(json["columns"][0]["period"], 1);
  EXPECT_DOUBLE_EQ(json["columns"][0]["baseline"], 1.5);
  const std::string said =
      run_words({"run", model, line, "-n", "2", "--seed", "1", "--width", "300"}).out;
  EXPECT_NE(said.find("no period found; the last value, repeated: 1.5"), std::string::npos) << said;
  EXPECT_EQ(said.find("period ago"), std::string::npos) << said;
  const bool worse = json["columns"][0]["error"] > json["columns"][0]["baseline"];
  EXPECT_EQ(said.find("Careful") != std::string::npos, worse) << said;
  const std::string wave = run_words({"run", model, table(), "-n", "5", "--width", "300"}).out;
  EXPECT_NE(wave.find("one period ago (rows: 8)"), std::string::npos) << wave;
  EXPECT_NE(wave.find("Careful"), std::string::npos) << wave;  // no model beats a true wave
}

TEST_F(Sequences, RowsPastTheLastYearAreCounted) {
  const std::string model = numbers_model();
  const auto json =
      json_of({"run", model, file("last.csv", "q,x\n9999Q1,1\n9999Q2,2\n9999Q3,1\n"), "-n", "3"});
  EXPECT_EQ(json["names"], (nlohmann::json{"9999Q4", "+2", "+3"}));
}

TEST_F(Sequences, NotesAreGivenInFullOrRefused) {
  const std::string model = notes_model();
  EXPECT_EQ(json_of({"run", model, tune(), "-n", "48"})["ids"].size(), 48U);
  EXPECT_EQ(json_of({"run", model, tune(), "-n", "9", "--context", "22"})["ids"].size(), 10U);
  const auto complaint = [&](const std::string& count, const std::string& context) {
    return run_words({"run", model, tune(), "-n", count, "--context", context}).complaint;
  };
  const auto expect_most = [](const std::string& found, const std::string& words) {
    EXPECT_NE(found.find("[run] expected -n a whole number from 1 to " + words), std::string::npos)
        << found;
  };
  expect_most(complaint("5000", "96"), "48, found 5000");
  expect_most(complaint("49", "96"), "48, found 49");
  expect_most(complaint("0", "96"), "48, found 0");
  expect_most(complaint("11", "22"), "10, found 11");  // eleven positions hold five steps of two
}

TEST_F(Sequences, WhatIsTooLongIsShownInPartAndCalledSo) {
  const std::string numbers = numbers_model();
  const std::string table = months(200);
  const Outcome end = run_words({"see", numbers, table});
  EXPECT_EQ(end.status, 0) << end.complaint;
  EXPECT_NE(end.out.find("rows seen, from the end: 95 of 200"), std::string::npos) << end.out;
  EXPECT_EQ(end.out.find("only the first"), std::string::npos);
  EXPECT_EQ(json_of({"see", numbers, table})["tokens_before_cut"], 201);
  EXPECT_NE(run_words({"walk", numbers, table}).out.find("from the end: 95 of 200"),
            std::string::npos);
  std::filesystem::remove_all(scratch_ / "model");
  const std::string notes = notes_model();
  const Outcome begin = run_words({"see", notes, tune(60)});
  EXPECT_EQ(begin.status, 0) << begin.complaint;
  EXPECT_NE(begin.out.find("from the beginning: 23.5 of 30"), std::string::npos) << begin.out;
}

TEST_F(Sequences, InputsOfAnotherKindAreNamed) {
  const std::string numbers = numbers_model();
  const auto complaint = [&](const std::vector<std::string>& words) {
    const Outcome done = run_words(words);
    EXPECT_NE(done.status, 0);
    return done.complaint;
  };
  const std::string latin = file("latin.csv", "a,b\xE9\n1,2\n");
  for (const char* verb : {"see", "run"}) {
    EXPECT_NE(complaint({verb, numbers, latin}).find("not UTF-8 at byte 3 (E9)"),
              std::string::npos);
  }
  EXPECT_NE(complaint({"see", numbers, "/proc"}).find("found the folder /proc"), std::string::npos);
  std::filesystem::remove_all(scratch_ / "model");
  const std::string videos = videos_model();
  EXPECT_NE(complaint({"see", videos, "."}).find("found .: a folder"), std::string::npos);
  EXPECT_NE(complaint({"see", videos, "/dev/zero"}).find("a pipe or a device"), std::string::npos);
  EXPECT_NE(complaint({"see", videos, latin, "--as", "bytes"}).find("a model that reads tokens"),
            std::string::npos);
}

TEST_F(Sequences, WishesThatAnInputHasNoUseForAreRefused) {
  const auto expect_refused = [](const std::vector<std::string>& words, const std::string& part) {
    const Outcome done = run_words(words);
    EXPECT_EQ(done.status, 2) << done.out;
    EXPECT_NE(done.complaint.find(part), std::string::npos) << done.complaint;
  };
  const std::string numbers = numbers_model();
  const std::string next = (scratch_ / "next.mid").string();
  expect_refused({"see", numbers, table(), "--frames", "3"}, "expected a video for --frames");
  expect_refused({"run", numbers, table(), "-n", "-3"}, "-n a whole number from 1 to 48, found -3");
  expect_refused({"run", numbers, table(), "-o", next}, "-o NAME.csv, found");
  EXPECT_FALSE(std::filesystem::exists(next));
  EXPECT_EQ(run_words({"see", numbers, table(), "--column", "wave"}).status, 0);
  std::filesystem::remove_all(scratch_ / "model");
  const std::string notes = notes_model();
  const std::string csv = (scratch_ / "c.csv").string();
  expect_refused({"see", notes, tune(), "--column", "a"},
                 "expected a table for --column, found music (MIDI)");
  expect_refused({"run", notes, tune(), "-n", "4", "-o", csv}, "-o NAME.mid | NAME.midi, found");
  EXPECT_FALSE(std::filesystem::exists(csv));
  expect_refused({"see", "planted", "король", "--column", "a"}, "found text");
  expect_refused({"see", "planted", "король", "--frames", "3", "--lang", "ru"},
                 "параметру --frames нужен вход");
  const std::string tree = file("b.conllu", testing::treebank(1));
  expect_refused({"see", "planted", tree, "--frames", "3"}, "expected a video for --frames");
}

TEST_F(Sequences, WordsThatAreNoFileAreNamedAsTheyAre) {
  const auto complaint = [](const std::vector<std::string>& words) {
    const Outcome done = run_words(words);
    EXPECT_NE(done.status, 0);
    return done.complaint;
  };
  const std::string notes = notes_model();
  EXPECT_NE(complaint({"run", notes, "some text"})
                .find("a MIDI file for a model of notes, found some text: text"),
            std::string::npos);
  EXPECT_NE(complaint({"run", notes, "some", "text"}).find("found some text: text"),
            std::string::npos);
  EXPECT_NE(
      complaint({"run", notes, "none.mid", "--lang", "ru"}).find("none.mid — такого файла нет"),
      std::string::npos);
  EXPECT_NE(complaint({"run", notes, table(), "--lang", "ru"}).find("t.csv — текст"),
            std::string::npos);
  EXPECT_NE(complaint({"run", notes, scratch_.path().string()}).find(": a folder"),
            std::string::npos);
  std::filesystem::remove_all(scratch_ / "model");
  EXPECT_NE(complaint({"run", videos_model(), "/none.jpg"}).find("found /none.jpg: no such file"),
            std::string::npos);
}

// What is no file is no text for a model that reads none: no hint to give it one.
TEST_F(Sequences, ModelsThatReadNoTextSayWhatTheyRead) {
  const auto expect_said = [&](const std::string& model, const std::string& reads) {
    for (const std::string verb : {"see", "walk"}) {
      const Outcome missing = run_words({verb, model, "none.txt"});
      EXPECT_EQ(missing.status, 3);
      EXPECT_EQ(
          missing.complaint,
          '[' + verb + "] expected " + reads + " for this model, found none.txt: no such file");
      const Outcome words = run_words({verb, model, "king"});
      EXPECT_NE(words.complaint.find(reads + " for this model, found king: text"),
                std::string::npos)
          << words.complaint;
    }
    for (const std::string verb : {"see", "walk", "run"}) {
      const Outcome nothing = run_words({verb, model});
      EXPECT_EQ(nothing.status, 2);
      EXPECT_EQ(
          nothing.complaint,
          '[' + verb + "] expected " + reads + " after the model " + model + ", found nothing");
    }
    std::filesystem::remove_all(scratch_ / "model");
  };
  expect_said(notes_model(), "a MIDI file");
  expect_said(numbers_model(), "a table (CSV with a header)");
  expect_said(videos_model(), "a file with a picture or a video");
  EXPECT_NE(run_words({"see", "planted", "none.txt"}).complaint.find("echo TEXT"),
            std::string::npos);
  EXPECT_NE(run_words({"see", "planted"}).complaint.find("headscope see planted \"The old king"),
            std::string::npos);
}

TEST_F(Sequences, ARelationThatNoTreeHasIsRefused) {
  const std::string trees = file("b.conllu", testing::treebank(2));
  const Outcome none = run_words({"syntax", "planted", trees, "--relation", "nope"});
  EXPECT_EQ(none.status, 2);
  EXPECT_NE(none.complaint.find("--relation amod | det | nsubj | obj, found nope"),
            std::string::npos)
      << none.complaint;
  EXPECT_EQ(run_words({"syntax", "planted", trees, "--relation", "nsubj>obj"}).status, 0);
  const Outcome missing = run_words({"syntax", "planted", (scratch_ / "c.conllu").string()});
  EXPECT_NE(missing.complaint.find("expected a treebank (.conllu, .conllu.xz), found no file"),
            std::string::npos)
      << missing.complaint;
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
