#include "cli/words.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <sstream>

#include "cli/screen.h"
#include "headscope/error.h"

namespace headscope::cli {
namespace {

// The placeholders of an entry in a common form: how many {} and which {N}.
std::vector<std::string> placeholders(std::string_view entry) {
  std::vector<std::string> out;
  for (std::size_t i = 0; (i = entry.find('{', i)) != std::string_view::npos; ++i) {
    out.emplace_back(entry.substr(i, entry.find('}', i) - i + 1));
  }
  std::sort(out.begin(), out.end());
  out.erase(
      std::unique(
          out.begin(), out.end(), [](const auto& a, const auto& b) { return a == b && a != "{}"; }),
      out.end());
  return out;
}

bool has_cyrillic(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte == 0xD0 || byte == 0xD1;  // that letters of U+0400 to U+047F begin with
  });
}

TEST(Words, EveryEntryIsThereInBothLanguages) {
  for (int i = 0; i < static_cast<int>(Word::kCount); ++i) {
    const auto word = static_cast<Word>(i);
    EXPECT_FALSE(text(Lang::kEn, word).empty()) << name(word);
    EXPECT_FALSE(text(Lang::kRu, word).empty()) << name(word);
    EXPECT_EQ(placeholders(text(Lang::kEn, word)), placeholders(text(Lang::kRu, word)))
        << name(word);
  }
}

TEST(Words, LongEntriesAreTranslated) {
  for (int i = 0; i < static_cast<int>(Word::kCount); ++i) {
    const auto word = static_cast<Word>(i);
    const bool formula = word == Word::kFocusFormula || word == Word::kFocusFormulaBent;
    if (text(Lang::kEn, word).size() > 12 && !formula) {
      EXPECT_TRUE(has_cyrillic(text(Lang::kRu, word))) << name(word);
      EXPECT_FALSE(has_cyrillic(text(Lang::kEn, word))) << name(word);
    }
  }
}

TEST(Words, HelpFitsEightyColumnsAndShowsAnExample) {
  for (int n = 0; n < static_cast<int>(Word::kCount); ++n) {
    const auto word = static_cast<Word>(n);
    if (!std::string_view(name(word)).starts_with("kHelp")) continue;
    for (const Lang lang : {Lang::kEn, Lang::kRu}) {
      std::istringstream lines{std::string(text(lang, word))};
      for (std::string line; std::getline(lines, line);) EXPECT_LE(columns(line), 80) << line;
      const std::string_view help = text(lang, word);
      EXPECT_TRUE(help.find("\n  headscope ") != help.npos ||
                  help.find("scalar headscope") != help.npos)
          << name(word);
    }
  }
}

TEST(Words, NumbersTakeTheRightForm) {
  EXPECT_EQ(counted(Lang::kEn, Word::kTokens, 1), "1 token");
  EXPECT_EQ(counted(Lang::kEn, Word::kTokens, 9), "9 tokens");
  EXPECT_EQ(counted(Lang::kRu, Word::kTokens, 1), "1 токен");
  EXPECT_EQ(counted(Lang::kRu, Word::kTokens, 3), "3 токена");
  EXPECT_EQ(counted(Lang::kRu, Word::kTokens, 11), "11 токенов");
  EXPECT_EQ(counted(Lang::kRu, Word::kTokens, 14), "14 токенов");
  EXPECT_EQ(counted(Lang::kRu, Word::kTokens, 21), "21 токен");
  EXPECT_EQ(counted(Lang::kRu, Word::kTokens, 512), "512 токенов");
}

TEST(Words, TheFirstVariableThatIsSetChoosesTheLanguage) {
  for (const char* variable : {"HEADSCOPE_LANG", "LC_ALL", "LC_MESSAGES", "LANG"})
    unsetenv(variable);
  EXPECT_EQ(choose_language(""), Lang::kEn);
  setenv("LANG", "ru_RU.UTF-8", 1);
  EXPECT_EQ(choose_language(""), Lang::kRu);
  setenv("LC_ALL", "C.UTF-8", 1);
  EXPECT_EQ(choose_language(""), Lang::kEn);
  setenv("HEADSCOPE_LANG", "ru", 1);
  EXPECT_EQ(choose_language(""), Lang::kRu);
  EXPECT_EQ(choose_language("en"), Lang::kEn);
  EXPECT_THROW(choose_language("de"), Error);
}

}  // namespace
}  // namespace headscope::cli
