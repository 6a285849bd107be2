#include "cli/screen.h"

#include <gtest/gtest.h>

namespace headscope::cli {
namespace {

TEST(Screen, ColumnsCountWhatATerminalShows) {
  EXPECT_EQ(columns("king"), 4);
  EXPECT_EQ(columns("король"), 6);
  EXPECT_EQ(columns("北京"), 4);
  EXPECT_EQ(columns("e\u0301"), 1);  // A combining accent takes none.
  EXPECT_EQ(columns("\x1b[1mking\x1b[0m"), 4);
  EXPECT_EQ(columns(""), 0);
}

TEST(Screen, CleanLeavesNothingThatSteersATerminal) {
  EXPECT_EQ(clean("a\x1b[31mb"), "a[31mb");
  EXPECT_EQ(clean(" a \n\t b\r\n"), "a b");
  EXPECT_EQ(clean("a\u202Eb"), "ab");
  EXPECT_EQ(clean("a\xFF"), "a\uFFFD");
}

TEST(Screen, ClipNeverExceedsItsWidth) {
  for (const std::string text : {"the young prince", "молодому принцу", "我们在北京吃饭", "x"}) {
    for (int width = 0; width < 20; ++width) EXPECT_LE(columns(clip(text, width)), width) << text;
  }
  EXPECT_EQ(clip("sword", 5), "sword");
  EXPECT_EQ(clip("swords", 5), "swor…");
}

TEST(Screen, SharesTakeThreeColumns) {
  EXPECT_EQ(share(0.814), ".81");
  EXPECT_EQ(share(0.9999), "1.0");
  EXPECT_EQ(share(0.994), ".99");
  EXPECT_EQ(share(0.995), "1.0");
  EXPECT_EQ(share(0.001), ".00");
  EXPECT_EQ(share(-1e-9), ".00");
}

TEST(Screen, FiguresHaveThreeDigits) {
  EXPECT_EQ(figure(0.123456), ".123");
  EXPECT_EQ(figure(-0.123456), "-.123");
  EXPECT_EQ(figure(12.3456), "12.3");
  EXPECT_EQ(figure(0.0), "0");
  EXPECT_EQ(figure(-1.234e-6), "-1.2e-6");
  EXPECT_EQ(figure(1234.5), "1234");
  EXPECT_EQ(figure(3.4e38), "3.4e38");
  EXPECT_EQ(figure(123456.0), "1.2e5");
}

TEST(Screen, TimesAreInTheLanguageOfTheScreen) {
  EXPECT_EQ(milliseconds(Lang::kEn, 0.314), "0.31 ms");
  EXPECT_EQ(milliseconds(Lang::kEn, 11.3), "11 ms");
  EXPECT_EQ(milliseconds(Lang::kEn, 1400.0), "1.4 s");
  EXPECT_EQ(milliseconds(Lang::kRu, 11.3), "11 мс");
  EXPECT_EQ(milliseconds(Lang::kRu, 1400.0), "1.4 с");
  EXPECT_EQ(duration(Lang::kEn, 59.9), "59 s");
  EXPECT_EQ(duration(Lang::kEn, 3599.0), "59:59 min");
  EXPECT_EQ(duration(Lang::kRu, 185.0), "3:05 мин");
  EXPECT_EQ(duration(Lang::kRu, 4800.0), "1:20 ч");
}

TEST(Screen, BarsGrowWithTheirPart) {
  EXPECT_EQ(bar(0.0, 4), "    ");
  EXPECT_EQ(bar(1.0, 4), "████");
  EXPECT_EQ(bar(0.5, 4), "██  ");
  EXPECT_EQ(bar(1.0 / 32, 4), "▏   ");
  EXPECT_EQ(columns(bar(7.0, 4)), 4);
}

TEST(Screen, WrapKeepsToItsWidth) {
  const std::string text = "each word of a long remark goes where it still fits on the line";
  std::string lines = "  " + wrap(text, 20, 2) + '\n';
  std::size_t begin = 0;
  std::size_t count = 0;
  for (std::size_t end; (end = lines.find('\n', begin)) != std::string::npos; begin = end + 1) {
    EXPECT_LE(columns(lines.substr(begin, end - begin)), 20);
    ++count;
  }
  EXPECT_GE(count, 4U);
}

TEST(Screen, WithoutColourNothingIsPainted) {
  const Screen plain{Lang::kEn, false, false, 80};
  EXPECT_EQ(paint(plain, Paint::kBad, "x"), "x");
  EXPECT_EQ(shade(plain, 0.5, "x"), "x");
  const Screen coloured{Lang::kEn, true, false, 80};
  EXPECT_NE(paint(coloured, Paint::kBad, "x"), "x");
  EXPECT_EQ(columns(shade(coloured, 0.5, ".50")), 3);
}

TEST(Screen, RampGetsDarkerWithWeight) {
  EXPECT_EQ(ramp(0.0), 231);
  EXPECT_EQ(ramp(1.0), 17);
  EXPECT_NE(ramp(0.1), ramp(0.0));
}

}  // namespace
}  // namespace headscope::cli
