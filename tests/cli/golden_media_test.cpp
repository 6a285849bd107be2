#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "cli/app.h"
#include "cli/screen.h"
#include "golden/golden.h"
#include "headscope/music.h"
#include "headscope/sighting.h"

// `see` over inputs that are no text, on the tiny models of golden/families.
namespace headscope::cli {
namespace {

namespace fs = std::filesystem;

struct Outcome {
  int status = -1;
  std::string out, complaint;
};

class SeeMedia : public ::testing::Test {
 protected:
  void SetUp() override {
    families_ = golden::golden_dir() / "families";
    if (!fs::exists(families_)) GTEST_SKIP() << "golden/families is not there";
    folder_ = fs::temp_directory_path() / ("headscope-media-" + std::to_string(::getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string file(const std::string& name, const std::string& bytes) const {
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
    return (folder_ / name).string();
  }
  std::string family(const std::string& name) const { return (families_ / name).string(); }
  // A golden model whose tokens are something else.
  std::string model_of(const std::string& name, const std::string& media) const {
    const fs::path to = folder_ / name;
    fs::copy(
        families_ / name, to, fs::copy_options::recursive | fs::copy_options::overwrite_existing);
    std::ofstream(to / "media.json") << media;
    return to.string();
  }
  static Outcome run(std::vector<std::string> words) {
    Outcome out;
    out.status = cli::run(words, out.out, out.complaint);
    return out;
  }
  nlohmann::json json_of(std::vector<std::string> words) const {
    words.insert(words.begin(), "see");
    words.push_back("--json");
    const Outcome seen = run(words);
    EXPECT_EQ(seen.status, 0) << seen.complaint;
    return seen.status == 0 ? nlohmann::json::parse(seen.out) : nlohmann::json();
  }
  // It is drawn in both languages, with and without colour, no line too wide, and as a page.
  void expect_drawn(const std::vector<std::string>& words) const {
    for (const char* lang : {"en", "ru"}) {
      for (const char* colour : {"always", "never"}) {
        for (const char* width : {"72", "100"}) {
          std::vector<std::string> all = words;
          all.insert(all.begin(), "see");
          for (const char* word : {"--lang", lang, "--color", colour, "--width", width})
            all.emplace_back(word);
          const Outcome seen = run(all);
          ASSERT_EQ(seen.status, 0) << seen.complaint;
          std::istringstream lines(seen.out);
          for (std::string line; std::getline(lines, line);) {
            if (line.find("headscope ") != std::string::npos) continue;  // commands are not cut
            EXPECT_LE(columns(line), std::stoi(width)) << line;
          }
        }
      }
    }
    const std::string html = (folder_ / "page.html").string();
    const std::string sight = (folder_ / "run.sight").string();
    std::vector<std::string> all = words;
    all.insert(all.begin(), "see");
    for (const std::string& word : {std::string("-o"), html, std::string("-o"), sight})
      all.push_back(word);
    const Outcome seen = run(all);
    ASSERT_EQ(seen.status, 0) << seen.complaint;
    EXPECT_GT(fs::file_size(html), 100'000U);
    const Sighting back = Sighting::load(sight);
    EXPECT_NE(back.scene.kind, Scene::Kind::kText);
  }

  fs::path families_, folder_;
};

std::string ppm(int width, int height) {
  std::string out = "P6\n" + std::to_string(width) + " " + std::to_string(height) + "\n255\n";
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x)
      out += {static_cast<char>(255 * x / width),
              static_cast<char>(255 * y / height),
              static_cast<char>((x * y) % 256)};
  }
  return out;
}

std::string y4m(int frames) {
  std::string out = "YUV4MPEG2 W24 H16 F10:1 Ip C444\n";
  for (int n = 0; n < frames; ++n) {
    out += "FRAME\n";
    for (int i = 0; i < 24 * 16; ++i) out += static_cast<char>(i % 24 / 4 == n % 6 ? 220 : 40);
    out += std::string(2 * 24 * 16, '\x80');
  }
  return out;
}

TEST_F(SeeMedia, PicturesGiveTheirPatches) {
  const std::string picture = file("p", ppm(40, 30));
  for (const char* name :
       {"vit", "deit", "dinov2", "dinov2_registers", "beit", "clip", "siglip", "swin"}) {
    SCOPED_TRACE(name);
    const nlohmann::json seen = json_of({family(name), picture});
    ASSERT_TRUE(seen.is_object());
    EXPECT_EQ(seen["scene"]["kind"], "image");
    int patches = 0;
    for (const auto& token : seen["tokens"]) patches += token.contains("row") ? 1 : 0;
    EXPECT_GE(patches, 4);
    EXPECT_FALSE(seen["layers"].empty());
    expect_drawn({family(name), picture});
  }
}

TEST_F(SeeMedia, ThePictureIsKeptAsTheModelSeesIt) {
  const std::string picture = file("p", ppm(40, 30));
  const std::string sight = (folder_ / "p.sight").string();
  ASSERT_EQ(run({"see", family("vit"), picture, "-o", sight}).status, 0);
  const Sighting back = Sighting::load(sight);
  ASSERT_EQ(back.scene.pictures.shape(), (Shape{1, 30, 40, 3}));
  EXPECT_EQ(back.scene.pictures.span<std::uint8_t>()[3 * 39], 255 * 39 / 40);
  // What falls on patches and on [CLS] is all of a row.
  const Tensor light = back.light(0, 1, 0);
  ASSERT_EQ(light.shape(), (Shape{1, 4, 4}));
  const Tensor row = back.row(0, 1, 0);
  double sum = double{row.span<float>()[0]};
  for (const float w : light.span<float>()) sum += double{w};
  EXPECT_NEAR(sum, 1.0, 1e-5);
  const auto lit = light.view<float, 3>();
  EXPECT_EQ(lit(0, 2, 1), row.span<float>()[1 + 2 * 4 + 1]);
}

TEST_F(SeeMedia, RunSaysWhatAPictureIs) {
  const std::string picture = file("p", ppm(40, 30));
  const Outcome said = run({"run", family("vit"), picture, "--json"});
  ASSERT_EQ(said.status, 0) << said.complaint;
  const nlohmann::json judged = nlohmann::json::parse(said.out);
  double all = 0.0;
  for (const auto& one : judged["choices"][0]["best"]) all += one["probability"].get<double>();
  EXPECT_NEAR(all, 1.0, 0.5);
  const Outcome vector = run({"run", family("clip"), picture, "--json"});
  ASSERT_EQ(vector.status, 0) << vector.complaint;
  EXPECT_GT(nlohmann::json::parse(vector.out)["embedding"].size(), 4U);
}

TEST_F(SeeMedia, WindowsAreNamedOneByOne) {
  const std::string picture = file("p", ppm(40, 40));
  const std::string sight = (folder_ / "p.sight").string();
  ASSERT_EQ(run({"see", family("swin"), picture, "-o", sight}).status, 0);
  const Sighting back = Sighting::load(sight);
  for (std::size_t l = 0; l < back.layers.size(); ++l) {
    const Tensor light = back.light(static_cast<int>(l), 0);
    double sum = 0.0;
    for (const float w : light.span<float>()) sum += double{w};
    EXPECT_NEAR(sum, 1.0, 1e-4) << l;  // no filling at this size: all of it falls on patches
  }
}

TEST_F(SeeMedia, VideosGiveFramesAndPatches) {
  const std::string video = file("v", y4m(12));
  for (const char* name : {"videomae", "timesformer"}) {
    SCOPED_TRACE(name);
    const nlohmann::json seen = json_of({family(name), video});
    ASSERT_TRUE(seen.is_object());
    EXPECT_EQ(seen["scene"]["kind"], "video");
    expect_drawn({family(name), video});
  }
  const nlohmann::json still = json_of({family("vit"), video});
  EXPECT_EQ(still["scene"]["kind"], "image");
  const Outcome one = run({"see", family("vit"), video});
  EXPECT_NE(one.out.find("a video: only its frame 5 of 12 is seen"), std::string::npos) << one.out;
  const Outcome stands = run({"see", family("videomae"), file("p", ppm(40, 30))});
  EXPECT_NE(stands.out.find("one picture: it stands still"), std::string::npos) << stands.out;
}

TEST_F(SeeMedia, TunesGiveNotes) {
  const std::string model = model_of("llama", R"({"kind": "notes", "lowest": 40, "highest": 90})");
  Score score;
  for (int n = 0; n < 6; ++n) {
    for (const int pitch : {72, 67, 60, 48})
      score.pitch.push_back(static_cast<std::int16_t>(pitch + n / 2));
  }
  const std::string tune = file("t", midi_bytes(tune_of(score)));
  const nlohmann::json seen = json_of({model, tune});
  ASSERT_TRUE(seen.is_object());
  EXPECT_EQ(seen["tokens"][0]["text"], "[start]");
  EXPECT_EQ(seen["tokens"][1]["text"], "C5 beat 1, soprano");
  EXPECT_EQ(seen["tokens"][1]["id"], 3 + 72 - 40);
  EXPECT_EQ(seen["tokens"].size(), 25U);
  expect_drawn({model, tune});
  expect_drawn({model, tune, "--head", "1.2", "--row", "9"});
  const Outcome wrong = run({"see", model, "some words"});
  EXPECT_EQ(wrong.status, 3);
  EXPECT_NE(wrong.complaint.find("expected a MIDI file"), std::string::npos) << wrong.complaint;
}

TEST_F(SeeMedia, TablesGiveRowsAndColumns) {
  const std::string model = model_of("llama", R"({"kind": "numbers", "bins": 64})");
  std::string csv = "month,co2,temp\n";
  for (int n = 0; n < 12; ++n)
    csv += "1961-" + std::to_string(n + 1) + "," + std::to_string(300 + n * n % 7) + "," +
           (n == 5 ? "" : std::to_string(n)) + "\n";
  const std::string table = file("c", csv);
  const nlohmann::json seen = json_of({model, table, "--column", "co2", "--column", "temp"});
  ASSERT_TRUE(seen.is_object());
  EXPECT_EQ(seen["tokens"].size(), 25U);
  EXPECT_EQ(seen["tokens"][2]["text"], "row 1961-1, column temp");
  EXPECT_EQ(seen["scene"]["values"][1], 300.0);
  EXPECT_TRUE(seen["scene"]["values"][12].is_null());
  expect_drawn({model, table});
  expect_drawn({model, table, "--head", "0.0", "--row", "3"});
  const Outcome wrong = run({"see", model, table, "--column", "month"});
  EXPECT_EQ(wrong.status, 3);
  EXPECT_NE(wrong.complaint.find("\"1961-1\" in line 2"), std::string::npos) << wrong.complaint;
}

TEST_F(SeeMedia, AnythingGoesAsBytes) {
  const std::string model = model_of("llama", R"({"kind": "bytes", "first": 10})");
  const std::string some = file("b",
                                std::string("A\x01"
                                            "A",
                                            3));
  const nlohmann::json seen = json_of({model, some});
  ASSERT_TRUE(seen.is_object());
  EXPECT_EQ(seen["tokens"][0]["text"], "byte 0: 41 A");
  EXPECT_EQ(seen["tokens"][0]["id"], 10 + 0x41);
  expect_drawn({model, some});
  const Outcome wrong = run({"see", family("llama"), file("ff", "\xFF"), "--as", "bytes"});
  EXPECT_NE(wrong.status, 0);
  EXPECT_NE(wrong.complaint.find("more than 255 tokens"), std::string::npos) << wrong.complaint;
}

TEST_F(SeeMedia, WhatAModelCannotReadIsSaidInOneLine) {
  const std::string picture = file("p.txt", ppm(4, 4));  // told by content, not by name
  for (const auto& words : std::vector<std::vector<std::string>>{
           {"see", family("llama"), picture},
           {"see", family("vit"), file("t", "hello")},
           {"see", family("vit"), "hello"},
           {"see", family("vit"), file("broken", std::string("\x89PNG\r\n\x1A\n\0\0", 10))},
           {"see", family("clip"), picture, "--layer", "0"},
           {"see", family("vit"), (folder_ / "absent.jpg").string()}}) {
    const Outcome wrong = run(words);
    EXPECT_NE(wrong.status, 0);
    EXPECT_FALSE(wrong.complaint.empty());
    EXPECT_EQ(wrong.complaint.find('\n'), std::string::npos);
  }
}

}  // namespace
}  // namespace headscope::cli
