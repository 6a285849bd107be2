// What a normalised text says about where each of its characters came from.
#include "tokenizers/normalizer.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "tokenizers/pre_tokenizer.h"
#include "tokenizers/unicode.h"

namespace headscope::tokenizers {
namespace {

using Ranges = std::vector<Origin>;

AlignedText normalized(const char* json, const std::string& text) {
  AlignedText out = decode(text);
  make_normalizer(json::Value::parse(json), "test")->apply(out);
  EXPECT_EQ(out.chars.size(), out.from.size());
  return out;
}

std::string text_of(const char* json, const std::string& text) {
  return to_utf8(normalized(json, text).chars);
}

constexpr const char* kUncased = R"({"type":"BertNormalizer","clean_text":true,
  "handle_chinese_chars":true,"strip_accents":null,"lowercase":true})";
constexpr const char* kCased = R"({"type":"BertNormalizer","clean_text":true,
  "handle_chinese_chars":true,"strip_accents":null,"lowercase":false})";
constexpr const char* kAccented = R"({"type":"BertNormalizer","clean_text":true,
  "handle_chinese_chars":true,"strip_accents":false,"lowercase":true})";

TEST(Normalizer, NfdPointsAllPartsAtTheWhole) {
  const AlignedText got = normalized(R"({"type":"NFD"})", "\xC3\xA9x");
  EXPECT_EQ(to_utf8(got.chars), "e\xCC\x81x");
  EXPECT_EQ(got.from, (Ranges{{0, 2}, {0, 2}, {2, 3}}));
}

TEST(Normalizer, NfcPointsTheWholeAtItsFirstPart) {
  const AlignedText got = normalized(R"({"type":"NFC"})", "e\xCC\x81x");
  EXPECT_EQ(to_utf8(got.chars), "\xC3\xA9x");
  EXPECT_EQ(got.from, (Ranges{{0, 1}, {3, 4}}));
}

TEST(Normalizer, MarksThatChangePlacesKeepOffsetsInOrder) {
  // dot above (class 230) before dot below (220): the order turns, the offsets do not
  const AlignedText got = normalized(R"({"type":"NFD"})", "q\xCC\x87\xCC\xA3");
  EXPECT_EQ(to_utf8(got.chars), "q\xCC\xA3\xCC\x87");
  EXPECT_EQ(got.from, (Ranges{{0, 1}, {1, 3}, {3, 5}}));
}

TEST(Normalizer, HangulDecomposesAndComposes) {
  EXPECT_EQ(text_of(R"({"type":"NFD"})", "각"), "\xE1\x84\x80\xE1\x85\xA1\xE1\x86\xA8");
  EXPECT_EQ(text_of(R"({"type":"NFC"})", "\xE1\x84\x80\xE1\x85\xA1\xE1\x86\xA8"), "각");
  EXPECT_EQ(text_of(R"({"type":"NFKC"})", "ﬁ①½"),
            "fi11\xE2\x81\x84"
            "2");
}

TEST(Normalizer, CharactersYoungerThanTheTablesStayWhole) {
  // U+11938 (Unicode 13) has a decomposition that the published tables do not know
  EXPECT_EQ(text_of(R"({"type":"NFD"})", "\xF0\x91\xA4\xB8"), "\xF0\x91\xA4\xB8");
}

TEST(Normalizer, CapitalIWithDotBecomesTwoLettersOfOneOrigin) {
  const AlignedText got = normalized(R"({"type":"Lowercase"})", "\xC4\xB0Z");
  EXPECT_EQ(to_utf8(got.chars), "i\xCC\x87z");
  EXPECT_EQ(got.from, (Ranges{{0, 2}, {0, 2}, {2, 3}}));
  EXPECT_EQ(text_of(kUncased, "\xC4\xB0Z"), "iz");
  EXPECT_EQ(text_of(kAccented, "\xC4\xB0Z"), "i\xCC\x87z");
}

TEST(Normalizer, AccentsFollowLowercaseWhenNotSaid) {
  EXPECT_EQ(text_of(kUncased, "É"), "e");
  EXPECT_EQ(text_of(kCased, "É"), "É");
  EXPECT_EQ(text_of(kAccented, "É"), "é");
}

TEST(Normalizer, CleaningDropsControlsAndMakesSpaces) {
  EXPECT_EQ(text_of(kCased, std::string("a\0b\x01\t\n", 6) + "\xEF\xBF\xBD\xE2\x80\x8D\xC2\xA0z"),
            "ab   z");
}

