// Heads that were planted are found by where they point in tunes and tables, and no other head is.
#include "doctor/sequence_roles.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "headscope/error.h"

namespace headscope::doctor {
namespace {

// Head 0 of the council looks at the token before, head 1 at the one behind, head 4 at the same word elsewhere.
const Model& council() {
  static const Model model = Model::load(std::string(HEADSCOPE_BINARY_DIR) + "/models/planted");
  return model;
}

// [CLS], then `period` different words, said `times` times.
std::vector<std::int32_t> words(std::size_t period, int times) {
  const Tokens all = council().tokens(
      "The old king gave the young prince a sharp sword and he saw his white horse with water");
  std::vector<std::int32_t> different;
  const auto ids = all.ids.span<std::int32_t>();
  const std::int32_t unknown = council().tokenizer().unknown_id();
  for (std::size_t i = 1; i + 1 < ids.size(); ++i) {
    if (ids[i] != unknown && std::ranges::find(different, ids[i]) == different.end())
      different.push_back(ids[i]);
  }
  EXPECT_GE(different.size(), period);
  std::vector<std::int32_t> out{ids[0]};
  for (int n = 0; n < times; ++n)
    out.insert(
        out.end(), different.begin(), different.begin() + static_cast<std::ptrdiff_t>(period));
  return out;
}

const Pointing& find(const std::vector<Pointing>& all, std::string_view name) {
  const auto found = std::ranges::find(all, name, &Pointing::name);
  EXPECT_NE(found, all.end()) << name;
  return *found;
}

TEST(TablePointings, PlantedHeadsPointWhereTheyDo) {
  const std::vector<std::vector<std::int32_t>> columns(10, words(11, 2));
  const std::vector<Pointing> found = table_pointings(council(), columns, 11);
  const Pointing& previous = find(found, "previous");
  EXPECT_EQ(previous.n, 10 * 21);  // all rows but the first
  EXPECT_GT(previous.accuracy[0], 0.99);
  EXPECT_TRUE(previous.stands_out(0));
  EXPECT_FALSE(previous.stands_out(4));
  const Pointing& phase = find(found, "phase");
  EXPECT_EQ(phase.n, 10 * 11);
  EXPECT_GT(phase.accuracy[4], 0.99);
  EXPECT_TRUE(phase.stands_out(4));
  EXPECT_FALSE(phase.stands_out(0));
  EXPECT_NEAR(phase.baseline, 0.06, 0.02);  // one of about 17 keys
  EXPECT_EQ(find(found, "period").n, 10 * 12);
  EXPECT_LT(find(found, "period").accuracy[4], 0.2);
}

TEST(TunePointings, VoicesStepsAndBarsAreCountedInTokens) {
  NoteCode code;
  code.voices = {"high", "low"};
  code.steps_per_beat = 2;
  code.first = 0;
  code.rest = -1;
  // With two voices the token before is the voice that comes next, a step ago.
  const std::vector<std::vector<std::int32_t>> tunes(6, words(12, 2));
  std::vector<Pointing> found = tune_pointings(council(), code, tunes, 3);
  EXPECT_GT(find(found, "step").accuracy[0], 0.99);
  EXPECT_GT(find(found, "voice").accuracy[0], 0.99);
  EXPECT_TRUE(find(found, "step").stands_out(0));
  EXPECT_LT(find(found, "bar").accuracy[0], 0.01);
  // Bars of three beats of four tokens: the same word stands a bar before the row itself, not before what follows.
  EXPECT_EQ(find(found, "bar").n, 6 * 13);
  EXPECT_LT(find(found, "bar").accuracy[4], 0.2);
  // The same word is a unison, but with 12 tokens in the same voice, which does not count.
  EXPECT_LT(find(found, "octave").accuracy[4], 0.5);
  code.voices = {"high", "middle", "low", "deep", "deepest"};
  found = tune_pointings(council(), code, tunes, 3);
  // Words of the first half have no second one, and may lie an octave from others by chance.
  EXPECT_GT(find(found, "octave").accuracy[4], 0.6);
  EXPECT_THROW((void)tune_pointings(council(), code, {}, 3), Error);
}

TEST(MovingPointings, AreForModelsOfVideos) {
  EXPECT_THROW((void)moving_pointings(council(), {}, 1, 1), Error);
}

}  // namespace
}  // namespace headscope::doctor
