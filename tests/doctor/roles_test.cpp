// Law 4 of heads: a planted head gets exactly its label, and no other head gets it.
#include "doctor/roles.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>

#include "doctor/prune.h"
#include "formats/scratch.h"

namespace headscope::doctor {
namespace {

const Model& council() {
  static const Model model = Model::load(std::string(HEADSCOPE_BINARY_DIR) + "/models/planted");
  return model;
}

std::vector<Tokens> read(const std::vector<std::string>& texts) {
  std::vector<Tokens> out;
  for (const std::string& text : texts) out.push_back(council().tokens(text));
  return out;
}

std::set<Measure> labels(const HeadRoles& head) {
  std::set<Measure> out;
  for (const MeasureFacts& facts : kMeasureFacts) {
    if (head.of(facts.measure).label) out.insert(facts.measure);
  }
  return out;
}

TEST(Roles, PlantedHeadsGetTheirLabelsAndNoOthers) {
  const std::vector<std::vector<std::string>> corpora = {
      {"The old king gave the young prince a sharp sword.",
       "The king saw the sword and the prince saw the king."},
      {"Старый король дал молодому принцу острый меч, и принц взял меч. Король взял меч, и принц "
       "взял меч, и король дал меч."}};
  for (const auto& corpus : corpora) {
    const auto texts = read(corpus);
    const auto found = roles(council(), texts);
    ASSERT_EQ(found.size(), 8U);
    const std::vector<std::set<Measure>> want = {{Measure::kPrevious, Measure::kPosition},
                                                 {Measure::kNext, Measure::kPosition},
                                                 {Measure::kFirst},
                                                 {Measure::kSelf, Measure::kPosition},
                                                 {Measure::kDuplicate},
                                                 {},
                                                 {},
                                                 {}};
    for (std::size_t h = 0; h < want.size(); ++h) {
      std::set<Measure> looks = labels(found[h]);
      looks.erase(Measure::kCopying);  // a council writes what it looks at
      EXPECT_EQ(looks, want[h]) << "head " << h;
    }
    EXPECT_GT(found[0].of(Measure::kPrevious).score, 0.95);
    EXPECT_EQ(found[0].offset, -1);
    EXPECT_EQ(found[1].offset, 1);
    EXPECT_GT(found[4].of(Measure::kDuplicate).score, 0.95);
    EXPECT_LT(found[4].of(Measure::kDuplicate).baseline, 0.3);
  }
}

// Two rows of one word are no habit.
TEST(Roles, LabelsNeedRows) {
  RolesOptions options;
  options.repeated = 0;
  options.circuits = false;
  const auto few = roles(council(), read({"The old king."}), options);
  EXPECT_GT(few[0].of(Measure::kPrevious).score, 0.95);
  EXPECT_LT(few[0].of(Measure::kPrevious).n, kFewRows);
  for (const HeadRoles& head : few) EXPECT_TRUE(labels(head).empty()) << head.id.name();
}

// Evenly spread weights have no favourite offset; how broad they are is no bar to pass.
TEST(Roles, BaselinesAreThereWhereTheySaySomething) {
  const auto found =
      roles(council(), read({"The king saw the sword and the prince saw the king."}));
  for (const HeadRoles& head : found) {
    for (const MeasureFacts& facts : kMeasureFacts) {
      const Score& score = head.of(facts.measure);
      if (std::isnan(score.score)) continue;
      EXPECT_EQ(!std::isnan(score.baseline), has_baseline(facts.measure)) << facts.name;
    }
  }
}

TEST(Roles, OfARowThatHasNothingToMeasureAreNone) {
  const auto texts = read({"king"});
  RolesOptions options;
  options.repeated = 0;
  const auto found = roles(council(), texts, options);
  EXPECT_TRUE(std::isnan(found[4].of(Measure::kDuplicate).score));
  EXPECT_TRUE(std::isnan(found[4].of(Measure::kInduction).score));
  EXPECT_FALSE(found[4].of(Measure::kDuplicate).label);
  EXPECT_THROW((void)roles(council(), {}), Error);
}

// Law 3: after mean-ablation the mean folds into the bias of `output`.
TEST(Prune, MeansFoldIntoTheBias) {
  const auto texts = read({"The old king gave the young prince a sharp sword."});
  const Curve curve = prune_curve(council(), texts, Instead::kMean, {.points = 2});
  const Scratch scratch;
  write_pruned(council(), curve, 4, Instead::kMean, scratch / "smaller");
  const Model smaller = Model::load((scratch / "smaller").string());
  RunOptions options;
  for (std::size_t i = 0; i < 4; ++i) {
    Edit edit;
    edit.head = curve.order[i].head;
    edit.kind = Edit::Kind::kMean;  // over the same rows as the curve's means
    options.edits.push_back(edit);
  }
  const headscope::Run want = council().run(texts[0], options);
  const headscope::Run found = smaller.run(texts[0]);
  double largest = 0.0;
  for (const float x : want.last_hidden_state.span<float>())
    largest = std::max(largest, std::abs(double{x}));
  for (std::size_t i = 0; i < want.last_hidden_state.span<float>().size(); ++i)
    ASSERT_NEAR(found.last_hidden_state.span<float>()[i],
                want.last_hidden_state.span<float>()[i],
                1e-5 * largest);
}

TEST(Roles, RepeatedTokensAreDifferentWordsTwice) {
  const Tokens twice = repeated_tokens(council(), 50, 3);
  const auto ids = twice.ids.span<std::int32_t>();
  ASSERT_EQ(ids.size(), 100U);
  EXPECT_TRUE(std::equal(ids.begin(), ids.begin() + 50, ids.begin() + 50));
  EXPECT_EQ(std::set<std::int32_t>(ids.begin(), ids.end()).size(), 50U);
  const Tokens other = repeated_tokens(council(), 50, 4);
  EXPECT_FALSE(std::equal(ids.begin(), ids.end(), other.ids.span<std::int32_t>().begin()));
  EXPECT_THROW((void)repeated_tokens(council(), 1'000'000, 3), Error);
}

}  // namespace
}  // namespace headscope::doctor