TEST(Normalizer, IdeographsStandBetweenSpacesOfTheirOwnOrigin) {
  const AlignedText got = normalized(kCased, "a中ひ");
  EXPECT_EQ(to_utf8(got.chars), "a 中 ひ");
  EXPECT_EQ(got.from, (Ranges{{0, 1}, {1, 4}, {1, 4}, {1, 4}, {4, 7}}));
}

TEST(Normalizer, StripAccentsTakesMarksOnly) {
  EXPECT_EQ(text_of(R"({"type":"StripAccents"})", "e\xCC\x81\xC3\xA9"), "e\xC3\xA9");
}

TEST(Normalizer, StripTakesTheSidesItIsToldTo) {
  EXPECT_EQ(text_of(R"({"type":"Strip","strip_left":true,"strip_right":false})", " a "), "a ");
  EXPECT_EQ(text_of(R"({"type":"Strip","strip_left":false,"strip_right":true})", " a "), " a");
  EXPECT_EQ(text_of(R"({"type":"Strip","strip_left":true,"strip_right":true})", " \t "), "");
}

TEST(Normalizer, ReplacementsBelongToTheLastCharacterReplaced) {
  const AlignedText got =
      normalized(R"({"type":"Replace","pattern":{"String":"ab"},"content":"xyz"})", "cabd");
  EXPECT_EQ(to_utf8(got.chars), "cxyzd");
  EXPECT_EQ(got.from, (Ranges{{0, 1}, {2, 3}, {2, 3}, {2, 3}, {3, 4}}));
}

TEST(Normalizer, SequencesRunInOrder) {
  EXPECT_EQ(text_of(R"({"type":"Sequence","normalizers":[{"type":"NFD"},{"type":"StripAccents"},
                        {"type":"Lowercase"}]})",
                    "ÀÉ"),
            "ae");
}

std::vector<std::string> words_of(const char* json, const std::string& text) {
  Words words{decode(text), {}};
  if (!text.empty()) words.spans.push_back({0, words.text.size()});
  make_pre_tokenizer(json::Value::parse(json), "test")->split(words);
  std::vector<std::string> out;
  for (const Span& span : words.spans) out.push_back(to_utf8(words.text.view(span)));
  return out;
}

using Strings = std::vector<std::string>;

TEST(PreTokenizer, BertSplitsAtSpacesAndAroundPunctuation) {
  EXPECT_EQ(words_of(R"({"type":"BertPreTokenizer"})", " don't  stop:$5 "),
            (Strings{"don", "'", "t", "stop", ":", "$", "5"}));
}

TEST(PreTokenizer, WhitespaceKeepsRunsOfWordsAndOfOthers) {
  EXPECT_EQ(words_of(R"({"type":"Whitespace"})", "a_1 b...!? c"),
            (Strings{"a_1", "b", "...!?", "c"}));
  EXPECT_EQ(words_of(R"({"type":"WhitespaceSplit"})", "a_1 b...!? c"),
            (Strings{"a_1", "b...!?", "c"}));
}

TEST(PreTokenizer, PunctuationGoesWhereItsBehaviorSays) {
  const std::string text = "the-final--countdown";
  const std::pair<const char*, Strings> cases[] = {
      {R"({"type":"Punctuation","behavior":"Removed"})", {"the", "final", "countdown"}},
      {R"({"type":"Punctuation","behavior":"Isolated"})",
       {"the", "-", "final", "-", "-", "countdown"}},
      {R"({"type":"Punctuation","behavior":"MergedWithPrevious"})",
       {"the-", "final-", "-", "countdown"}},
      {R"({"type":"Punctuation","behavior":"MergedWithNext"})",
       {"the", "-final", "-", "-countdown"}},
      {R"({"type":"Punctuation","behavior":"Contiguous"})",
       {"the", "-", "final", "--", "countdown"}}};
  for (const auto& [json, want] : cases) EXPECT_EQ(words_of(json, text), want) << json;
}

TEST(PreTokenizer, SequencesRunInOrder) {
  EXPECT_EQ(words_of(R"({"type":"Sequence","pretokenizers":[{"type":"WhitespaceSplit"},
                        {"type":"Punctuation","behavior":"Removed"}]})",
                     "a-b c"),
            (Strings{"a", "b", "c"}));
}

}  // namespace
}  // namespace headscope::tokenizers
