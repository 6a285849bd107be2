#include "cli/measures.h"

#include <gtest/gtest.h>

#include "cli/handmade.h"

namespace headscope::cli {
namespace {

using handmade::offset_head;
using handmade::sighting_of;

const std::vector<std::string> kSentence = {"[CLS]", "the", "cat", "saw", "the", "dog", "[SEP]"};

Sighting two_heads() {
  return sighting_of(kSentence, {{offset_head(7, -1), offset_head(7, 1, 0.75F)}});
}

TEST(Measures, SummariesOfOffsetHeads) {
  const Sighting s = two_heads();
  const auto summaries = summarise(s);
  ASSERT_EQ(summaries.size(), 1U);
  ASSERT_EQ(summaries[0].size(), 2U);
  const Summary& previous = summaries[0][0];
  EXPECT_NEAR(previous.previous_mass, 1.0, 1e-6);
  EXPECT_NEAR(previous.confidence, 1.0, 1e-6);
  EXPECT_NEAR(previous.entropy, 0.0, 1e-6);
  EXPECT_NEAR(previous.self_mass, 1.0 / 7, 1e-6);
  EXPECT_NEAR(previous.first_mass, 1.0 / 6, 1e-6);
  EXPECT_NEAR(previous.distance_mean, 6.0 / 7, 1e-6);
  EXPECT_NEAR(previous.distance_var, 6.0 / 7 - 36.0 / 49, 1e-6);
  EXPECT_NEAR(previous.distance_var_within, 0.0, 1e-6);
  EXPECT_NEAR(previous.next_mass, 0.0, 1e-6);
  const Summary& next = summaries[0][1];
  EXPECT_NEAR(next.next_mass, 0.75, 1e-6);
  EXPECT_NEAR(next.last_mass, 0.75 / 7, 1e-6);
  EXPECT_FALSE(next.entropy_normalised.has_value());
}

TEST(Measures, SameWordCountsOnlyRepeatedWords) {
  auto head = offset_head(7, 0);
  head[1] = {0.0F, 0.25F, 0.0F, 0.0F, 0.75F, 0.0F, 0.0F};
  head[4] = {0.0F, 0.5F, 0.0F, 0.0F, 0.5F, 0.0F, 0.0F};
  const Sighting s = sighting_of(kSentence, {{head}});
  const Summary summary = summarise(s)[0][0];
  EXPECT_EQ(summary.same_rows, 2);
  EXPECT_NEAR(summary.same_mass, (0.75 + 0.5) / 2, 1e-6);
  EXPECT_EQ(folded("Король"), folded("король"));
}

TEST(Measures, LinksAreOrderedAndLeaveOutSpecialTokensAndTheWordItself) {
  const Sighting s = two_heads();
  const Links links(s);
  const auto next = links.strongest({0, 1}, 10);
  ASSERT_EQ(next.size(), 4U);  // "dog" gives its most to [SEP].
  for (std::size_t i = 0; i < next.size(); ++i) {
    EXPECT_EQ(next[i].to, next[i].from + 1);
    EXPECT_NEAR(next[i].weight, 0.75, 1e-6);
  }
  EXPECT_EQ(links.strongest({0, 1}, 2).size(), 2U);
  EXPECT_TRUE(links.surprising(5).empty());
}

TEST(Measures, ATargetThatTakesMostOfTheWeightIsShownEvenWhenSpecial) {
  const Sighting s = sighting_of(kSentence, {{offset_head(7, -100)}});
  const Links links(s);
  const auto found = links.strongest({0, 0}, 3);
  ASSERT_EQ(found.size(), 3U);
  EXPECT_EQ(links.words()[found[0].to].text, "[CLS]");
  EXPECT_TRUE(links.between_words({0, 0}, 3).empty());
}

TEST(Measures, LinksOfARowAreAllThatItHas) {
  const Sighting s = two_heads();
  const Links links(s);
  const auto found = links.of_row(s, {0, 1}, 5, 10);
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(links.words()[found[0].to].text, "[SEP]");
  EXPECT_NEAR(found[0].weight, 0.75, 1e-6);
  EXPECT_EQ(links.words()[found[1].to].text, "[CLS]");
  for (const Link& link : found) EXPECT_EQ(link.from, 5U);
  EXPECT_EQ(links.of_row(s, {0, 1}, 5, 1).size(), 1U);
  EXPECT_THROW((void)links.of_row(s, {0, 1}, 7, 1), std::out_of_range);
}

TEST(Measures, TheFirstRowOfACausalHeadIsNoLink) {
  Sighting s = sighting_of({"a", "b", "c"}, {{offset_head(3, 0)}});
  EXPECT_EQ(Links(s).strongest({0, 0}, 8).size(), 3U);
  s.layers[0].options.causal = true;
  const Links links(s);
  for (const Link& link : links.of({0, 0})) EXPECT_NE(link.from, 0U);
  EXPECT_EQ(links.strongest({0, 0}, 8).size(), 2U);
}

TEST(Measures, SurprisingLinksAreTwoWordsApartAndOneAPair) {
  auto head = offset_head(7, -1);
  head[2] = {0.0F, 0.0F, 0.0F, 0.0F, 0.0F, 1.0F, 0.0F};  // cat -> dog
  head[1] = {0.0F, 0.0F, 0.0F, 0.0F, 1.0F, 0.0F, 0.0F};  // the -> the: the same word
  const Sighting s = sighting_of(kSentence, {{head, head}, {head}});
  const auto found = Links(s).surprising(5);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].from, 2U);
  EXPECT_EQ(found[0].to, 5U);
  EXPECT_EQ(Links(s).surprising(5, 1)[0].head.layer, 1);
}

TEST(Measures, WordWeightIsMeanOverAskingAndSumOverAskedPieces) {
  Sighting s =
      sighting_of({"[CLS]", "moon", "##light", "dog", "[SEP]"}, {{offset_head(5, 1, 0.5F)}});
  s.labels[2].word = s.labels[1].word;
  const auto words = s.words();
  ASSERT_EQ(words.size(), 4U);
  const FocusRecord& r = s.layers[0];
  // moon -> light .5, light -> dog .5: "moonlight" gives itself .25 and the dog .25.
  EXPECT_NEAR(word_weight(r, 0, words[1], words[1]), 0.25, 1e-6);
  EXPECT_NEAR(word_weight(r, 0, words[1], words[2]), 0.25, 1e-6);
  EXPECT_NEAR(word_weight(r, 0, words[1], words[0]), 0.5, 1e-6);
}

}  // namespace
}  // namespace headscope::cli
