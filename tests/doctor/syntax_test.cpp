// The planted council is the oracle: its heads do what they were made for, so their scores are known.
#include "doctor/syntax.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "headscope/error.h"
#include "headscope/model.h"
#include "headscope/threads.h"

namespace headscope::doctor {
namespace {

const Model& council() {
  static const Model model = Model::load(std::string(HEADSCOPE_BINARY_DIR) + "/models/planted");
  return model;
}

std::string word(int id, const std::string& form, int head, const std::string& relation) {
  return std::to_string(id) + '\t' + form + "\t_\t_\t_\t_\t" + std::to_string(head) + '\t' +
         relation + "\t_\t_\n";
}

/// «Старый король дал молодому принцу острый меч», and one whose adjective does not stand before its noun.
std::vector<conllu::Sentence> king() {
  std::string text = word(1, "Старый", 2, "amod") + word(2, "король", 3, "nsubj") +
                     word(3, "дал", 0, "root") + word(4, "молодому", 5, "amod") +
                     word(5, "принцу", 3, "iobj") + word(6, "острый", 7, "amod") +
                     word(7, "меч", 3, "obj") + '\n';
  text += word(1, "Старый", 3, "amod") + word(2, "и", 1, "cc") +
          word(3, "король", 4, "nsubj:pass") + word(4, "дал", 0, "root") + '\n';
  return conllu::parse(text, "king");
}

constexpr int kPrevious = 0;
constexpr int kNext = 1;
constexpr int kAction = 5;
constexpr int kAdjective = 6;
constexpr int kWhoWhom = 7;

TEST(Syntax, PlantedHeadsGetTheScoresTheyWereMadeFor) {
  const Syntax found = syntax(council(), king());
  EXPECT_EQ(found.sentences, 2);
  EXPECT_EQ(found.unaligned, 0);
  const Edges& amod = *found.find("amod", Looks::kAtHead);
  EXPECT_EQ(amod.n, 4);
  EXPECT_EQ(amod.offset, 1);
  EXPECT_EQ(amod.n_at_offset, 3);
  EXPECT_DOUBLE_EQ(amod.baseline(), 0.75);
  EXPECT_DOUBLE_EQ(amod.accuracy(found.place(0, kAdjective)), 1.0);
  EXPECT_DOUBLE_EQ(amod.accuracy_off_offset(found.place(0, kAdjective)), 1.0);
  // A head of position scores what the baseline does, and nothing elsewhere.
  EXPECT_DOUBLE_EQ(amod.accuracy(found.place(0, kNext)), 0.75);
  EXPECT_DOUBLE_EQ(amod.accuracy_off_offset(found.place(0, kNext)), 0.0);
  EXPECT_DOUBLE_EQ(amod.accuracy(found.place(0, kPrevious)), 0.0);
  EXPECT_EQ(amod.best(), found.place(0, kAdjective));
  EXPECT_EQ(amod.best_off_offset(), found.place(0, kAdjective));
  const Edges& back = *found.find("amod", Looks::kAtDependent);
  EXPECT_EQ(back.offset, -1);
  EXPECT_DOUBLE_EQ(back.accuracy(found.place(0, kPrevious)), 0.75);
  for (const char* relation : {"nsubj", "obj", "iobj"}) {
    EXPECT_DOUBLE_EQ(found.find(relation, Looks::kAtHead)->accuracy(found.place(0, kAction)), 1.0)
        << relation;
  }
  EXPECT_EQ(found.find("nsubj", Looks::kAtHead)->n, 2);  // nsubj:pass counts, too
  EXPECT_EQ(found.find("det", Looks::kAtHead)->n, 0);
  EXPECT_DOUBLE_EQ(found.find("det", Looks::kAtHead)->baseline(), 0.0);
  // Two dependents of one verb: who gives, and who receives.
  const Edges& whom = *found.find("nsubj>iobj", Looks::kAtHead);
  EXPECT_EQ(whom.n, 1);
  EXPECT_EQ(whom.offset, 3);
  EXPECT_DOUBLE_EQ(whom.accuracy(found.place(0, kWhoWhom)), 1.0);
  EXPECT_DOUBLE_EQ(
      found.find("nsubj>iobj", Looks::kAtDependent)->accuracy(found.place(0, kWhoWhom)), 1.0);
  EXPECT_EQ(found.find("xcomp", Looks::kAtHead), nullptr);
  EXPECT_THROW((void)found.place(1, 0), Error);
}

TEST(Syntax, HeadsAreNamedByWhatIsFarAboveTheBaseline) {
  std::vector<conllu::Sentence> many;
  for (int i = 0; i < 60; ++i) {
    for (conllu::Sentence& sentence : king()) many.push_back(std::move(sentence));
  }
  const std::vector<Role> roles = syntax_roles(syntax(council(), many), "UD king");
  const auto named = [&](const std::string& en) {
    return std::find_if(
        roles.begin(), roles.end(), [&](const Role& role) { return role.en == en; });
  };
  const auto adjective = named("adjective to its noun");
  ASSERT_NE(adjective, roles.end());
  EXPECT_EQ(adjective->head, kAdjective);
  EXPECT_EQ(adjective->n, 240);
  EXPECT_DOUBLE_EQ(adjective->score, 1.0);
  EXPECT_DOUBLE_EQ(adjective->baseline, 0.75);
  EXPECT_EQ(adjective->source, "UD king");
  // All of these lie at one distance: no head can be above that.
  EXPECT_EQ(named("who to whom"), roles.end());
  EXPECT_TRUE(syntax_roles(syntax(council(), king()), "few").empty());
}

TEST(Syntax, ARoleIsTenPointsAboveThePlaceOrHalfOfWhatLiesElsewhere) {
  Syntax found;
  found.heads = {2};
  Edges edges;
  edges.relation = "amod";
  edges.n = 1000;
  edges.offset = 1;
  edges.n_at_offset = 850;
  const auto names = [&](std::int64_t hits, std::int64_t off) {
    edges.hits = {0, hits};
    edges.hits_off_offset = {0, off};
    found.edges = {edges};
    return syntax_roles(found, "trees").size();
  };
  EXPECT_EQ(names(950, 10), 1U);  // ten points above
  EXPECT_EQ(names(949, 74), 0U);
  EXPECT_EQ(names(860, 75), 1U);  // half of the 150 that lie elsewhere
  EXPECT_EQ(names(849, 75), 0U);  // but fewer than by place
  edges.n_at_offset = 951;
  EXPECT_EQ(names(960, 49), 0U);  // too few lie elsewhere
}

TEST(Syntax, IsTheSameForAnyNumberOfThreads) {
  const int before = threads();
  set_threads(1);
  const Syntax one = syntax(council(), king());
  set_threads(3);
  const Syntax three = syntax(council(), king());
  set_threads(before);
  for (std::size_t e = 0; e < one.edges.size(); ++e) {
    EXPECT_EQ(one.edges[e].hits, three.edges[e].hits);
    EXPECT_EQ(one.edges[e].hits_off_offset, three.edges[e].hits_off_offset);
  }
}

TEST(Syntax, LongSentencesAreCountedAsSkipped) {
  SyntaxOptions options;
  options.longest = 7;
  options.relations = {"nsubj:pass"};
  const Syntax found = syntax(council(), king(), options);
  EXPECT_EQ(found.sentences, 1);
  EXPECT_EQ(found.skipped, 1);
  EXPECT_EQ(found.edges[0].n, 1);
  EXPECT_THROW((void)syntax(council(), {}), Error);
}

TEST(StrongestWords, PiecesAreOneWordAndItsOwnColumnIsLeftOut) {
  // Tokens: special, a1, a2, b, c. Columns of a word add up, rows are taken together.
  const std::vector<float> map{1.0F, 0,    0,    0,    0,     //
                               0.5F, 0.1F, 0.1F, 0.1F, 0.2F,  //
                               0.4F, 0.2F, 0.1F, 0.3F, 0.0F,  //
                               0.1F, 0.2F, 0.2F, 0.3F, 0.2F,  //
                               0.9F, 0.0F, 0.0F, 0.0F, 0.1F};
  const std::vector<std::int32_t> words{-1, 0, 0, 1, 2};
  const View<const float, 2> view(map.data(), {5, 5});
  EXPECT_EQ(strongest_words(view, words, 3), (std::vector<std::int32_t>{1, 0, -1}));
}

TEST(Align, TokensBelongToTheFirstWordTheyOverlap) {
  const auto sentence =
      conllu::parse(word(1, "do", 0, "root").insert(0, "1-2\tdon't\t_\t_\t_\t_\t_\t_\t_\t_\n") +
                        word(2, "n't", 1, "advmod"),
                    "t");
  const std::vector<Label> labels{{"[CLS]", 0, 0, -1, true},
                                  {"don", 0, 3, 0, false},
                                  {"'", 3, 4, 1, false},
                                  {"t", 4, 5, 2, false},
                                  {"[SEP]", 0, 0, -1, true}};
  EXPECT_EQ(align(sentence.at(0), labels), (std::vector<std::int32_t>{-1, 0, 1, 1, -1}));
}

}  // namespace
}  // namespace headscope::doctor
