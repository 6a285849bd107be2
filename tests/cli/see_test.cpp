#include "cli/see.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>

#include "cli/draw.h"
#include "cli/handmade.h"
#include "cli/labels.h"
#include "cli/maps.h"

namespace headscope::cli {
namespace {

using handmade::Matrix;
using handmade::offset_head;
using handmade::sighting_of;

Seen seen_of(const Sighting& sighting) {
  Seen seen;
  seen.model = sighting.model;
  seen.family = "bert";
  seen.layers = static_cast<int>(sighting.layers.size());
  seen.heads = static_cast<int>(sighting.layers.front().query_heads);
  seen.sighting = &sighting;
  seen.model_argument = "a model";
  seen.input_argument = sighting.text;
  seen.run_ms = 11.3;
  seen.looking_ms = 0.3;
  return seen;
}

Sighting sentence(const std::vector<std::string>& words, std::size_t layers, std::size_t heads) {
  std::vector<std::vector<Matrix>> all;
  for (std::size_t l = 0; l < layers; ++l) {
    std::vector<Matrix> some;
    for (std::size_t h = 0; h < heads; ++h) {
      some.push_back(offset_head(words.size(), static_cast<int>(h + l) - 3, 0.8F));
    }
    all.push_back(some);
  }
  return sighting_of(words, all);
}

const std::vector<std::string> kKing = {
    "[CLS]", "Старый", "король", "дал", "молодому", "принцу", "острый", "меч", "[SEP]"};

Role role(int head, const std::string& en, std::int64_t n) {
  return {0,
          head,
          "A",
          "square",
          en,
          "прилагательное → существительное",
          n == 0 ? "hand-made" : "UD",
          "",
          0.78,
          0.61,
          n};
}

void expect_fits(const std::string& screen, int width) {
  std::istringstream lines(screen);
  for (std::string line; std::getline(lines, line);) {
    EXPECT_LE(columns(line), width) << line;
    EXPECT_TRUE(line.empty() || line.back() != ' ') << '"' << line << '"';
  }
}

TEST(See, EveryScreenFitsItsWidth) {
  const std::vector<std::string> chinese = {"[CLS]", "我们", "在", "北京", "吃饭", "🙂", "[SEP]"};
  const std::vector<std::string> loud(70, "Antidisestablishmentarianism");
  for (const auto& words : {kKing, chinese, loud, std::vector<std::string>{"[CLS]", "[SEP]"}}) {
    for (const std::size_t heads : {1U, 12U}) {
      const Sighting s = sentence(words, 2, heads);
      for (const int width : {72, 80, 200}) {
        for (const Lang lang : {Lang::kEn, Lang::kRu}) {
          Seen seen = seen_of(s);
          seen.unknown = words;
          seen.tokens_before_cut = 600;
          const Screen screen{lang, false, false, width};
          expect_fits(render_see(screen, seen), width);
          seen.roles = {role(0, "adjective → noun", 1008)};
          seen.table = true;
          seen.changed = Changed{0.9, 0.585, "король"};
          seen.edits.resize(1);
          expect_fits(render_see(screen, seen), width);
          seen.large = {{1, 0}};
          expect_fits(render_see(screen, seen), width);
        }
      }
    }
  }
}

TEST(See, ColourAddsNoColumns) {
  const Sighting s = sentence(kKing, 1, 8);
  Seen seen = seen_of(s);
  seen.large = {{0, 2}};
  std::istringstream plain(render_see({Lang::kEn, false, false, 80}, seen));
  std::istringstream coloured(render_see({Lang::kEn, true, false, 80}, seen));
  std::string a;
  std::string b;
  while (std::getline(plain, a) && std::getline(coloured, b)) EXPECT_LE(columns(b), 80) << b;
}

TEST(See, RolesShowTheirScoreOnlyWhenTheyHaveOne) {
  const Sighting s = sentence(kKing, 1, 8);
  Seen seen = seen_of(s);
  seen.roles = {role(2, "adjective → noun", 0)};
  const Screen screen{Lang::kEn, false, false, 80};
  const Links links(s);
  const std::string handmade = render_roles(screen, seen, links);
  EXPECT_NE(handmade.find("who does what (hand-made)"), std::string::npos) << handmade;
  EXPECT_EQ(handmade.find('%'), std::string::npos) << handmade;
  EXPECT_NE(handmade.find("король→Старый .80"), std::string::npos) << handmade;
  seen.roles = {role(2, "adjective → noun", 1008)};
  const std::string scored = render_roles(screen, seen, links);
  EXPECT_NE(scored.find("78 % (baseline 61, n 1008, UD)"), std::string::npos) << scored;
}

TEST(See, ATreeTellsWhatTheSentenceShowsOfALabel) {
  const Sighting s = sentence(kKing, 1, 8);
  const auto trees = conllu::parse(
      "1\tСтарый\t_\tADJ\t_\t_\t2\tamod\t_\t_\n2\tкороль\t_\tNOUN\t_\t_\t3\tnsubj\t_\t_\n"
      "3\tдал\t_\tVERB\t_\t_\t0\troot\t_\t_\n4\tмолодому\t_\tADJ\t_\t_\t5\tamod\t_\t_\n"
      "5\tпринцу\t_\tNOUN\t_\t_\t3\tiobj\t_\t_\n6\tострый\t_\tADJ\t_\t_\t7\tamod\t_\t_\n"
      "7\tмеч\t_\tNOUN\t_\t_\t3\tobj\t_\t_\n",
      "king");
  Seen seen = seen_of(s);
  // Head 4 looks at the word behind it, head 2 at the one before.
  seen.roles = {role(4, "adjective to its noun", 90),
                role(4, "taught: object to its verb", 90),
                role(2, "verb to its subject", 90),
                role(4, "preposition to its noun", 90),
                role(4, "who knows what", 90)};
  const Screen screen{Lang::kEn, false, false, 80};
  const Links links(s);
  EXPECT_FALSE(shown_here(seen, seen.roles[0]).has_value());
  EXPECT_NE(render_roles(screen, seen, links).find("give a .conllu file"), std::string::npos);
  seen.tree = &trees.at(0);
  const std::string out = render_roles(screen, seen, links);
  EXPECT_EQ(out.find("give a .conllu file"), std::string::npos);
  EXPECT_NE(out.find("shown here 3 of 3: Старый→король, молодому→принцу, острый→меч"),
            std::string::npos)
      << out;
  EXPECT_NE(out.find("NOT shown here (0 of 1): меч→дал (looks at "), std::string::npos) << out;
  EXPECT_NE(out.find("shown here 1 of 1: дал→король"), std::string::npos) << out;
  EXPECT_NE(out.find("no such link in this sentence"), std::string::npos) << out;
  EXPECT_FALSE(shown_here(seen, seen.roles[4]).has_value());
  expect_fits(out, 80);
  expect_fits(render_see({Lang::kRu, false, false, 60}, seen), 60);
  const auto json = nlohmann::json::parse(see_json(seen, false));
  const auto& here = json.at("roles").at(0).at("here");
  ASSERT_EQ(here.size(), 3U);
  EXPECT_EQ(here[2].at("from").at("word"), 5);
  EXPECT_EQ(here[2].at("to").at("text"), "меч");
  EXPECT_EQ(here[2].at("looks_at").at("word"), 6);
  EXPECT_FALSE(json.at("roles").at(4).contains("here"));
}

TEST(See, LabelsOfOneHeadStandTogetherAndAreWrapped) {
  const Sighting s = sentence(kKing, 1, 8);
  Seen seen = seen_of(s);
  seen.roles = {role(4, "object to its verb", 90), role(2, "verb", 90), role(4, "subject", 91)};
  for (Role& one : seen.roles)
    one.source = "a treebank with a name that is long, long, long indeed";
  const Screen screen{Lang::kEn, false, false, 80};
  const std::string out = render_roles(screen, seen, Links(s));
  EXPECT_EQ(out.find("0.4"), out.rfind("0.4")) << out;
  EXPECT_LT(out.find("subject"), out.find("verb   ")) << out;
  EXPECT_NE(out.find("indeed)"), std::string::npos) << out;
  seen.large = {{0, 4}};
  const std::string large = render_see(screen, seen);
  EXPECT_NE(large.find("object to its verb: 78 %"), std::string::npos) << large;
  EXPECT_NE(large.find("subject: 78 %"), std::string::npos) << large;
  expect_fits(large, 80);
}

Label in_scene(const std::string& text, int frame, int row, int column) {
  Label label;
  label.text = text;
  label.frame = frame;
  label.row = row;
  label.column = column;
  return label;
}

TEST(See, ElementsHaveLongAndShortNamesInBothLanguages) {
  Sighting s;
  s.scene.kind = Scene::Kind::kVideo;
  const Label patch = in_scene("frame 2 patch 4,3", 2, 4, 3);
  EXPECT_EQ(full_label(Lang::kEn, s, patch), patch.text);
  EXPECT_EQ(full_label(Lang::kRu, s, patch), "кадр 2 клетка 4,3");
  EXPECT_EQ(short_label(Lang::kEn, s, patch), "f2 4,3");
  s.scene.kind = Scene::Kind::kNotes;
  s.scene.names = {"soprano", "alto", "tenor", "bass"};
  const Label note = in_scene("F#4 beat 1.25, alto", -1, 1, 17);
  EXPECT_EQ(full_label(Lang::kEn, s, note), "F#4 bar 2 beat 1.25, alto") << "17 steps of 16 a bar";
  EXPECT_EQ(full_label(Lang::kRu, s, note), "F#4 такт 2 доля 1.25, альт");
  EXPECT_EQ(short_label(Lang::kEn, s, note), "F#4 2.1.25 A");
  EXPECT_EQ(short_label(Lang::kRu, s, in_scene("rest beat 1, bass", -1, 3, 0)), "пауза 1.1 б");
  s.scene.beats_per_bar = 3;
  EXPECT_EQ(full_label(Lang::kEn, s, in_scene("C4 beat 2, bass", -1, 3, 28)),
            "C4 bar 3 beat 2, bass");
  s.scene.beats_per_bar = 4;
  s.scene.names = {"voice 1", "voice 2"};
  EXPECT_EQ(short_label(Lang::kEn, s, in_scene("C4 beat 2, voice 2", -1, 1, 4)), "C4 1.2 2");
  s.scene.kind = Scene::Kind::kTable;
  s.scene.rows = {"Sep-1-2009", "7"};
  s.scene.names = {"price"};
  const Label cell = in_scene("row Sep-1-2009, column price", -1, 0, 0);
  EXPECT_EQ(full_label(Lang::kEn, s, cell), "row Sep-1-2009") << "one column needs no name";
  EXPECT_EQ(short_label(Lang::kEn, s, cell), "Sep-1-2009");
  EXPECT_EQ(short_label(Lang::kRu, s, in_scene("", -1, 1, 0)), "строка 7");
  s.scene.rows[1] = "2009-09-01 00:00:00";
  EXPECT_EQ(short_label(Lang::kRu, s, in_scene("", -1, 1, 0)), s.scene.rows[1]) << "no date is cut";
  s.scene.rows[1] = "19970315";
  EXPECT_EQ(short_label(Lang::kRu, s, in_scene("", -1, 1, 0)), "19970315");
  s.scene.names = {"price", "count"};
  EXPECT_EQ(full_label(Lang::kRu, s, cell), "строка Sep-1-2009, столбец price");
  EXPECT_EQ(short_label(Lang::kEn, s, cell), "Sep-1-2009 price");
}

TEST(See, LinksOfNotesAreNamedInEightyColumns) {
  Sighting s = sentence({"[start]", "a", "b", "c"}, 1, 8);
  s.scene.kind = Scene::Kind::kNotes;
  s.scene.names = {"soprano"};
  for (int n = 1; n < 4; ++n) {
    const std::string text = fmt::format("D#4 beat {}.25, soprano", n);
    s.labels[static_cast<std::size_t>(n)] = in_scene(text, -1, 0, 4 * n - 3);
    s.labels[static_cast<std::size_t>(n)].word = n;
  }
  s.layers[0].options.causal = true;
  s.scene.values.assign(4, 63.0);
  Seen seen = seen_of(s);
  Role one = role(2, "what sounds together with it and more", 90);
  one.shape = "circle";
  seen.roles = {one};
  const std::string out = render_roles({Lang::kEn, false, false, 80}, seen, Links(s));
  EXPECT_NE(out.find("→"), std::string::npos) << out;
  EXPECT_NE(out.find("D#4 1.2.25 S→D#4 1.1.25 S"), std::string::npos) << out;
  EXPECT_NE(out.find("foretells the note after it"), std::string::npos) << out;
  expect_fits(out, 80);
}

// A table of one column whose rows look at the row before.
Sighting table_of(const std::vector<std::string>& rows) {
  std::vector<std::string> words = {"[start]"};
  words.insert(words.end(), rows.begin(), rows.end());
  Sighting s = sighting_of(words, {{offset_head(words.size(), -1, 0.8F)}});
  s.layers[0].options.causal = true;
  s.layers[0].column_mass =
      Tensor::zeros(DType::kF32, {1, 1, static_cast<std::int64_t>(words.size())});
  s.scene.kind = Scene::Kind::kTable;
  s.scene.names = {"price"};
  s.scene.rows = rows;
  s.scene.values.assign(words.size(), 1.0);
  for (std::size_t n = 0; n < rows.size(); ++n) {
    s.labels[n + 1] = in_scene("row " + rows[n] + ", column price", -1, static_cast<int>(n), 0);
    s.labels[n + 1].word = static_cast<std::int64_t>(n);
  }
  return s;
}

TEST(See, ChartsShowTheLargestNumbersAndNoEdgesWithoutAny) {
  Sighting s = table_of({"1990-01", "1990-02", "1990-03", "1990-04"});
  const auto chart = [&](const std::vector<double>& values) {
    std::copy(values.begin(), values.end(), s.scene.values.begin() + 1);
    Seen seen = seen_of(s);
    seen.large = {{0, 0}};
    return render_see({Lang::kEn, false, false, 80}, seen);
  };
  const auto dots = [](const std::string& text) {
    std::int64_t n = 0;
    for (std::size_t at = text.find("●"); at != text.npos; at = text.find("●", at + 1)) ++n;
    return n;
  };
  const double none = std::nan("");
  const std::string empty = chart({none, none, none, none});
  EXPECT_EQ(empty.find("inf"), std::string::npos) << empty;
  const std::string usual = chart({1.0, -1.0, 1.7, -1.7});
  const std::string largest = chart({1e308, -1e308, 1.7e308, -1.7e308});
  EXPECT_EQ(dots(usual) - dots(empty), 4) << usual;
  EXPECT_EQ(dots(largest), dots(usual)) << largest;
  const double least = std::numeric_limits<double>::denorm_min();
  const std::string small = chart({0.0, least, 0.0, least});
  EXPECT_EQ(dots(small), dots(usual)) << small;
}

TEST(See, LinksAreThoseOfTheRowAskedFor) {
  const Sighting s = table_of({"1990-01", "1990-02", "1990-03", "1990-04"});
  Seen seen = seen_of(s);
  seen.large = {{0, 0}};
  seen.row = 3;
  const std::string out = render_see({Lang::kEn, false, false, 80}, seen);
  const std::string links = out.substr(out.find("strongest links"));
  EXPECT_NE(links.find(".80"), std::string::npos) << out;
  EXPECT_NE(links.find("row 1990-03 → row 1990-02"), std::string::npos) << out;
  EXPECT_NE(links.find("row 1990-03 → [start]"), std::string::npos) << "whatever explains it";
  EXPECT_EQ(links.find("row 1990-04 →"), std::string::npos) << out;
  EXPECT_EQ(links.find("row 1990-02 →"), std::string::npos) << out;
}

TEST(See, LegendsExplainWhatIsDrawn) {
  const Sighting s = table_of({"1990-01", "1990-02", "1990-03", "1990-04"});
  Seen seen = seen_of(s);
  seen.large = {{0, 0}};
  const std::string all = render_see({Lang::kEn, false, false, 80}, seen);
  EXPECT_EQ(all.find("◆"), std::string::npos) << all;
  EXPECT_NE(all.find("denser = more"), std::string::npos) << all;
  EXPECT_NE(all.find("foretells the number after it"), std::string::npos) << all;
  seen.row = 3;
  const std::string one = render_see({Lang::kEn, true, false, 80}, seen);
  EXPECT_NE(one.find("◆ the"), std::string::npos) << one;
  EXPECT_NE(one.find("darker = more"), std::string::npos) << one;
}

TEST(See, DatesAreNotCutAndUnitsAreInTheLanguageOfTheScreen) {
  const Sighting s =
      table_of({"2009-09-01 00:00:00", "2009-10-01 00:00:00", "2009-11-01 00:00:00"});
  Seen seen = seen_of(s);
  seen.changed = Changed{0.9, 0.585, s.labels[2].text, 2};
  seen.edits.resize(1);
  const std::string out = render_see({Lang::kRu, false, false, 80}, seen);
  EXPECT_NE(out.find("2009-10-01 00:00:00→2009-09-01 00:00:00 .80"), std::string::npos) << out;
  EXPECT_NE(out.find("11 мс"), std::string::npos) << out;
  EXPECT_NE(out.find("«строка 2009-10-01"), std::string::npos) << out;
  EXPECT_EQ(out.find(" ms"), std::string::npos) << out;
  expect_fits(out, 80);
}

TEST(See, MeasuredHeadsAreRankedWithTheirRows) {
  const Sighting s = sentence(kKing, 1, 8);
  const Seen seen = seen_of(s);
  const std::string out =
      render_measured({Lang::kEn, false, false, 80}, seen, Links(s), summarise(s));
  EXPECT_NE(out.find("the token before"), std::string::npos);
  EXPECT_NE(out.find("0.2"), std::string::npos);
  EXPECT_NE(out.find("n 8"), std::string::npos) << out;
  EXPECT_NE(out.find("this text only"), std::string::npos);
  EXPECT_EQ(out.find("the same word"), std::string::npos) << "no word is repeated";
}

TEST(See, HalfBlocksHoldTwoRowsEach) {
  const Matrix head = {{1.0F, 0.0F, 0.0F}, {0.0F, 1.0F, 0.0F}, {0.0F, 0.05F, 0.95F}};
  const Sighting s = sighting_of({"a", "b", "c"}, {{head}});
  const auto lines = half_blocks({Lang::kEn, false, false, 80}, head_pixels(s, {0, 0}, 8));
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_EQ(lines[0], "▀▄ ");
  EXPECT_EQ(lines[1], "  ▀");
}

TEST(See, PoolingKeepsTheLargestWeightOfEveryBlock) {
  const Sighting s = sentence(std::vector<std::string>(50, "w"), 1, 4);
  const Pixels p = head_pixels(s, {0, 3}, 7);  // The head of offset 0: a diagonal.
  EXPECT_EQ(p.rows, 7);
  EXPECT_EQ(p.columns, 7);
  for (int i = 0; i < 7; ++i) EXPECT_NEAR(p.at(i, i), i == 0 ? 1.0F : 0.8F, 1e-5F);
  EXPECT_NEAR(p.at(2, 5), 0.0F, 1e-5F);
}

TEST(See, TheWordTableSaysWhatItHides) {
  Matrix head = offset_head(3, 0);
  head[1] = {0.99F, 0.01F, 0.0F};
  const Sighting s = sighting_of({"a", "b", "c"}, {{head}});
  const std::string out = word_table({Lang::kEn, false, false, 80}, s, {0, 0});
  EXPECT_NE(out.find(".99\n"), std::string::npos) << out;
  EXPECT_NE(out.find("hides .333 %"), std::string::npos) << out;
}

TEST(See, ArcsPointAtTheWordLookedAt) {
  const Sighting s = sighting_of({"old", "king", "gave"}, {{offset_head(3, 1)}});
  const std::string out = arcs({Lang::kEn, false, false, 80}, Links(s), {0, 0});
  EXPECT_NE(out.find("▼"), std::string::npos) << out;
  EXPECT_NE(out.find("  old  king  gave"), std::string::npos) << out;
  const Sighting back = sighting_of({"old", "king", "gave"}, {{offset_head(3, -1)}});
  EXPECT_NE(arcs({Lang::kEn, false, false, 80}, Links(back), {0, 0}).find("▲"), std::string::npos);
  const Sighting self = sighting_of({"old", "king"}, {{offset_head(2, 0)}});
  EXPECT_NE(arcs({Lang::kEn, false, false, 80}, Links(self), {0, 0}).find("no arcs"),
            std::string::npos);
}

TEST(See, JsonHoldsEveryHeadAndParses) {
  Sighting s = sentence(kKing, 2, 3);
  s.labels[1].text = "quote \" \\ \x01 \xFF";
  s.layers[0].lse.span<float>()[0] = -INFINITY;
  Seen seen = seen_of(s);
  const auto json = nlohmann::json::parse(see_json(seen, true));
  EXPECT_EQ(json.at("layers").size(), 2U);
  const auto& head = json.at("layers")[1].at("heads")[2];
  EXPECT_EQ(head.at("map").size(), kKing.size());
  EXPECT_EQ(head.at("rows").at("entropy").size(), kKing.size());
  EXPECT_NEAR(
      head.at("summary").at("self_mass").get<double>(), summarise(s)[1][2].self_mass, 1e-12);
  EXPECT_TRUE(json.at("layers")[0].at("heads")[0].at("rows").at("lse")[0].is_null());
  seen.large = {{1, 2}};
  const auto one = nlohmann::json::parse(see_json(seen, false));
  ASSERT_EQ(one.at("layers").size(), 1U);
  EXPECT_EQ(one.at("layers")[0].at("heads").size(), 1U);
}

TEST(See, NextCommandsCanBePasted) {
  EXPECT_EQ(shell_word("planted"), "planted");
  EXPECT_EQ(shell_word("a b"), "\"a b\"");
  EXPECT_EQ(shell_word("say \"$x\""), "\"say \\\"\\$x\\\"\"");
  const Sighting s = sentence(kKing, 1, 8);
  const std::string out = render_see({Lang::kEn, false, false, 120}, seen_of(s));
  EXPECT_NE(out.find("headscope see \"a model\""), std::string::npos) << out;
}

TEST(See, NextCommandsReadTheInputAsThisOneDid) {
  const Sighting s = sentence(kKing, 1, 8);
  Seen seen = seen_of(s);
  seen.input_argument = "king.bin";
  seen.input_options = " --as bytes";
  seen.walks = false;
  const Screen screen{Lang::kEn, false, false, 120};
  const std::string out = render_see(screen, seen);
  EXPECT_NE(out.find("headscope see \"a model\" king.bin --as bytes --head 0."), std::string::npos)
      << out;
  EXPECT_EQ(out.find("headscope walk"), std::string::npos) << out;
  seen.large = {{0, 1}};
  EXPECT_EQ(render_see(screen, seen).find("next:"), std::string::npos);
  seen.walks = true;
  seen.input_options = " --truncate";
  EXPECT_NE(
      render_see(screen, seen).find("headscope walk \"a model\" king.bin --truncate --layer 0"),
      std::string::npos);
}

}  // namespace
}  // namespace headscope::cli
