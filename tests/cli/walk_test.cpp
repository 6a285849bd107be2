#include "cli/walk.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "cli/handmade.h"
#include "headscope/error.h"
#include "headscope/table.h"

namespace headscope::cli {
namespace {

Walked walked(std::size_t tokens) {
  Walked w;
  w.model = "handmade";
  std::vector<std::string> words = {"[CLS]"};
  for (std::size_t i = 2; i < tokens; ++i) words.push_back("принцу");
  words.emplace_back("[SEP]");
  w.labels = handmade::labels_of(words);
  for (const auto& word : words) w.text += word + ' ';
  w.role = "прилагательное → существительное";
  w.names = words;
  w.row = 1;
  w.row_name = words[1];
  w.heads = w.groups = 12;
  w.width = w.value_width = 32;
  w.model_width = 384;
  w.scale = 1 / std::sqrt(32.0);
  w.x.assign(384, -12345.678F);
  w.q = w.k = w.v = w.z = std::vector<float>(32, 1.2345e-6F);
  w.scores.assign(words.size(), -123.456F);
  w.weights.assign(words.size(), 1.0F / static_cast<float>(words.size()));
  w.lse = -121.3;
  w.findings.assign(12, 0.4);
  w.contributions.assign(12, 1234.5);
  w.out.assign(384, 0.1F);
  w.error = 2.5e-7;
  return w;
}

TEST(Walk, CardsFitEightyColumnsInBothLanguages) {
  for (const std::size_t tokens : {2U, 9U, 512U}) {
    for (const Lang lang : {Lang::kEn, Lang::kRu}) {
      for (const int width : {72, 80, 200}) {
        std::istringstream lines(render_walk({lang, false, false, width}, walked(tokens)));
        for (std::string line; std::getline(lines, line);) EXPECT_LE(columns(line), width) << line;
      }
    }
  }
}

TEST(Walk, TheFiveStepsAreNumberedAndTheSumIsPrinted) {
  const std::string out = render_walk({Lang::kEn, false, false, 80}, walked(9));
  for (const std::string step : {"1 project", "2 split", "3 focus", "4 merge", "5 output"}) {
    EXPECT_NE(out.find('\n' + step), std::string::npos) << step;
  }
  EXPECT_NE(out.find("sum to 1.000000"), std::string::npos) << out;
  EXPECT_NE(out.find("2.5e-07"), std::string::npos) << out;
  EXPECT_NE(out.find("[1,9,384] → [1,9,1152]"), std::string::npos) << out;
}

// Elements of a picture or a tune have other names on the screen than in JSON.
TEST(Walk, ElementsAreCalledAsTheScreenCallsThem) {
  Walked w = walked(9);
  w.role.clear();
  w.row_name = "C4 доля 1.25, бас";
  w.names[3] = "C4 1.25 Б";
  const std::string out = render_walk({Lang::kRu, false, false, 80}, w);
  EXPECT_NE(out.find("C4 доля 1.25, бас"), std::string::npos) << out;
  EXPECT_NE(out.find("   3 C4 1.25 Б  "), std::string::npos) << out;
}

// Names of keys take what score, weight and bar leave: 35 columns of 80, 27 of 72.
TEST(Walk, NamesOfKeysAreCutByTheScreen) {
  Walked w = walked(9);
  w.names[3] = "row 2009-09-01 00:00:00, a price";  // 32 columns
  const std::string whole = render_walk({Lang::kEn, false, false, 80}, w);
  EXPECT_NE(whole.find("   3 " + w.names[3] + ' '), std::string::npos) << whole;
  const std::string cut = render_walk({Lang::kEn, false, false, 72}, w);
  EXPECT_NE(cut.find("   3 row 2009-09-01 00:00:00, a… "), std::string::npos) << cut;
  std::istringstream lines(cut);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(columns(line), 72) << line;
}

TEST(Walk, LongRowsSayHowMuchTheyLeaveOut) {
  const std::string out = render_walk({Lang::kEn, false, false, 80}, walked(48));
  EXPECT_NE(out.find("24 more keys share .50 of the weight"), std::string::npos) << out;
}

TEST(Walk, JsonParses) {
  const auto json = nlohmann::json::parse(walk_json(walked(9)));
  EXPECT_EQ(json.at("x").size(), 384U);
  EXPECT_EQ(json.at("weights").size(), 9U);
  EXPECT_NEAR(json.at("reconstruction_error").get<double>(), 2.5e-7, 1e-12);
}

TEST(Walk, RowIsANumberOrAWord) {
  const Sighting s = handmade::sighting_of({"[CLS]", "Старый", "король", "7", "[SEP]"},
                                           {{handmade::offset_head(5, 0)}});
  const Screen screen;
  EXPECT_EQ(find_row(screen, s, "0"), 0);
  try {
    (void)find_row(screen, s, "99", "see");
    ADD_FAILURE() << "no row 99";
  } catch (const Error& error) {
    EXPECT_TRUE(std::string_view(error.what()).starts_with("[see] ")) << error.what();
  }
  EXPECT_EQ(find_row(screen, s, "4"), 4);
  EXPECT_EQ(find_row(screen, s, "КОРОЛЬ"), 2);
  EXPECT_EQ(find_row(screen, s, "[SEP]"), 4);
  EXPECT_EQ(find_row(screen, s, "7"), 3) << "no token 7, but a word";
  for (const std::string bad : {"5", "-1", "king", ""}) {
    EXPECT_THROW(find_row(screen, s, bad), Error) << bad;
  }
}

Label in_scene(const std::string& text, int row, int column) {
  Label label;
  label.text = text;
  label.row = row;
  label.column = column;
  return label;
}

TEST(Walk, RowIsAnyNameThatAScreenPrints) {
  Sighting s;
  const Screen screen{Lang::kRu, false, false, 80};
  s.scene.kind = Scene::Kind::kNotes;
  s.scene.names = {"soprano", "alto"};
  s.labels = {in_scene("C5 beat 3, soprano", 0, 8),
              in_scene("rest beat 3, alto", 1, 8),
              in_scene("C5 beat 3, soprano", 0, 24),
              in_scene("G3 beat 2.25, alto", 1, 21)};
  for (const std::string name :
       {"C5 bar 2 beat 3, soprano", "C5 такт 2 доля 3, сопрано", "C5 2.3 S", "c5 2.3 с"}) {
    EXPECT_EQ(find_row(screen, s, name), 2) << name;
  }
  EXPECT_EQ(find_row(screen, s, "G3 beat 2.25, alto"), 3) << "as JSON calls it";
  EXPECT_EQ(find_row(screen, s, "пауза 1.3 а"), 1);
  try {
    (void)find_row(screen, s, "C5 beat 3, soprano");
    ADD_FAILURE() << "two notes are called so";
  } catch (const Error& error) {
    EXPECT_NE(std::string_view(error.what()).find("0, 2"), std::string_view::npos) << error.what();
  }
  s.scene.kind = Scene::Kind::kTable;
  s.scene.names = {"volume"};
  s.scene.rows = {"1920", "2", "Sep-1-2009"};
  s.labels.clear();
  for (int n = 0; n < 3; ++n) s.labels.push_back(in_scene("row, column volume", n, 0));
  EXPECT_EQ(find_row(screen, s, "1920"), 0) << "no token of that number";
  EXPECT_EQ(find_row(screen, s, "row 1920"), 0);
  EXPECT_EQ(find_row(screen, s, "строка 1920"), 0);
  EXPECT_EQ(find_row(screen, s, "2"), 2) << "a number in range is a token";
  EXPECT_EQ(find_row(screen, s, "row 2"), 1);
  EXPECT_EQ(find_row(screen, s, "sep-1-2009"), 2);
  const std::string long_name = "Строка, имя которой длиннее того, что таблица от него оставляет";
  s.scene.rows[0] = kept_name(long_name);
  ASSERT_LT(s.scene.rows[0].size(), long_name.size());
  EXPECT_EQ(find_row(screen, s, long_name), 0);
  s.scene.rows[0] = "1920";
  s.scene.names = {"price", "volume"};
  s.labels.push_back(in_scene("row 1920, column volume", 0, 1));
  EXPECT_EQ(find_row(screen, s, "1920 volume"), 3);
  EXPECT_THROW(find_row(screen, s, "1920"), Error) << "two columns have it";
  EXPECT_EQ(find_row(screen, s, "строка 1920, столбец volume"), 3);
  s.scene.kind = Scene::Kind::kImage;
  s.labels = {in_scene("patch 0,0", 0, 0), in_scene("patch 3,3", 3, 3)};
  for (const std::string name : {"клетка 3,3", "3,3", "patch 3,3"})
    EXPECT_EQ(find_row(screen, s, name), 1) << name;
}

}  // namespace
}  // namespace headscope::cli
