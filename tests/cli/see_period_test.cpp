#include "cli/see_period.h"

#include <gtest/gtest.h>

#include <limits>

#include "handmade.h"

namespace headscope::cli {
namespace {

using handmade::Matrix;

constexpr std::int64_t kPeriod = 6;

// A head of which row i looks at key of(i), or at itself where that is none.
template <typename Key>
Matrix looking(std::int64_t tokens, Key of) {
  const auto n = static_cast<std::size_t>(tokens);
  Matrix out(n, std::vector<float>(n, 0.0F));
  for (std::int64_t i = 0; i < tokens; ++i) {
    const std::int64_t key = of(i) < 0 ? i : of(i);
    out[static_cast<std::size_t>(i)][static_cast<std::size_t>(key)] = 1.0F;
  }
  return out;
}

// A table of `across` columns, of which the first comes back every six; head 0 looks at what stood one
// period before the number that a row foretells, head 1 at the row before, head 2 at itself.
Sighting table(std::int64_t across, bool periodic = true, std::int64_t rows = 24) {
  const std::int64_t tokens = 1 + rows * across;
  Sighting s;
  s.scene.kind = Scene::Kind::kTable;
  s.scene.values.push_back(std::numeric_limits<double>::quiet_NaN());
  for (std::int64_t c = 0; c < across; ++c) s.scene.names.push_back("c" + std::to_string(c));
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t c = 0; c < across; ++c)
      s.scene.values.push_back(static_cast<double>(periodic && c == 0 ? row % kPeriod : row));
  }
  s.layers.push_back(handmade::record_of(
      {looking(tokens, [&](std::int64_t i) { return i + 1 - kPeriod * across; }),
       looking(tokens, [&](std::int64_t i) { return i - across; }),
       looking(tokens, [](std::int64_t i) { return i; })}));
  return s;
}

Role role(int head, Word word) {
  Role out;
  out.head = head;
  out.en = text(Lang::kEn, word);
  return out;
}

TEST(SeePeriod, CountsTheRowsThatLookOnePeriodBack) {
  const auto here = rows_here(table(1), role(0, Word::kSeqPeriod));
  ASSERT_TRUE(here);
  EXPECT_EQ(here->period, kPeriod);
  EXPECT_EQ(here->rows, 24 - kPeriod + 1);
  EXPECT_EQ(here->hits, here->rows);
  EXPECT_EQ(say_rows_here(Lang::kEn, *here), "shown here in 19 of 19 rows (period in rows: 6)");
  EXPECT_EQ(say_rows_here(Lang::kRu, *here), "здесь видно в 19 из 19 строк (период в строках: 6)");
}

TEST(SeePeriod, OneRowLessIsNoPeriod) {
  const auto here = rows_here(table(1), role(0, Word::kSeqPhase));
  ASSERT_TRUE(here);
  EXPECT_EQ(here->rows, 24 - kPeriod);
  EXPECT_EQ(here->hits, 0);
  EXPECT_EQ(say_rows_here(Lang::kEn, *here), "NOT shown here (0 of 18 rows) (period in rows: 6)");
}

// A label of one column says nothing about numbers that stand between two of another.
TEST(SeePeriod, TablesOfSeveralColumnsAndOfOneRowAreNotAsked) {
  EXPECT_FALSE(rows_here(table(2), role(0, Word::kSeqPeriod)));
  EXPECT_FALSE(rows_here(table(2), role(1, Word::kSeqPrevious)));
  EXPECT_FALSE(rows_here(table(1, true, 1), role(1, Word::kSeqPrevious)));
}

TEST(SeePeriod, WithoutAPeriodTheLabelSaysNothing) {
  const auto here = rows_here(table(1, false), role(0, Word::kSeqPeriod));
  ASSERT_TRUE(here);
  EXPECT_EQ(here->rows, 0);
  EXPECT_NE(say_rows_here(Lang::kEn, *here).find("no period"), std::string::npos);
  const auto before = rows_here(table(1, false), role(1, Word::kSeqPrevious));
  EXPECT_EQ(say_rows_here(Lang::kEn, *before), "shown here in 23 of 23 rows");
}

TEST(SeePeriod, OtherLabelsAndInputsAreNotAsked) {
  EXPECT_FALSE(rows_here(table(1), role(0, Word::kSeqVoice)));
  Sighting text = table(1);
  text.scene.kind = Scene::Kind::kText;
  EXPECT_FALSE(rows_here(text, role(0, Word::kSeqPeriod)));
  EXPECT_FALSE(rows_here(table(1), role(7, Word::kSeqPeriod)));
}

}  // namespace
}  // namespace headscope::cli
